"""Writing a pack: objects one behind the other, each with its header."""

from __future__ import annotations

from collections.abc import Iterable

from onrecord.snapshot.encoders import Encoded
from onrecord.snapshot.layout import HEADER_SIZE, PACK_MAGIC, Place, pack_header
from onrecord.snapshot.streams import write_all


class PackWriter:
    """A pack that is not visible yet; `end` is its size in bytes."""

    def __init__(self, fd: int) -> None:
        """Takes an empty file, which stays the caller's to close."""
        self.fd = fd
        self.end = 0

    def append(self, objects: Iterable[Encoded]) -> list[Place]:
        """Write objects; their places, whose pack is 0 until it is known."""
        pieces: list[bytes] = [] if self.end else [PACK_MAGIC]
        at = self.end + sum(map(len, pieces))
        places: list[Place] = []
        for digest, encoding, kept, size in objects:
            pieces += (pack_header(digest, encoding, len(kept), size), kept)
            places.append(Place(digest, size, encoding, 0, at + HEADER_SIZE, len(kept)))
            at += HEADER_SIZE + len(kept)
        self.end += write_all(self.fd, b"".join(pieces))
        return places
