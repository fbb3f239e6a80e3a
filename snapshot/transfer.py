"""Sending objects to another place and getting them from there: only those that are lacking, each of them checked.

A send puts the contents of files first, then listings, each behind those that it names, and snapshots last; what is
durable at the other side when it is cut off counts, and the next send goes on there. A remote that nobody else takes
objects out of therefore has every listing with all that it needs (`Remote.whole`), and nothing below one that it has
is looked at. What is received is hashed before it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from onrecord.snapshot.digest import digest_of, from_hex
from onrecord.snapshot.encoding import PARTS, RAW, decode
from onrecord.snapshot.errors import ObjectCorrupt, RemoteError, RemoteLacks, missing, shown
from onrecord.snapshot.growth import encode_parts, with_parts
from onrecord.snapshot.index import Place
from onrecord.snapshot.marking import Marking
from onrecord.snapshot.parcel import Parcel, damaged
from onrecord.snapshot.store import Store

Progress = Callable[[int, int], None]


class Remote(Protocol):
    """A place that holds objects. Errors of each call: RemoteError, DiskFull."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def whole(self) -> set[bytes]:
        """Addresses (32 bytes) of what it has, where it has everything that these need as well; else none."""

    def damage(self) -> list[RemoteError]:
        """What is wrong with what it keeps of what it has; it lacks what only that named."""

    def missing(self, digests: Collection[bytes]) -> set[bytes]:
        """Those of some addresses that it lacks."""

    def put_many(self, parcels: Iterable[Parcel]) -> None:
        """Take objects; durable on return, and each of them not before those that came before it."""

    def get_many(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Some of its objects, in any order; each is to be used up before the next. RemoteLacks for others."""

    def close(self) -> None:
        """Let go of it."""


class Moved(NamedTuple):
    """What was sent or received: objects, and their bytes before compression."""

    objects: int
    bytes: int


def send(
    store: Store,
    remote: Remote,
    snapshots: Iterable[str] = (),
    contents: Iterable[str] = (),
    *,
    progress: Progress | None = None,
) -> Moved:
    """Send what snapshots need, and contents of files (64 hex digits each), as far as the remote lacks them.

    Durable there on return; sending again sends nothing. `progress` is told the bytes sent and those to send.
    Errors: ObjectMissing, ObjectCorrupt, ManifestError of what is here, RemoteError, DiskFull of the remote.
    """
    # What is there under a name is never written again: the damaged file has to go first.
    for problem in remote.damage():
        raise problem
    with store.in_use():
        order = _lacking_there(store, remote, snapshots, contents)
        places = store.places(order)
        found = [places[digest] if digest in places else store.place(digest) for digest in order]
        watch = Watch(progress, sum(place.size for place in found))
        remote.put_many(watch.over(parcel_of(store, place) for place in found))
    return Moved(len(found), watch.total)


def _lacking_there(store: Store, remote: Remote, snapshots: Iterable[str], contents: Iterable[str]) -> list[bytes]:
    """What is to be sent, in order."""
    whole = remote.whole()
    marking = _marked(store, snapshots, contents, whole)
    new = remote.missing(with_parts(store, marking.found - whole))
    places = store.places(new - set(marking.listings))
    for digest in new - set(marking.listings) - places.keys():
        raise missing(digest)
    # Those that are sent as they are go ahead of those that share packs; what is read through others goes behind them.
    order = [place.digest for place in sorted(places.values(), key=_turn)]
    return order + [digest for digest in dict.fromkeys(marking.listings) if digest in new]


def needed(store: Store, snapshots: Iterable[str], contents: Iterable[str]) -> set[bytes]:
    """Addresses of all objects that snapshots need, and contents of files, and what these are read through."""
    return with_parts(store, _marked(store, snapshots, contents, set()).found)


def _marked(store: Store, snapshots: Iterable[str], contents: Iterable[str], known: set[bytes]) -> Marking:
    marking = Marking(lambda digest: store.fetch(store.place(digest)))
    marking.found |= known
    for snapshot in sorted(set(snapshots)):
        marking.snapshot(from_hex(snapshot))
    marking.found.update(map(from_hex, contents))
    return marking


def _turn(place: Place) -> tuple[bool, int, bool, bytes]:
    grown = place.encoding == PARTS
    return grown, place.size if grown else 0, place.pack is not None, place.digest


def parcel_of(store: Store, place: Place) -> Parcel:
    """An object of a store, checked when its pieces are used; in a block of `in_use`."""
    if place.pack is None:
        return Parcel(place.digest, place.size, RAW, store.pieces(place.digest.hex()))
    if place.encoding == PARTS:
        return Parcel(place.digest, place.size, PARTS, [encode_parts(store.parts(place))])
    return Parcel(place.digest, place.size, place.encoding, (store.reader.kept(one) for one in (place,)))


def opened(parcel: Parcel, remote: str) -> bytes:
    """The bytes of a parcel that is no large one, checked. Errors: RemoteDamaged."""
    try:
        data = decode(parcel.encoding, b"".join(parcel.pieces), parcel.size)
    except ValueError as error:
        raise damaged(remote, parcel.digest.hex(), str(error)) from error
    except ObjectCorrupt as error:
        raise damaged(remote, parcel.digest.hex(), error.what.partition(": ")[2] or error.what) from error
    if digest_of(data) != parcel.digest:
        raise damaged(remote, parcel.digest.hex(), "its bytes hash to something else")
    return data


def lacks(remote: str, digest: bytes) -> RemoteLacks:
    """The error for an address that a remote does not have."""
    return RemoteLacks(
        f"{shown(remote)} has no object {digest.hex()}",
        why="it was never sent there, or it was removed there since",
        next_step="send it from where it still is, or ask another copy",
        remote=remote,
        digest=digest.hex(),
    )


class Watch:
    """Tells how far objects have come."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self.total = total

    def over(self, parcels: Iterable[Parcel]) -> Iterator[Parcel]:
        """The same parcels; the bytes of one count when the next is asked for."""
        done = 0
        for parcel in parcels:
            yield parcel
            done += parcel.size
            if self._progress is not None:
                self._progress(done, max(done, self.total))
