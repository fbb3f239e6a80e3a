"""A folder of this machine as a shelf: a disk to carry away, or a file system of the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onrecord.snapshot.errors import RemoteError, disk_full, is_full, shown
from onrecord.snapshot.shelf import PIECE_BYTES, Span
from onrecord.snapshot.shelf_program import Folder


class FolderShelf:
    """The files below a folder, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        self._folder = Folder(str(folder))

    @property
    def name(self) -> str:
        """The folder."""
        return shown(self._path)

    def sizes(self) -> dict[str, int]:
        """The names of all files, with their bytes."""
        with self._clear_errors():
            return self._folder.sizes()

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Parts of files."""
        for span in spans:
            with self._clear_errors():
                data = self._folder.read(*span)
            yield data

    def pieces(self, name: str) -> Iterator[bytes]:
        """A whole file."""
        start = 0
        while piece := next(self.read([Span(name, start, PIECE_BYTES)])):
            start += len(piece)
            yield piece

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """A new file."""
        with self._clear_errors():
            self._folder.write(name, pieces)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise disk_full(self._path) from error
            raise RemoteError(
                f"the folder {self.name} cannot be used",
                why=f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "),
                next_step=f"look at it: ls -ld {self.name}",
                remote=self.name,
            ) from error
