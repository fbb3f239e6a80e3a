"""Getting objects from a remote: only those that are lacking, each hashed before it is stored.

One that the remote lacks or has damaged is told of, and the others come all the same where the caller wants that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain

from onrecord.snapshot.digest import from_hex, hasher
from onrecord.snapshot.encoding import PARTS, RAW
from onrecord.snapshot.errors import ObjectCorrupt, RemoteDamaged, RemoteError
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.snapshot.parcel import Parcel, add_grown, damaged, listed_parts
from onrecord.snapshot.store import Store
from onrecord.snapshot.transfer import Moved, Progress, Remote, Watch, lacks, opened
from onrecord.snapshot.tree import FOLDER, LINK, Node, decode_root, decode_tree
from onrecord.snapshot.writer import Writer

_COMMIT_BYTES = 64 << 20
Problem = Callable[[RemoteError], None]


def raised(problem: RemoteError) -> None:
    """What becomes of a problem where nobody asks to be told: it is raised."""
    raise problem


def receive(
    store: Store,
    remote: Remote,
    snapshots: Iterable[str] = (),
    contents: Iterable[str] = (),
    *,
    progress: Progress | None = None,
    tell: Problem = raised,
) -> Moved:
    """Get what snapshots need, and contents of files (64 hex digits each), as far as the store lacks them.

    Durable on return. What was received when it was cut off stays, and is not asked for again. A caller that
    refers to it only afterwards is in a block of `Store.in_use`. `tell` is told what the remote lacks
    (RemoteLacks) or has damaged (RemoteDamaged), which raises it unless it is given: the rest then comes all
    the same, without the snapshots whose listings did not. Errors: RemoteError, ManifestError, DiskFull.
    """
    with store.in_use():
        for problem in remote.damage():
            tell(problem)
        listings = _Listings(store, remote, tell)
        sizes = listings.contents_below(map(from_hex, snapshots))
        for digest in map(from_hex, contents):
            sizes.setdefault(digest, 0)
        lacking = _there(remote, sizes.keys() - store.places(sizes).keys(), tell)
        watch = Watch(progress, sum(sizes[digest] for digest in lacking))
        received = take_in(store, watch.over(_with_their_parts(store, remote, lacking, tell)), remote.name, tell)
        new = listings.whole()
        # A snapshot that is cut off must not look whole.
        with store.writer() as writer:
            for digest, data in new.items():
                writer.add(data, digest)
            writer.commit()
    return Moved(received.objects + len(new), received.bytes + sum(map(len, new.values())))


def check(remote: Remote, digests: Collection[bytes], *, progress: Progress | None = None, tell: Problem) -> Moved:
    """Read objects at a remote and compare them with their addresses; `tell` is told what is lacking or damaged.

    Returns what is right. Of a content in parts that is its list: its parts are objects of their own. Errors:
    RemoteError.
    """
    for problem in remote.damage():
        tell(problem)
    objects = size = 0
    watch = Watch(progress, 0)
    for parcel in watch.over(remote.get_many(_there(remote, digests, tell))):
        try:
            _read(parcel, remote.name)
        except RemoteDamaged as problem:
            tell(problem)
            continue
        objects, size = objects + 1, size + parcel.size
    return Moved(objects, size)


def _read(parcel: Parcel, source: str) -> None:
    if parcel.encoding == PARTS:
        listed_parts(parcel, source)
    elif parcel.encoding != RAW or parcel.size < LOOSE_FROM:
        opened(parcel, source)
    else:
        state = hasher()
        for piece in _checked_pieces(parcel, source):
            state.update(piece)
        if state.digest() != parcel.digest:
            raise damaged(source, parcel.digest.hex(), "its bytes hash to something else")


def _there(remote: Remote, digests: Collection[bytes], tell: Problem) -> set[bytes]:
    """Those of some addresses that a remote has; the others are told of."""
    gone = remote.missing(digests)
    for digest in sorted(gone):
        tell(lacks(remote.name, digest))
    return set(digests) - gone


def _checked_pieces(parcel: Parcel, source: str) -> Iterator[bytes]:
    """The pieces of a large object; a store at the other side checks them itself."""
    try:
        yield from parcel.pieces
    except ObjectCorrupt as error:
        raise damaged(source, parcel.digest.hex(), "its bytes hash to something else") from error


def take_in(store: Store, parcels: Iterable[Parcel], source: str, tell: Problem = raised) -> Moved:
    """Store parcels in their order, each hashed before it counts, some at a time; `source` is named in errors.

    What is read through other parcels is stored behind them all. What is damaged is not stored and told of.
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
                try:
                    _add(writer, parcel, source)
                except RemoteDamaged as problem:
                    tell(problem)
                    continue
                objects, pending = objects + 1, pending + parcel.size
                if pending >= _COMMIT_BYTES:
                    break
            writer.commit()
        size += pending
    return Moved(objects + add_grown(store, grown, source, tell), size)


