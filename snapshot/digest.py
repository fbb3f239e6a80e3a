"""Content addresses: the plain BLAKE3-256 of an object's bytes, whatever the object means.

The kind of an object (a file's content, a folder's listing, a snapshot) is said inside its bytes, never by
another hash function: whoever holds an object can check it with `b3sum` and no further knowledge, which is
what verification, transfer and garbage collection need. https://github.com/BLAKE3-team/BLAKE3-specs
"""

from __future__ import annotations

import os

from blake3 import blake3

from onrecord.snapshot.errors import SnapshotError

SIZE = 32
_PARALLEL_FROM = 1 << 20
_max_threads = blake3.AUTO


def _after_fork() -> None:
    # The threads of blake3's pool do not exist in a forked child, which would wait for them for ever.
    global _max_threads
    _max_threads = 1


os.register_at_fork(after_in_child=_after_fork)


def digest_of(data: bytes | memoryview) -> bytes:
    """Address of some bytes: 32 bytes.

    >>> digest_of(b"").hex()[:16]
    'af1349b9f5f9a1a6'
    """
    if len(data) < _PARALLEL_FROM:
        return blake3(data).digest()
    return blake3(data, max_threads=_max_threads).digest()


def hasher(*, alone: bool = True) -> blake3:
    """A hasher for content that arrives in pieces of a megabyte or more; it uses every core.

    Not `alone`: one core, for whoever hashes in several threads already.
    """
    return blake3(max_threads=_max_threads if alone else 1)


def from_hex(text: str) -> bytes:
    """The 32 bytes spelled by 64 hex digits; SnapshotError when the text is anything else."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != SIZE or len(text) != 2 * SIZE:
        raise SnapshotError(
            f"{text!r} is not an object's address",
            why="an address is 64 hexadecimal digits",
            next_step="onrecord show RUN prints the snapshot_id of a run",
            digest=text,
        )
    return value


def digest_bytes(data: bytes) -> str:
    """Address of some bytes as 64 hex digits."""
    return digest_of(data).hex()
