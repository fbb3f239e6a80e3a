"""Who someone is, in Azure ML's forms: accepted, kept nowhere, and never asked for."""

from __future__ import annotations


class Authentication:
    """Takes whatever Azure's takes, a password too, and forgets it."""

    def __init__(self, *ignored: object, **ignored_by_name: object) -> None:
        del ignored, ignored_by_name


class InteractiveLoginAuthentication(Authentication):
    """No login."""


class ServicePrincipalAuthentication(Authentication):
    """No principal."""


class AzureCliAuthentication(Authentication):
    """No Azure command."""


class MsiAuthentication(Authentication):
    """No managed identity."""
