"""A place in an object store (S3, Google Cloud Storage, Azure, or one in memory) as a shelf, through obstore.

Keys and regions are those that the services' own tools use (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …).
https://developmentseed.org/obstore
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from typing import Any

from onrecord.snapshot.errors import RemoteError, shown
from onrecord.snapshot.shelf import PIECE_BYTES, Span


class BucketShelf:
    """The objects of a store of obstore; `name` is what it is called in messages."""

    def __init__(self, store: Any, name: str) -> None:
        self.name = shown(name)
        self._store = store
        self._obstore = _obstore(self.name)

    @classmethod
    def at(cls, url: str, **options: Any) -> BucketShelf:
        """The place at `s3://bucket/prefix`, `gs://…`, `az://…`; `options` as `obstore.store.from_url` has them."""
        module = _obstore(url)
        if url.startswith("s3://"):
            # The server compares what arrives with what was sent.
            options = {"checksum_algorithm": "SHA256", **options}
        try:
            return cls(module.store.from_url(url, **options), url)
        except (module.exceptions.BaseError, ValueError) as error:
            raise _failed(shown(url), error) from error

    def sizes(self) -> dict[str, int]:
        """The names of all objects, with their bytes."""
        with self._clear_errors():
            return {entry["path"]: entry["size"] for page in self._obstore.list(self._store) for entry in page}

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Parts of objects; several of one object in a row are asked for at once."""
        at = 0
        while at < len(spans):
            name, end, size = spans[at].name, at, 0
            while end < len(spans) and spans[end].name == name and (end == at or size < PIECE_BYTES):
                size += spans[end].length
                end += 1
            group = [span for span in spans[at:end] if span.length]
            with self._clear_errors():
                starts, lengths = [span.start for span in group], [span.length for span in group]
                found = self._obstore.get_ranges(self._store, name, starts=starts, lengths=lengths) if group else []
            read = iter(found)
            yield from (bytes(next(read)) if span.length else b"" for span in spans[at:end])
            at = end

    def pieces(self, name: str) -> Iterator[bytes]:
        """A whole object."""
        with self._clear_errors():
            stream = iter(self._obstore.get(self._store, name).stream(min_chunk_size=PIECE_BYTES // 4))
        while True:
            with self._clear_errors():
                piece = next(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """A new object; one in several pieces appears when its last part has arrived."""
        rest = iter(pieces)
        first, second = next(rest, b""), next(rest, None)
        content = first if second is None else chain((first, second), rest)
        with self._clear_errors():
            self._obstore.put(self._store, name, content)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise _failed(self.name, error) from error


def _obstore(name: str) -> Any:
    try:
        module = import_module("obstore")
        import_module("obstore.store")
        import_module("obstore.exceptions")
    except ImportError as error:
        raise RemoteError(
            f"{shown(name)} cannot be reached without obstore",
            why="object stores are an extra of onrecord",
            next_step="pip install 'onrecord[remote]'",
            remote=name,
        ) from error
    return module


def _failed(name: str, error: Exception) -> RemoteError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return RemoteError(
        f"{name} does not do what was asked for",
        why=shown(lines[0][:300]),
        next_step="look at the address and the keys (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, …)",
        remote=name,
    )
