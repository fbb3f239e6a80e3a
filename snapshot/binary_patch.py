"""Contents that are no text, in git's form for them (gitformat-patch "GIT binary patch"): both sides, deflated, base85.

git takes such a patch only with the whole names of both contents, which are SHA-1 of a header and the bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b85encode
from collections.abc import Iterator
from typing import Final

_LINE_BYTES: Final = 52
_ABSENT: Final = b"0" * 40


def binary_patch(before: bytes | None, after: bytes | None, mode: bytes) -> Iterator[bytes]:
    """The lines from `index` on; None for a side without the file. `mode` is that of the file on both sides, or empty.

    Backward as well as forward, as git itself writes it.
    """
    yield b"index %s..%s%s" % (_blob_name(before), _blob_name(after), b" " + mode if mode else b"")
    yield b"GIT binary patch"
    for content in (after, before):
        yield from _literal(content or b"")


def _literal(content: bytes) -> Iterator[bytes]:
    yield b"literal %d" % len(content)
    deflated = zlib.compress(content)
    for start in range(0, len(deflated), _LINE_BYTES):
        piece = deflated[start : start + _LINE_BYTES]
        # A to Z are 1 to 26 bytes, a to z 27 to 52.
        length = len(piece) + (64 if len(piece) <= 26 else 70)
        yield bytes([length]) + b85encode(piece, pad=True)
    yield b""


def _blob_name(content: bytes | None) -> bytes:
    if content is None:
        return _ABSENT
    state = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    state.update(content)
    return state.hexdigest().encode()
