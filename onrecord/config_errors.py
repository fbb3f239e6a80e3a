"""What is wrong with a configuration."""

from __future__ import annotations

from onrecord.errors import OnRecordError


class BadConfig(OnRecordError):
    """A configuration that cannot be run. Attribute: `field`, the part of it that is wrong."""
