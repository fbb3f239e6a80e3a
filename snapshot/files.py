"""Writing the files of a snapshot: many small ones a job, or one large one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from onrecord.snapshot.destination import Folder
from onrecord.snapshot.index import Place
from onrecord.snapshot.progress import Progress
from onrecord.snapshot.reader import Reader
from onrecord.snapshot.streams import hash_file, write_all
from onrecord.snapshot.tree import EXECUTABLE, Node

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_AND_READ = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class File(NamedTuple):
    """A file to write; `found`: one of its name is there already, and stays if it is the same."""

    folder: Folder
    node: Node
    place: Place
    found: bool


class FileWriter:
    """Writes files, each with the content that its address demands. Any number of threads may use it at once."""

    def __init__(self, reader: Reader, progress: Progress, go_on: Callable[[], None]) -> None:
        """`go_on` is called between the pieces of a large file and raises to give it up."""
        self._reader = reader
        self._progress = progress
        self._go_on = go_on

    def write_small(self, files: list[File]) -> None:
        """Write files whose content lies in packs; reads them with few calls where they lie in this order."""
        missing = [file for file in files if not (file.found and self._stays(file))]
        contents = self._reader.fetch_many([file.place for file in missing])
        for file, data in zip(missing, contents, strict=True):
            fd = self._create(file, _CREATE)
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        self._progress.add(len(files), sum(file.place.size for file in files))

    def write_large(self, file: File) -> None:
        """Write a file whose content is a file of its own in the store."""
        if file.found and self._stays(file):
            self._progress.add(1, file.place.size)
            return
        fd = self._create(file, _CREATE_AND_READ)
        try:
            self._reader.write_into(file.place, fd, self._moved)
        finally:
            os.close(fd)
        self._progress.add(1, 0)

    def _moved(self, size: int) -> None:
        self._progress.add(0, size)
        self._go_on()

    def _create(self, file: File, flags: int) -> int:
        mode = 0o777 if file.node.kind == EXECUTABLE else 0o666
        try:
            return os.open(file.node.name, flags, mode, dir_fd=file.folder.fd)
        except FileExistsError:
            raise file.folder.in_the_way(file.node.name) from None

    def _stays(self, file: File) -> bool:
        """Whether what was found is the file already, byte for byte; if not, it is removed."""
        if self._is_right(file):
            return True
        file.folder.remove(file.node.name)
        return False

    def _is_right(self, file: File) -> bool:
        try:
            fd = os.open(file.node.name, _LOOK, dir_fd=file.folder.fd)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            executable = bool(status.st_mode & 0o100)
            return (
                stat.S_ISREG(status.st_mode)
                # Another name of it would be another way to change it.
                and status.st_nlink == 1
                and status.st_size == file.place.size
                and executable == (file.node.kind == EXECUTABLE)
                and hash_file(fd, status.st_size)[0] == file.place.digest
            )
        finally:
            os.close(fd)
