"""The output of a script in this process: into its log files, and on to where this process writes.

Where someone sits at a terminal, Python's streams write to both, so that a debugger reads and edits lines as always;
what child processes print then goes to the terminal only. Elsewhere the descriptors 1 and 2 are the log files, children
included, and a thread passes on what arrives there.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

_LOOK_SECONDS = 0.02


class Outputs:
    """Entered around a script: `sys.stdout` and `sys.stderr` are its own."""

    def __init__(self, stdout: Path, stderr: Path) -> None:
        self._paths = (stdout, stderr)
        self._before: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        self._streams: list[_Both | _File] = []

    def __enter__(self) -> Self:
        self._before = (sys.stdout, sys.stderr)
        kind = _Both if _someone_sits_there() else _File
        for number, (path, before) in enumerate(zip(self._paths, self._before, strict=True), 1):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._streams.append(kind(path, before, number))
        sys.stdout, sys.stderr = (stream.text for stream in self._streams)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for mine, stream in zip((sys.stdout, sys.stderr), self._streams, strict=True):
            _flush(mine)
            _flush(stream.text)
        sys.stdout, sys.stderr = self._before
        for stream in self._streams:
            stream.close()


def _someone_sits_there() -> bool:
    try:
        return bool(sys.stdin.isatty() and sys.stdout.isatty())
    except (AttributeError, ValueError):
        return False


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (AttributeError, OSError, ValueError):
        # The script put something else there, or closed it.
        return


class _Bytes(io.RawIOBase):
    """Bytes to a log file, and to where they went before: also, or only once the script has ended.

    What the script leaves holding its stream, such as a handler of `logging`, can go on writing.
    """

    def __init__(self, path: Path, before: TextIO, also: bool) -> None:
        self.log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._before = before
        self._also = also

    def write(self, data: Any) -> int:
        piece = bytes(data)
        if self.log >= 0:
            _write_all(self.log, piece)
        if self._also or self.log < 0:
            # What a notebook or pytest put there takes text.
            self._before.write(piece.decode("utf-8", "backslashreplace"))
            self._before.flush()
        return len(piece)

    def release(self) -> None:
        """The script has ended."""
        os.close(self.log)
        self.log = -1

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._also and self._before.isatty()

    def fileno(self) -> int:
        return self._before.fileno() if self._also or self.log < 0 else self.log


class _ThroughBuffer(io.BufferedWriter):
    """Nothing is kept back: whoever writes bytes to `sys.stdout.buffer` sees them at once."""

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.flush()
        return written


def _text(raw: _Bytes) -> TextIO:
    return io.TextIOWrapper(_ThroughBuffer(raw), encoding="utf-8", errors="backslashreplace", write_through=True)


class _Both:
    """A stream that writes to the log file and to the terminal; to everyone who asks, it is the terminal."""

    def __init__(self, path: Path, before: TextIO, number: int) -> None:
        del number
        self._raw = _Bytes(path, before, also=True)
        self.text = _text(self._raw)

    def close(self) -> None:
        self._raw.release()


class _File:
    """The log file itself, under the descriptor `number` too, and what arrives there passed on."""

    def __init__(self, path: Path, before: TextIO, number: int) -> None:
        _flush(before)
        self._number = number
        self._raw = _Bytes(path, before, also=False)
        self.text = _text(self._raw)
        self._reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(self._reader, 0, os.SEEK_END)
        self._kept = _duplicated(number)
        os.dup2(self._raw.log, number)
        self._write = _writer_to(before, number, self._kept)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._pass_on, name="onrecord-echo", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._kept >= 0:
            os.dup2(self._kept, self._number)
        else:
            os.close(self._number)
        self._over.set()
        self._thread.join()
        self._raw.release()
        for fd in (self._reader, self._kept):
            if fd >= 0:
                os.close(fd)

    def _pass_on(self) -> None:
        over = False
        while not over:
            over = self._over.wait(_LOOK_SECONDS)
            while piece := os.read(self._reader, 65536):
                try:
                    self._write(piece)
                except (OSError, ValueError):
                    # Nobody reads it any more; it is in the log.
                    return


def _writer_to(before: Any, number: int, kept: int) -> Callable[[bytes], object]:
    """Writes to where a stream wrote before its descriptor was taken."""
    try:
        taken = before.fileno() == number
    except (AttributeError, OSError, ValueError):
        taken = False
    if taken:
        return lambda piece: _write_all(kept, piece)

    def write(piece: bytes) -> None:
        # What a notebook or pytest put there takes text.
        before.write(piece.decode("utf-8", "backslashreplace"))
        before.flush()

    return write


def _duplicated(number: int) -> int:
    try:
        fd = os.dup(number)
    except OSError:
        return -1
    os.set_inheritable(fd, False)
    return fd


def _write_all(fd: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]
