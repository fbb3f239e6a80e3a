"""Content that grew at its end: kept as the content before and what came after it, not again as a whole.

The address of such an object is that of its whole content, as for every other; only how it is kept differs (the
encoding PARTS). What stands in its pack is a list: what it is made of, each a shorter object of the same store.

    "onrecord parts 1\\n"  u64be size  { 32B address, u64be size } ...  16B BLAKE3 of all before

A list names at most `MOST` parts; a longer one begins with the whole content before it, which may be kept the same
way. So a look at a growing log costs its growth and some 200 bytes, and a log of a thousand looks is read through
some 125 lists.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from onrecord.snapshot.digest import digest_of, hasher
from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.errors import ObjectCorrupt, ObjectMissing, corrupt
from onrecord.snapshot.index import Place

if TYPE_CHECKING:
    from onrecord.snapshot.store import Store


class Objects(Protocol):
    """Where contents in parts can be read: a store, or whatever else holds objects by their addresses."""

    def places(self, digests: Iterable[bytes]) -> dict[bytes, Place]:
        """Where objects lie; those that are not there are left out."""
        ...

    def parts(self, place: Place) -> list[Part]:
        """What an object in parts is made of. Errors: ObjectMissing, ObjectCorrupt."""
        ...

    def pieces_at(self, place: Place) -> Iterator[bytes]:
        """The bytes of an object. Errors: ObjectMissing, ObjectCorrupt."""
        ...


MOST: Final = 8
_MAGIC: Final = b"onrecord parts 1\n"
_SIZE = struct.Struct(">Q")
_PART = struct.Struct(">32sQ")
_CHECK_BYTES: Final = 16


class Part(NamedTuple):
    """A piece of a content: its address, and its size in bytes."""

    digest: bytes
    size: int


def encode_parts(parts: Sequence[Part]) -> bytes:
    """What is kept of a content that is these parts, one after the other."""
    listed = b"".join(_PART.pack(*part) for part in parts)
    data = _MAGIC + _SIZE.pack(sum(part.size for part in parts)) + listed
    return data + digest_of(data)[:_CHECK_BYTES]


def decode_parts(kept: bytes, place: Place) -> list[Part]:
    """The parts again. ObjectCorrupt where it is not what was written."""
    data, check = kept[:-_CHECK_BYTES], kept[-_CHECK_BYTES:]
    start = len(_MAGIC) + _SIZE.size
    listed = data[start:]
    if digest_of(data)[:_CHECK_BYTES] != check or not data.startswith(_MAGIC) or len(listed) % _PART.size:
        raise corrupt(place.digest, "the list of its parts is not what was written")
    parts = [Part._make(found) for found in _PART.iter_unpack(listed)]
    sizes = sum(part.size for part in parts), _SIZE.unpack(data[len(_MAGIC) : start])[0]
    # Parts that are all shorter than the whole can never lead back to it.
    if sizes != (place.size, place.size) or any(not 0 < part.size < place.size for part in parts):
        raise corrupt(place.digest, "the list of its parts does not add up")
    return parts


def longer(store: Store, before: Place, tail: Part) -> list[Part]:
    """The parts of the content that is `before` and then `tail`."""
    parts = store.parts(before) if before.encoding == PARTS else []
    if not parts or len(parts) >= MOST:
        parts = [Part(before.digest, before.size)]
    return [*parts, tail]


def leaves(store: Objects, place: Place) -> list[Place]:
    """The objects that make up a content, in order; none of them is in parts itself.

    Errors: ObjectMissing, ObjectCorrupt.
    """
    found: list[Place] = []
    stack = [place]
    while stack:
        here = stack.pop()
        if here.encoding != PARTS:
            found.append(here)
            continue
        parts = store.parts(here)
        places = store.places({part.digest for part in parts})
        for part in parts:
            if part.digest not in places:
                raise corrupt(place.digest, f"its part {part.digest.hex()} is gone")
            if places[part.digest].size != part.size:
                raise corrupt(place.digest, f"its part {part.digest.hex()} has another size")
        stack += [places[part.digest] for part in reversed(parts)]
    return found


def read_parts(store: Objects, place: Place) -> Iterator[bytes]:
    """The bytes of a content in pieces of a few megabytes; ObjectCorrupt after the last when they were wrong."""
    state = hasher()
    for leaf in leaves(store, place):
        for piece in store.pieces_at(leaf):
            state.update(piece)
            yield piece
    if state.digest() != place.digest:
        raise corrupt(place.digest, "its bytes hash to something else")


def with_parts(store: Objects, digests: Iterable[bytes]) -> set[bytes]:
    """Some addresses, and those of all that is read for them. Lists that cannot be read add nothing."""
    found = set(digests)
    waiting = list(found)
    while waiting:
        places = store.places(waiting)
        waiting = []
        for place in places.values():
            if place.encoding == PARTS:
                waiting += [part.digest for part in _parts_or_none(store, place) if part.digest not in found]
        found.update(waiting)
    return found


def held(store: Store, going: set[bytes]) -> set[bytes]:
    """Those of some objects that others, which are to stay, are read through."""
    kept: set[bytes] = set()
    waiting = [place for place in store.in_parts() if place.digest not in going]
    while waiting:
        place = waiting.pop()
        new = {part.digest for part in _parts_or_none(store, place)} & going - kept
        kept |= new
        waiting += [found for found in store.places(new).values() if found.encoding == PARTS]
    return kept


def _parts_or_none(store: Objects, place: Place) -> list[Part]:
    try:
        return store.parts(place)
    except (ObjectCorrupt, ObjectMissing):
        return []


def wrong(store: Objects, places: Iterable[Place]) -> Iterator[tuple[Place, str]]:
    """What is wrong with contents in parts; the many states of one log are checked in one reading of the last."""
    waiting = {place.digest: place for place in places}
    broken: set[bytes] = set()
    for place in sorted(waiting.values(), key=lambda place: -place.size):
        if place.digest not in waiting:
            continue
        problem = _check(store, place, waiting, broken)
        waiting.pop(place.digest, None)
        if problem:
            yield place, problem


def _check(store: Objects, place: Place, waiting: dict[bytes, Place], broken: set[bytes]) -> str:
    """Read a content; takes the earlier states of it that were found right on the way out of `waiting`."""
    state, size = hasher(), 0
    ends: dict[int, bytes] = {}
    parts: dict[int, bytes] = {}
    try:
        found = leaves(store, place)
        for leaf in found:
            if leaf.digest in broken:
                return f"its part {leaf.digest.hex()} is damaged"
        for leaf in found:
            parts[size] = leaf.digest
            try:
                for piece in store.pieces_at(leaf):
                    state.update(piece)
            except (ObjectCorrupt, ObjectMissing) as error:
                broken.add(leaf.digest)
                return f"its part {leaf.digest.hex()} is damaged: {error.what.partition(': ')[2] or error.what}"
            size += leaf.size
            ends[size] = state.digest()
            earlier = waiting.get(ends[size])
            if earlier is not None and earlier.size == size and _leads_there(store, earlier, parts, ends):
                del waiting[earlier.digest]
    except (ObjectCorrupt, ObjectMissing) as error:
        return error.what.partition(": ")[2] or error.what
    return "" if state.digest() == place.digest else "damaged: its bytes hash to something else"


def _leads_there(store: Objects, earlier: Place, parts: dict[int, bytes], ends: dict[int, bytes]) -> bool:
    """Whether the list of an earlier state names what was just read, piece for piece."""
    start = 0
    for part in _parts_or_none(store, earlier):
        whole = start == 0 and ends.get(part.size) == part.digest
        if not whole and parts.get(start) != part.digest:
            return False
        start += part.size
    return start == earlier.size
