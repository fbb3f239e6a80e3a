"""Objects on their way between stores, and contents in parts (`growth`) as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.errors import ObjectCorrupt, RemoteDamaged, shown
from onrecord.snapshot.growth import Part, decode_parts, wrong
from onrecord.snapshot.index import Place
from onrecord.snapshot.store import Store

_SIZE_AT = len(b"onrecord parts 1\n")


class Parcel(NamedTuple):
    """An object on its way: `size` in bytes; its bytes in `encoding`, in one piece or, of a large one, in several."""

    digest: bytes
    size: int
    encoding: int
    pieces: Iterable[bytes]


def damaged(remote: str, name: str, problem: str) -> RemoteDamaged:
    """The error for something that a remote gave and that is wrong; `problem` is a short clause."""
    return RemoteDamaged(
        f"{name} in {shown(remote)} is damaged: {problem}",
        why="what is there is not what was sent, so it was not taken in",
        next_step="get it from another copy, or remove the damaged file there and send it again",
        remote=remote,
        name=name,
    )


def listed_parts(parcel: Parcel, source: str) -> list[Part]:
    """What a content in parts is made of. Errors: RemoteDamaged."""
    data = b"".join(parcel.pieces)
    # The list says its size itself: in the header of a pack there is no room for one of 4 GiB and more.
    size = int.from_bytes(data[_SIZE_AT : _SIZE_AT + 8], "big")
    try:
        return decode_parts(data, _place(parcel.digest, size))
    except ObjectCorrupt as error:
        raise damaged(source, parcel.digest.hex(), "the list of its parts is not what was written") from error


def add_grown(store: Store, parcels: Sequence[Parcel], source: str, tell: Callable[[RemoteDamaged], None]) -> int:
    """Store contents in parts whose parts are in the store or among them, each hashed through its parts before.

    `tell` is told of those that are damaged, and where it raises, none is stored. Returns how many are stored.
    """
    if not parcels:
        return 0
    arriving = _Arriving(store, {parcel.digest: listed_parts(parcel, source) for parcel in parcels})
    places = arriving.places(parcel.digest for parcel in parcels)
    for place, problem in wrong(arriving, list(places.values())):
        del places[place.digest]
        tell(damaged(source, place.digest.hex(), problem))
    with store.writer() as writer:
        for place in places.values():
            writer.add_parts(place.digest, arriving.parts(place))
        writer.commit()
    return len(places)


class _Arriving:
    """A store with some contents in parts that it has not stored yet (`growth.Objects`)."""

    def __init__(self, store: Store, lists: dict[bytes, list[Part]]) -> None:
        self._store = store
        self._lists = lists

    def places(self, digests: Iterable[bytes]) -> dict[bytes, Place]:
        """Where objects lie, or will."""
        wanted = set(digests)
        new = {digest for digest in wanted if digest in self._lists}
        made = {digest: _place(digest, sum(part.size for part in self._lists[digest])) for digest in new}
        return self._store.places(wanted - new) | made

    def parts(self, place: Place) -> list[Part]:
        """What a content in parts is made of."""
        return self._lists.get(place.digest) or self._store.parts(place)

    def pieces_at(self, place: Place) -> Iterator[bytes]:
        """The bytes of an object."""
        return self._store.pieces_at(place)


def _place(digest: bytes, size: int) -> Place:
    return Place(digest, size, PARTS, None, 0, size)