def _add(writer: Writer, parcel: Parcel, source: str) -> None:
    if parcel.encoding != RAW or parcel.size < LOOSE_FROM:
        writer.add(opened(parcel, source), parcel.digest)
    elif writer.add_pieces(_checked_pieces(parcel, source))[0] != parcel.digest:
        raise damaged(source, parcel.digest.hex(), "its bytes hash to something else")


def _with_their_parts(store: Store, remote: Remote, digests: Collection[bytes], tell: Problem) -> Iterator[Parcel]:
    """Objects of a remote, and those that they are read through, as far as the store lacks them."""
    asked, waiting = set(digests), set(digests)
    while waiting:
        parts: set[bytes] = set()
        for parcel in remote.get_many(waiting):
            if parcel.encoding == PARTS:
                parcel = parcel._replace(pieces=list(parcel.pieces))  # noqa: PLW2901 - the same one, read
                try:
                    parts.update(part.digest for part in listed_parts(parcel, remote.name))
                except RemoteDamaged as problem:
                    tell(problem)
                    continue
            yield parcel
        waiting = parts - asked - store.places(parts).keys()
        asked |= waiting
        waiting = _there(remote, waiting, tell)


class _Listings:
    """The snapshots and listings of what is received."""

    def __init__(self, store: Store, remote: Remote, tell: Problem) -> None:
        self._store = store
        self._remote = remote
        self._tell = tell
        self._new: dict[bytes, bytes] = {}
        # Listings, and those right below each.
        self._below: dict[bytes, set[bytes]] = {}
        self._broken: set[bytes] = set()

    def contents_below(self, snapshots: Iterable[bytes]) -> dict[bytes, int]:
        """Contents of all files in some snapshots, with their sizes; one question to the remote for each depth."""
        sizes: dict[bytes, int] = {}
        seen: set[bytes] = set()
        for digest, data in self._read(set(snapshots)):
            self._below[digest] = {decode_root(data, digest).tree}
        level = set().union(*self._below.values())
        while level:
            seen |= level
            below: set[bytes] = set()
            for digest, data in self._read(level):
                nodes = decode_tree(data, digest)
                sizes |= {node.value: node.size for node in nodes if _is_file(node)}
                self._below[digest] = {node.value for node in nodes if node.kind == FOLDER}
                below |= self._below[digest]
            level = below - seen
        return sizes

    def whole(self) -> dict[bytes, bytes]:
        """Those that the store lacks and that have all listings below them, in no order."""
        broken, before = set(self._broken), -1
        while len(broken) != before:
            before = len(broken)
            broken |= {digest for digest, below in self._below.items() if below & broken}
        return {digest: data for digest, data in self._new.items() if digest not in broken}

    def _read(self, digests: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        here = self._store.places(digests)
        for digest, place in here.items():
            yield digest, self._store.fetch(place)
        elsewhere = digests - here.keys()
        there = _there(self._remote, elsewhere, self._tell)
        self._broken |= elsewhere - there
        for parcel in self._remote.get_many(there):
            try:
                data = self._new[parcel.digest] = opened(parcel, self._remote.name)
            except RemoteDamaged as problem:
                self._broken.add(parcel.digest)
                self._tell(problem)
                continue
            yield parcel.digest, data


def _is_file(node: Node) -> bool:
    return node.kind not in (FOLDER, LINK)
