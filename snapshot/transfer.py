"""Sending objects to another place and getting them from there: only those that are lacking, each of them checked.

A send puts the contents of files first, then listings, each behind those that it names, and snapshots last; what is
durable at the other side when it is cut off counts, and the next send goes on there. A remote that nobody else takes
objects out of therefore has every listing with all that it needs (`Remote.whole`), and nothing below one that it has
is looked at. What is received is hashed before it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple, Protocol

from onrecord.snapshot.digest import digest_of, from_hex
from onrecord.snapshot.encoding import PARTS, RAW, decode
from onrecord.snapshot.errors import RemoteLacks, missing, shown
from onrecord.snapshot.growth import encode_parts, with_parts
from onrecord.snapshot.index import Place
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.snapshot.marking import Marking
from onrecord.snapshot.parcel import Parcel, add_grown, damaged, listed_parts
from onrecord.snapshot.store import Store
from onrecord.snapshot.tree import FOLDER, LINK, Node, decode_root, decode_tree
from onrecord.snapshot.writer import Writer

_COMMIT_BYTES = 64 << 20
Progress = Callable[[int, int], None]


class Remote(Protocol):
    """A place that holds objects. Errors of each call: RemoteError, DiskFull."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def whole(self) -> set[bytes]:
        """Addresses (32 bytes) of what it has, where it has everything that these need as well; else none."""

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
    with store.in_use():
        order = _lacking_there(store, remote, snapshots, contents)
        places = store.places(order)
        found = [places[digest] if digest in places else store.place(digest) for digest in order]
        watch = _Watch(progress, sum(place.size for place in found))
        remote.put_many(watch.over(parcel_of(store, place) for place in found))
    return Moved(len(found), watch.total)


def receive(
    store: Store,
    remote: Remote,
    snapshots: Iterable[str] = (),
    contents: Iterable[str] = (),
    *,
    progress: Progress | None = None,
) -> Moved:
    """Get what snapshots need, and contents of files (64 hex digits each), as far as the store lacks them.

    Durable on return. What was received when it was cut off stays, and is not asked for again. A caller that
    refers to it only afterwards is in a block of `Store.in_use`. Errors: RemoteLacks, RemoteDamaged, RemoteError,
    ManifestError, DiskFull.
    """
    with store.in_use():
        listings = _Listings(store, remote)
        sizes = listings.contents_below(map(from_hex, snapshots))
        for digest in map(from_hex, contents):
            sizes.setdefault(digest, 0)
        lacking = sizes.keys() - store.places(sizes).keys()
        watch = _Watch(progress, sum(sizes[digest] for digest in lacking))
        received = take_in(store, watch.over(_with_their_parts(store, remote, lacking)), remote.name)
        # A snapshot that is cut off must not look whole.
        with store.writer() as writer:
            for digest, data in listings.new.items():
                writer.add(data, digest)
            writer.commit()
    return Moved(received.objects + len(listings.new), received.bytes + sum(map(len, listings.new.values())))


def _lacking_there(store: Store, remote: Remote, snapshots: Iterable[str], contents: Iterable[str]) -> list[bytes]:
    """What is to be sent, in order."""
    marking = Marking(lambda digest: store.fetch(store.place(digest)))
    whole = remote.whole()
    marking.found |= whole
    for snapshot in sorted(set(snapshots)):
        marking.snapshot(from_hex(snapshot))
    marking.found.update(map(from_hex, contents))
    new = remote.missing(with_parts(store, marking.found - whole))
    places = store.places(new - set(marking.listings))
    for digest in new - set(marking.listings) - places.keys():
        raise missing(digest)
    # Those that are sent as they are go ahead of those that share packs; what is read through others goes behind them.
    order = [place.digest for place in sorted(places.values(), key=_turn)]
    return order + [digest for digest in dict.fromkeys(marking.listings) if digest in new]


def _turn(place: Place) -> tuple[bool, int, bool, bytes]:
    grown = place.encoding == PARTS
    return grown, place.size if grown else 0, place.pack is not None, place.digest


def parcel_of(store: Store, place: Place) -> Parcel:
    """An object of a store, checked when its pieces are used; in a block of `in_use`."""
    if place.pack is None:
        return Parcel(place.digest, place.size, RAW, store.pieces(place.digest.hex()))
    if place.encoding == PARTS:
        return Parcel(place.digest, place.size, PARTS, [encode_parts(store.parts(place))])
    return Parcel(place.digest, place.size, place.encoding, [store.reader.kept(place)])


