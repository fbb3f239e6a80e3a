"""TensorBoard's event files, written without TensorBoard or TensorFlow.

A file is TFRecords (tensorflow/core/lib/io/record_writer.h): u64le length, masked CRC-32C of these 8 bytes, an `Event`
(tensorflow/core/util/event.proto), its masked CRC-32C. Values are in the oldest form that says what they are, which
every TensorBoard reads: `simple_value`, `image`, `histo`; text and hyperparameters have their plugin's form.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from onrecord import protobuf

_VERSION: Final = b"brain.Event:2"
_MASK_DELTA: Final = 0xA282EAD8
_STRINGS: Final = 7
_FLOATS: Final = 1
_TENSOR_CLASS: Final = 2
# The statuses of hyperparameter sessions (tensorboard/plugins/hparams/api.proto).
SUCCESS, FAILURE, RUNNING = 1, 2, 3


class EventFile:
    """A new event file, or one that is written anew; whoever reads it meanwhile finds whole records."""

    def __init__(self, path: Path, wall_time: float) -> None:
        """`wall_time`: seconds since the epoch, of the file's first record."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("wb")
        self._write(protobuf.double(1, wall_time) + protobuf.data(3, _VERSION))

    def scalar(self, tag: str, value: float, step: int, wall_time: float) -> None:
        """One number, kept as the 32 bits that TensorBoard shows."""
        self._value(protobuf.data(1, tag.encode()) + protobuf.single(2, value), step, wall_time)

    def text(self, tag: str, text: str, step: int, wall_time: float) -> None:
        """One text, which TensorBoard shows as Markdown."""
        tensor = protobuf.varint(1, _STRINGS) + protobuf.data(2, b"") + protobuf.data(8, text.encode())
        self._plugin(tag, b"text", b"", tensor, step, wall_time)

    def image(self, tag: str, encoded: bytes, size: tuple[int, int], step: int, wall_time: float) -> None:
        """One picture, a PNG or JPEG file's bytes; `size`: its width and height in pixels."""
        width, height = size
        picture = protobuf.varint(1, height) + protobuf.varint(2, width) + protobuf.varint(3, 4)
        picture += protobuf.data(4, encoded)
        self._value(protobuf.data(1, tag.encode()) + protobuf.data(4, picture), step, wall_time)

    def histogram(self, tag: str, edges: Sequence[float], counts: Sequence[float], step: int, wall_time: float) -> None:
        """Counts between edges (one more than counts), ascending."""
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        total = sum(counts)
        summed = sum(middle * count for middle, count in zip(middles, counts, strict=True))
        squares = sum(middle * middle * count for middle, count in zip(middles, counts, strict=True))
        fields = [edges[0], edges[-1], total, summed, squares]
        histogram = b"".join(protobuf.double(number, value) for number, value in enumerate(fields, 1))
        # A bucket ends at its limit; the first one is what lies below the first edge.
        histogram += protobuf.doubles(6, edges) + protobuf.doubles(7, [0.0, *counts])
        self._value(protobuf.data(1, tag.encode()) + protobuf.data(5, histogram), step, wall_time)

    def hyperparameters(self, values: Mapping[str, object], group: str, started: float) -> None:
        """What a run was started with; `started`: seconds since the epoch."""
        entries = b"".join(
            protobuf.data(1, protobuf.data(1, name.encode()) + protobuf.data(2, _plain_value(value)))
            for name, value in values.items()
        )
        session = entries + protobuf.data(4, group.encode()) + protobuf.double(5, started)
        self._session("session_start_info", protobuf.data(3, session), started)

    def session_end(self, status: int, ended: float) -> None:
        """How a run with hyperparameters ended: SUCCESS, FAILURE or RUNNING; `ended`: seconds since the epoch."""
        session = protobuf.varint(1, status) + protobuf.double(2, ended)
        self._session("session_end_info", protobuf.data(4, session), ended)

    def flush(self) -> None:
        """Let readers see what was written."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _session(self, name: str, content: bytes, wall_time: float) -> None:
        empty = protobuf.varint(1, _FLOATS) + protobuf.data(2, protobuf.data(2, protobuf.varint(1, 0)))
        self._plugin(f"_hparams_/{name}", b"hparams", content, empty, 0, wall_time)

    def _plugin(self, tag: str, plugin: bytes, content: bytes, tensor: bytes, step: int, wall_time: float) -> None:
        known = protobuf.data(1, plugin) + (protobuf.data(2, content) if content else b"")
        metadata = protobuf.data(1, known) + protobuf.varint(4, _TENSOR_CLASS)
        value = protobuf.data(1, tag.encode()) + protobuf.data(8, tensor) + protobuf.data(9, metadata)
        self._value(value, step, wall_time)

    def _value(self, value: bytes, step: int, wall_time: float) -> None:
        event = protobuf.double(1, wall_time) + (protobuf.varint(2, step) if step else b"")
        self._write(event + protobuf.data(5, protobuf.data(1, value)))

    def _write(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked(length) + event + _masked(event))


def image_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG or GIF file; None for what is no such file."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n" and len(encoded) >= 24:
        return struct.unpack(">II", encoded[16:24])
    if encoded[:6] in (b"GIF87a", b"GIF89a") and len(encoded) >= 10:
        return struct.unpack("<HH", encoded[6:10])
    return _jpeg_size(encoded) if encoded[:2] == b"\xff\xd8" else None


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        # A start of frame, of any of the codings (ITU T.81, table B.1).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", encoded[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def _plain_value(value: object) -> bytes:
    if isinstance(value, bool):
        return protobuf.varint(4, value)
    if isinstance(value, int | float):
        return protobuf.double(2, float(value))
    return protobuf.data(3, str(value).encode())


def _table() -> list[int]:
    """CRC-32C (RFC 3720, B.4) of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901 - the division's remainder
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: Iterable[int]) -> int:
    """CRC-32C of some bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA & 0xFFFFFFFF).to_bytes(4, "little")


def event_file_name(seconds: int, suffix: str = "") -> str:
    """A name by which TensorBoard knows an event file."""
    return f"events.out.tfevents.{seconds:010d}.{os.uname().nodename or 'localhost'}.onrecord{suffix}"
