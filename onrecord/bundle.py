"""The file that runs travel in: a tar archive of which every byte is foreseen, so that nothing else can hide in it.

    onrecord-bundle.json        what follows: runs and objects, with their sizes, in this order
    runs/<run id>/events.jsonl  the run's events, exact to the byte (`ledger.event_lines`)
    runs/<run id>/receipt.txt   what the ledger that it comes from proves of it; not in every bundle
    objects/<64 hex digits>     contents, folders and snapshots by their BLAKE3, each once, rising

A content that grew, as of a log, may be listed with its parts, which are objects, instead of being one: the list of
contents says so under `grown`. The many states of a log so take little more room than the last.

Any tar program shows and unpacks it. It is read without one: for each member there is one possible header, which
is compared, so links, paths that lead elsewhere, further members and odd sizes cannot be said in it. Nothing is
compressed: what it unpacks to is what it is, and the sizes must add up to the file before any of it is read.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onrecord.errors import OnRecordError
from onrecord.ledger.errors import BadRunId
from onrecord.ledger.ids import decode, encode

FORM = "onrecord/bundle@v1"
MANIFEST = "onrecord-bundle.json"
BLOCK = 512
END = bytes(2 * BLOCK)
# A million objects take some 80 MB here.
_MOST_MANIFEST_BYTES = 1 << 30
_PIECE = 4 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ORIGIN = re.compile(r"onrecord/[0-9a-f]{32}")


class BadBundle(OnRecordError):
    """The file is not a bundle as it was exported. Nothing of it was imported. Attributes: `path`, `member`."""


class BundledRun(NamedTuple):
    """A run of a bundle: how many events, the bytes of their lines and of its receipt, the Merkle root over them."""

    run_id: str
    events: int
    size: int
    root: str
    receipt: int | None


class Manifest(NamedTuple):
    """What a bundle holds. `origin`: the name of the ledger; `objects`: address (64 hex digits) and size in bytes.

    `grown`: the same of contents that are made of others, with these, in their order.
    """

    origin: str
    runs: list[BundledRun]
    objects: list[tuple[str, int]]
    grown: list[tuple[str, int, list[tuple[str, int]]]] = []  # noqa: RUF012 - never changed

    def encoded(self) -> bytes:
        """The bytes of the first member."""
        document: dict[str, object] = {
            "bundle": FORM,
            "objects": [list(entry) for entry in self.objects],
            "origin": self.origin,
            "runs": [run._asdict() for run in self.runs],
        }
        if self.grown:
            document["grown"] = [[digest, size, list(map(list, parts))] for digest, size, parts in self.grown]
        return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()

    def members(self) -> Iterator[tuple[str, int]]:
        """Name and size of every further member, in order."""
        for run in self.runs:
            yield events_name(run.run_id), run.size
            if run.receipt is not None:
                yield receipt_name(run.run_id), run.receipt
        for digest, size in self.objects:
            yield object_name(digest), size


def events_name(run_id: str) -> str:
    """The member with a run's events."""
    return f"runs/{run_id}/events.jsonl"


def receipt_name(run_id: str) -> str:
    """The member with a run's receipt."""
    return f"runs/{run_id}/receipt.txt"


def object_name(digest: str) -> str:
    """The member with an object."""
    return f"objects/{digest}"


def header(name: str, size: int) -> bytes:
    """The one header that a member of this name and size has: 512 bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What fills a member up to whole blocks."""
    return bytes(-size % BLOCK)


