"""How the bytes of an object are kept: as they are, or compressed when that pays.

The encoding is written beside each object, so that a store may hold all of them at once.
"""

from __future__ import annotations

from typing import Any, Final

from onrecord.snapshot.errors import StoreError

RAW: Final = 0
ZLIB: Final = 1
ZSTD: Final = 2
# What is kept is a list of other objects: see `growth`, which reads it.
PARTS: Final = 3

_WORTH_TRYING = 128
_SAMPLE = 16 << 10
_SMALL = 32 << 10
_SPREAD = 256
_NOISE = 140


def encode(data: bytes) -> tuple[int, bytes]:
    """The encoding chosen for `data` and the bytes to keep: zlib level 1 where it saves at least an eighth.

    A long object is judged by its first 16 KiB, so that what is compressed already costs next to nothing.
    """
    if len(data) < _WORTH_TRYING or (len(data) >= _SPREAD and _is_noise(data)):
        return RAW, data
    import zlib

    if len(data) > 4 * _SAMPLE and not _pays(len(zlib.compress(data[:_SAMPLE], 1)), _SAMPLE):
        return RAW, data
    packed = _deflate(data)
    return (ZLIB, packed) if _pays(len(packed), len(data)) else (RAW, data)


def _deflate(data: bytes) -> bytes:
    import zlib

    if len(data) >= _SMALL:
        return zlib.compress(data, 1)
    # A state of 96 KiB instead of 256: making and clearing it costs more than the work on a few kilobytes.
    state = zlib.compressobj(1, zlib.DEFLATED, 14, 6)
    return state.compress(data) + state.flush()


def _is_noise(data: bytes) -> bool:
    """Whether 256 bytes spread over the data differ among themselves as random ones do.

    Of 256 random bytes 162 values are seen on average (deviation 5), of text and code fewer than 100. The step
    is odd, so that arrays of words are not judged by one byte of each word.
    """
    step = (len(data) // _SPREAD - 1) | 1
    return len(set(data[::step][:_SPREAD])) >= _NOISE


def _pays(after: int, before: int) -> bool:
    return after * 8 <= before * 7


def decode(encoding: int, kept: bytes, size: int) -> bytes:
    """The object again: `size` bytes at most. ValueError when `kept` cannot be what was written."""
    if encoding == RAW:
        return kept
    if encoding == ZLIB:
        return _inflate(kept, size)
    if encoding == ZSTD:
        return _unzstd(kept, size)
    raise StoreError(
        f"an object is kept in encoding {encoding}, which this version does not know",
        why="the store was written by a newer onrecord",
        next_step="pip install --upgrade onrecord",
        encoding=encoding,
    )


def _inflate(kept: bytes, size: int) -> bytes:
    import zlib

    try:
        # One byte more than expected is room enough to notice that there is too much.
        return zlib.decompressobj().decompress(kept, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _unzstd(kept: bytes, size: int) -> bytes:
    from importlib import import_module

    try:
        zstandard: Any = import_module("zstandard")
    except ImportError:
        raise StoreError(
            "an object is compressed with zstd, which this Python cannot read",
            next_step="pip install zstandard",
            encoding=ZSTD,
        ) from None
    try:
        return bytes(zstandard.ZstdDecompressor().decompress(kept, max_output_size=size + 1))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
