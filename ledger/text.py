"""Text as SQLite can hold it."""

from __future__ import annotations


def storable(text: str) -> str:
    r"""`text` with what is not Unicode (the undecodable bytes of a file's name) written as \udcXX."""
    # Almost all of it is, and asking costs nothing.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def storable_or_none(text: str | None) -> str | None:
    """The same for text that may be missing."""
    return None if text is None else storable(text)
