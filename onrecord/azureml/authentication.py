"""What needs no one to log in and sends nothing anywhere, under the names of what does."""

from __future__ import annotations


class Authentication:
    """Takes what a login takes, and logs in nowhere: a workspace is a folder of this machine."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        del args, kwargs


def collect_nothing(send_diagnostics: bool = False, verbosity: object = None) -> None:
    """Nothing is collected, whatever is asked for."""
    del send_diagnostics, verbosity