def opened(parcel: Parcel, remote: str) -> bytes:
    """The bytes of a parcel that is no large one, checked. Errors: RemoteDamaged."""
    try:
        data = decode(parcel.encoding, b"".join(parcel.pieces), parcel.size)
    except ValueError as error:
        raise damaged(remote, parcel.digest.hex(), str(error)) from error
    if digest_of(data) != parcel.digest:
        raise damaged(remote, parcel.digest.hex(), "its bytes hash to something else")
    return data


def _with_their_parts(store: Store, remote: Remote, digests: Collection[bytes]) -> Iterator[Parcel]:
    """Objects of a remote, and those that they are read through, as far as the store lacks them."""
    asked, waiting = set(digests), set(digests)
    while waiting:
        parts: set[bytes] = set()
        for parcel in remote.get_many(waiting):
            if parcel.encoding == PARTS:
                parcel = parcel._replace(pieces=list(parcel.pieces))  # noqa: PLW2901 - the same one, read
                parts.update(part.digest for part in listed_parts(parcel, remote.name))
            yield parcel
        waiting = parts - asked - store.places(parts).keys()
        asked |= waiting


def lacks(remote: str, digest: bytes) -> RemoteLacks:
    """The error for an address that a remote does not have."""
    return RemoteLacks(
        f"{shown(remote)} has no object {digest.hex()}",
        why="it was never sent there, or it was removed there since",
        next_step="send it from where it still is, or ask another copy",
        remote=remote,
        digest=digest.hex(),
    )


def take_in(store: Store, parcels: Iterable[Parcel], source: str) -> Moved:
    """Store parcels in their order, each hashed before it counts, some at a time; `source` is named in errors.

    What is read through other parcels is stored behind them all.
    """
    objects = size = 0
    grown: list[Parcel] = []
    rest = iter(parcels)
    while (first := next(rest, None)) is not None:
        pending = 0
        with store.writer() as writer:
            for parcel in chain([first], rest):
                if parcel.encoding == PARTS:
                    # Another content of its own only by the list; its bytes come with its parts.
                    grown.append(parcel._replace(pieces=list(parcel.pieces)))
                    continue
                _add(writer, parcel, source)
                objects, pending = objects + 1, pending + parcel.size
                if pending >= _COMMIT_BYTES:
                    break
            writer.commit()
        size += pending
    add_grown(store, grown, source)
    return Moved(objects + len(grown), size)


def _add(writer: Writer, parcel: Parcel, source: str) -> None:
    if parcel.encoding != RAW or parcel.size < LOOSE_FROM:
        writer.add(opened(parcel, source), parcel.digest)
    elif writer.add_pieces(parcel.pieces)[0] != parcel.digest:
        raise damaged(source, parcel.digest.hex(), "its bytes hash to something else")


class _Listings:
    """The snapshots and listings of what is received; `new` are those that the store lacks, in no order."""

    def __init__(self, store: Store, remote: Remote) -> None:
        self._store = store
        self._remote = remote
        self.new: dict[bytes, bytes] = {}

    def contents_below(self, snapshots: Iterable[bytes]) -> dict[bytes, int]:
        """Contents of all files in some snapshots, with their sizes; one question to the remote for each depth."""
        sizes: dict[bytes, int] = {}
        seen: set[bytes] = set()
        level = {decode_root(data, digest).tree for digest, data in self._read(set(snapshots))}
        while level:
            seen |= level
            nodes = [node for digest, data in self._read(level) for node in decode_tree(data, digest)]
            sizes |= {node.value: node.size for node in nodes if _is_file(node)}
            level = {node.value for node in nodes if node.kind == FOLDER} - seen
        return sizes

    def _read(self, digests: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        here = self._store.places(digests)
        for digest, place in here.items():
            yield digest, self._store.fetch(place)
        for parcel in self._remote.get_many(digests - here.keys()):
            self.new[parcel.digest] = opened(parcel, self._remote.name)
            yield parcel.digest, self.new[parcel.digest]


def _is_file(node: Node) -> bool:
    return node.kind not in (FOLDER, LINK)


class _Watch:
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
