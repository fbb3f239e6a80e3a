"""A remote that is no store but a plain place for files: a folder, a folder on another host, a bucket.

    packs/<64 hex>.pack   as in a store (`layout`), named by the BLAKE3 of its bytes
    packs/<64 hex>.names  its list of contents: a first line, the header of each object in its order, and the BLAKE3
                          of all before
    loose/<64 hex>        an object from 4 MiB on, as it is; the next pack has a header for it, without content

Files are written once and never changed, so any number of senders may be at work, and sending again what was cut off
changes nothing. A pack counts once its list is there. Packs come one behind the other, so whoever finds a listing
finds all that it needs: unless files have gone, which is seen, because then a list is there without its pack.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple, Protocol

from onrecord.snapshot.digest import SIZE, digest_of
from onrecord.snapshot.encoding import RAW
from onrecord.snapshot.errors import RemoteDamaged, RemoteError
from onrecord.snapshot.layout import HEADER_SIZE, LOOSE_FROM, PACK_MAGIC, pack_header
from onrecord.snapshot.parcel import Parcel, damaged
from onrecord.snapshot.transfer import lacks

NAMES_MAGIC: Final = b"onrecord names 1\n"
_HEADER = struct.Struct(">32sBII")
# In place of an encoding: the object is a file of its own.
_APART: Final = 255
_PACK_BYTES = 16 << 20
PIECE_BYTES: Final = 4 << 20
# What lies between two wanted objects is read along when that is cheaper than asking once more.
_GAP_BYTES = 64 << 10
_SPAN_BYTES = 16 << 20
_FILE = re.compile(
    r"packs/(?P<pack>[0-9a-f]{64})\.pack|packs/(?P<names>[0-9a-f]{64})\.names|loose/(?P<loose>[0-9a-f]{64})"
)


class Span(NamedTuple):
    """A part of a file: `start` and `length` in bytes."""

    name: str
    start: int
    length: int


class Shelf(Protocol):
    """A place for files. Errors of each call: RemoteError, DiskFull."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def sizes(self) -> dict[str, int]:
        """The names of all files, with their bytes."""

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Parts of files, in the order of `spans`; what is there of one that is longer than its file."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """A whole file, in pieces of some megabytes at most."""

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """A new file, whole or not at all, and durable on return; one that is there is as good as a new one."""

    def close(self) -> None:
        """Let go of it."""


class _Held(NamedTuple):
    """Where an object lies: `pack` is empty for a file of its own."""

    digest: bytes
    pack: str
    offset: int
    encoding: int
    kept: int
    size: int


class ShelfRemote:
    """A shelf as a remote (`transfer.Remote`)."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._known: dict[bytes, _Held] | None = None
        self._is_whole = True
        self._damage: list[RemoteError] = []

    @property
    def name(self) -> str:
        """What the shelf is called."""
        return self._shelf.name

    def whole(self) -> set[bytes]:
        """All that it has, unless a file has gone."""
        known = self._held()
        return set(known) if self._is_whole else set()

    def damage(self) -> list[RemoteError]:
        """Lists that are not what was written."""
        self._held()
        return list(self._damage)

    def missing(self, digests: Collection[bytes]) -> set[bytes]:
        """Those of some addresses that it lacks."""
        return set(digests) - self._held().keys()

    def put_many(self, parcels: Iterable[Parcel]) -> None:
        """Take objects, in packs of 16 MiB: each counts on its own when the next is cut off."""
        known, pack = self._held(), _NewPack()
        for parcel in parcels:
            if parcel.encoding == RAW and parcel.size >= LOOSE_FROM:
                # It may be a listing, which must not be there before what it names.
                pack = self._put_pack(pack)
                self._shelf.write(f"loose/{parcel.digest.hex()}", parcel.pieces)
                known[parcel.digest] = _apart(parcel.digest, parcel.size)
                pack.add(Parcel(parcel.digest, 0, _APART, []))
                continue
            pack.add(parcel)
            if pack.bytes >= _PACK_BYTES:
                pack = self._put_pack(pack)
        self._put_pack(pack)

    def get_many(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Objects in the order in which they lie, neighbours in one read."""
        known = self._held()
        found = []
        for digest in digests:
            if digest not in known:
                raise lacks(self.name, digest)
            found.append(known[digest])
        packed = sorted((held for held in found if held.pack), key=lambda held: (held.pack, held.offset))
        groups = [group for _, held in groupby(packed, key=lambda held: held.pack) for group in _neighbours(list(held))]
        for group, data in zip(groups, self._shelf.read([_span(group) for group in groups]), strict=True):
            for held in group:
                start = held.offset - group[0].offset
                yield Parcel(held.digest, held.size, held.encoding, [data[start : start + held.kept]])
        for held in found:
            if not held.pack:
                yield Parcel(held.digest, held.size, RAW, self._shelf.pieces(f"loose/{held.digest.hex()}"))

    def close(self) -> None:
        """Let go of the shelf."""
        self._shelf.close()

    def _put_pack(self, pack: _NewPack) -> _NewPack:
        if pack.headers:
            data = b"".join(pack.pieces)
            name = digest_of(data).hex()
            listed = NAMES_MAGIC + b"".join(pack.headers)
            listed += digest_of(listed)
            self._shelf.write(f"packs/{name}.pack", [data])
            # Only now: a list says that its pack is whole.
            self._shelf.write(f"packs/{name}.names", [listed])
            listed_now = self._listed(name, listed)
            self._held().update((held.digest, held) for held in listed_now if held.encoding != _APART)
        return _NewPack()

    def _held(self) -> dict[bytes, _Held]:
        if self._known is None:
            known, apart = dict[bytes, _Held](), set[bytes]()
            sizes = self._shelf.sizes()
            files = {name: match for name in sizes if (match := _FILE.fullmatch(name))}
            lists = sorted(name for name, match in files.items() if match["names"])
            spans = [Span(name, 0, sizes[name]) for name in lists]
            for name, data in zip(lists, self._shelf.read(spans), strict=True):
                pack = str(files[name]["names"])
                try:
                    held = self._listed(pack, data)
                except RemoteDamaged as problem:
                    self._damage.append(problem)
                    self._is_whole = False
                    continue
                if sizes.get(f"packs/{pack}.pack") != _end_of(held):
                    self._is_whole = False
                    continue
                apart |= {one.digest for one in held if one.encoding == _APART}
                known.update((one.digest, one) for one in held if one.encoding != _APART)
            loose = {bytes.fromhex(match["loose"]): sizes[name] for name, match in files.items() if match["loose"]}
            known.update((digest, _apart(digest, size)) for digest, size in loose.items())
            self._is_whole &= apart <= known.keys()
            self._known = known
        return self._known

    def _listed(self, pack: str, data: bytes) -> list[_Held]:
        body = data[len(NAMES_MAGIC) : -SIZE]
        good = data.startswith(NAMES_MAGIC) and len(body) % HEADER_SIZE == 0
        if not good or digest_of(data[:-SIZE]) != data[-SIZE:]:
            raise damaged(self.name, f"packs/{pack}.names", "it is not the list that was written")
        held, offset = [], len(PACK_MAGIC)
        for digest, encoding, kept, size in _HEADER.iter_unpack(body):
            offset += HEADER_SIZE
            held.append(_Held(digest, pack, offset, encoding, kept, size))
            offset += kept
        return held


class _NewPack:
    """A pack that is being put together in memory."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = [PACK_MAGIC]
        self.headers: list[bytes] = []
        self.bytes = len(PACK_MAGIC)

    def add(self, parcel: Parcel) -> None:
        kept = b"".join(parcel.pieces)
        header = pack_header(parcel.digest, parcel.encoding, len(kept), parcel.size)
        self.headers.append(header)
        self.pieces += (header, kept)
        self.bytes += len(header) + len(kept)


def _apart(digest: bytes, size: int) -> _Held:
    return _Held(digest, "", 0, RAW, size, size)


def _end_of(held: list[_Held]) -> int:
    return held[-1].offset + held[-1].kept if held else len(PACK_MAGIC)


def _neighbours(held: list[_Held]) -> Iterator[list[_Held]]:
    """Objects of one pack, in their order, that are worth to be read together."""
    group: list[_Held] = []
    for one in held:
        if group:
            last = group[-1]
            apart = one.offset - last.offset - last.kept > _GAP_BYTES
            if apart or one.offset + one.kept - group[0].offset > _SPAN_BYTES:
                yield group
                group = []
        group.append(one)
    if group:
        yield group


def _span(group: list[_Held]) -> Span:
    first, last = group[0], group[-1]
    return Span(f"packs/{first.pack}.pack", first.offset, last.offset + last.kept - first.offset)