class Bundle:
    """A bundle that is open for reading. A context manager; what it hands out was not looked at but for its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        try:
            self.manifest = self._read_manifest()
            self._places = self._read_places()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str) -> bytes:
        """A whole member. KeyError where there is none of this name."""
        place, size = self._places[name]
        data = os.pread(self._file.fileno(), size, place)
        if len(data) != size:
            data = b"".join(self.pieces(name))
        return data

    def pieces(self, name: str) -> Iterator[bytes]:
        """A member of any size in pieces. KeyError where there is none of this name."""
        place, left = self._places[name]
        while left:
            piece = os.pread(self._file.fileno(), min(left, _PIECE), place)
            if not piece:
                raise self.bad("it became shorter while it was read", name)
            place, left = place + len(piece), left - len(piece)
            yield piece

    def bad(self, why: str, member: str = "") -> BadBundle:
        """The error for something that an export cannot have written."""
        return BadBundle(
            f"{self.path} is not a bundle as it was exported" + (f": {member}" if member else ""),
            why=f"{why}; nothing of it was imported",
            next_step="get the file again from where it was exported (onrecord export)",
            path=self.path,
            member=member,
        )

    def _read_manifest(self) -> Manifest:
        start = self._file.read(BLOCK)
        try:
            size = tarfile.TarInfo.frombuf(start, "ascii", "strict").size
        except (tarfile.HeaderError, UnicodeError):
            raise self.bad("it does not begin as one") from None
        if not 0 < size <= min(_MOST_MANIFEST_BYTES, os.fstat(self._file.fileno()).st_size):
            raise self.bad("its list of contents is longer than the file", MANIFEST)
        data = self._file.read(size)
        manifest = _parse_manifest(data)
        if start != header(MANIFEST, size) or manifest is None or manifest.encoded() != data:
            raise self.bad("its list of contents is not one", MANIFEST)
        return manifest

    def _read_places(self) -> dict[str, tuple[int, int]]:
        places, place = {}, BLOCK
        size = len(self.manifest.encoded())
        members = list(self.manifest.members())
        whole = sum(BLOCK + count + len(padding(count)) for count in (size, *(each for _, each in members)))
        found = os.fstat(self._file.fileno()).st_size
        if found != whole + len(END):
            raise self.bad(f"it has {found} bytes, and its contents take {whole + len(END)}")
        for name, count in members:
            place += size + len(padding(size))
            self._expect(place - len(padding(size)), padding(size) + header(name, count), name)
            place, size = place + BLOCK, count
            places[name] = place, size
        self._expect(place + size, padding(size) + END, "")
        return places

    def _expect(self, place: int, data: bytes, name: str) -> None:
        if os.pread(self._file.fileno(), len(data), place) != data:
            raise self.bad("what stands there is not what its list of contents says", name)


def _parse_manifest(data: bytes) -> Manifest | None:
    """The manifest behind some bytes, None where it is none; the caller compares the bytes with what it encodes to."""
    try:
        found = json.loads(data)
        runs = [BundledRun(**run) for run in found["runs"]]
        objects = [(digest, size) for digest, size in found["objects"]]
        grown = [
            (digest, size, [(one, count) for one, count in parts]) for digest, size, parts in found.get("grown", [])
        ]
        names = [digest for digest, _ in objects]
        longer = [digest for digest, *_ in grown]
        sizes = [size for _, size, _ in grown] + [count for *_, parts in grown for _, count in parts]
        sizes += [size for _, size in objects] + [number for run in runs for number in (run.events, run.size)]
        sizes += [run.receipt for run in runs if run.receipt is not None]
        good = (
            _ORIGIN.fullmatch(found["origin"])
            and runs
            and len({run.run_id for run in runs}) == len(runs)
            and all(encode(decode(run.run_id)) == run.run_id and _DIGEST.fullmatch(run.root) for run in runs)
            and all(map(_DIGEST.fullmatch, names))
            and all(before < after for some in (names, longer) for before, after in pairwise(some))
            and _adds_up({**dict(objects), **{digest: size for digest, size, _ in grown}}, grown)
            and all(type(size) is int and 0 <= size < 2**63 for size in sizes)
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, BadRunId):
        return None
    return Manifest(found["origin"], runs, objects, grown) if good else None


def _adds_up(sizes: dict[str, int], grown: list[tuple[str, int, list[tuple[str, int]]]]) -> bool:
    """Whether each content in parts is as long as they are, and each part is there and shorter than the whole.

    None is made of more objects than are listed in all, as lists that name each other twice could say.
    """
    listed, objects = sum(len(parts) for *_, parts in grown), dict[str, int]()
    for digest, size, parts in sorted(grown, key=lambda entry: entry[1]):
        objects[digest] = sum(objects.get(one, 1) for one, _ in parts)
        good = (
            _DIGEST.fullmatch(digest)
            and sum(count for _, count in parts) == size < 2**63
            and all(0 < count < size and sizes.get(one) == count for one, count in parts)
            and objects[digest] <= listed
        )
        if not good:
            return False
    return True
