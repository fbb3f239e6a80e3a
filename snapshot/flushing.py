"""Getting large files onto the disk with few flushes, however many files there are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ONE_BY_ONE = 3


class Flushing:
    """The large files of one write. Up to three are flushed by themselves, more by one flush of their file system.

    That flush (`syncfs`, Linux) also waits for what other programs have written there, which the flush of a file
    on ext4 largely does too. Elsewhere every file is flushed by itself.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is where the files are made."""
        self._folder = folder
        self._files: list[int] = []
        self._system = -1
        self._count = 0

    def wrote(self, fd: int) -> None:
        """Take over the descriptor of a file that is written; it is on its way to the disk on return."""
        if not sys.platform.startswith("linux"):
            os.fsync(fd)
            os.close(fd)
            return
        if self._system < 0:
            # An error of the disk is told to descriptors that were open when it happened.
            self._system = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._count += 1
        self._files.append(fd)
        # Begins to write back what is dirty, and does not wait for it.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if self._count > _ONE_BY_ONE:
            self._close_files()

    def flush(self) -> bool:
        """Wait until all of it is on the disk; whether that holds for everything else in the folder as well."""
        whole = self._count > _ONE_BY_ONE
        if whole:
            _flush_file_system(self._system)
        for fd in self._files:
            os.fsync(fd)
        self.close()
        return whole

    def close(self) -> None:
        """Close what is open; nothing is flushed any more."""
        self._close_files()
        if self._system >= 0:
            os.close(self._system)
        self._system, self._count = -1, 0

    def _close_files(self) -> None:
        for fd in self._files:
            os.close(fd)
        self._files = []


def _flush_file_system(fd: int) -> None:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(fd) != 0:
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem))
