"""Many files of a folder that lives into a store, in one write: what cannot be read costs only itself.

A file that grew since it was stored last is stored by its growth (`growth`); one that nobody writes any more can
become an object without a copy.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onrecord.snapshot.digest import digest_of, hasher
from onrecord.snapshot.errors import DiskFull, FileChanging, SnapshotError, SourceError, is_full, shown
from onrecord.snapshot.growth import Part, longer
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.snapshot.stable import FLAGS, KindChanged, expect, read_stable, read_whole, unreadable
from onrecord.snapshot.streams import hash_file
from onrecord.snapshot.writer import Writer

if TYPE_CHECKING:
    from blake3 import blake3

    from onrecord.snapshot.store import Store

# What is shorter is stored anew: the lists would take more than it.
GROWTH_FROM = 1 << 10
# From here on the beginning of a growing file is not read again at every look: samples of it are.
_REMEMBERED_FROM = 64 << 20
_PIECE = 4 << 20
_SAMPLE = 64 << 10
_SAMPLES = 18
_F_SETSIG = 10


class Before(NamedTuple):
    """What is in the store of a file already. `memory` saves reading it again, and is good only in this process."""

    digest: str
    size: int
    memory: Memory | None = None


class Memory(NamedTuple):
    """The state of the hash after the first bytes of a file, and an address of samples of them."""

    state: blake3
    sample: bytes


class Request(NamedTuple):
    """A file to take. `growing`: as it stands, though it is being written, and only if it grew since `before`.

    `last`: there is no later chance, so that a file that never stands still is kept as it stands. `movable`: the
    file's name is about to go, so the file itself may become the object.
    """

    path: Path
    before: Before | None = None
    growing: bool = False
    last: bool = False
    movable: bool = False


class Taken(NamedTuple):
    """What was stored of a file: `now` its content; `status` of that moment; `bytes_stored` what it took.

    `torn`: it was still being written, and its content may mix two states of it.
    """

    now: Before
    status: os.stat_result
    bytes_stored: int
    torn: bool = False


class Rewritten(SnapshotError):
    """A file that was to be taken as it grows did not only grow. Attribute: `path`."""


class _Found(NamedTuple):
    digest: bytes
    size: int
    # What new objects there may be for it beside the one of its address.
    tail: bytes | None = None
    memory: Memory | None = None


def collect(store: Store, requests: Sequence[Request]) -> list[Taken | SnapshotError | None]:
    """Store files, durable on return; in the order of `requests`, None for one that is gone.

    One that cannot be had is answered with its error: SourceError, FileChanging where it is `growing`, Rewritten.
    Raises DiskFull, and then nothing was stored.
    """
    with store.writer() as writer:
        found = [_one(store, writer, request) for request in requests]
        new = writer.commit()
    results: list[Taken | SnapshotError | None] = []
    for one in found:
        if isinstance(one, tuple):
            taken, tail = one
            bytes_stored = new.pop(bytes.fromhex(taken.now.digest), 0) + (new.pop(tail, 0) if tail else 0)
            results.append(taken._replace(bytes_stored=bytes_stored))
        else:
            results.append(one)
    return results


def _one(store: Store, writer: Writer, request: Request) -> tuple[Taken, bytes | None] | SnapshotError | None:
    name = os.fsencode(request.path)
    torn = False
    try:
        if request.growing:
            found, status = _as_it_stands(store, writer, request, name)
        else:
            try:
                found, status = _linked(writer, request, name) or _in_one_state(store, writer, request, name)
            except FileChanging:
                if not request.last:
                    raise
                found, status = _as_it_stands(store, writer, request, name)
                torn = True
    except FileNotFoundError:
        return None
    except KindChanged:
        return SourceError(
            f"cannot store {shown(name)}", why="it is no regular file any more", next_step="ls -l", path=shown(name)
        )
    except DiskFull:
        raise
    except SnapshotError as problem:
        return problem
    except OSError as error:
        if is_full(error):
            raise
        return unreadable(name, error)
    now = Before(found.digest.hex(), found.size, found.memory)
    return Taken(now, status, 0, torn), found.tail


def _in_one_state(store: Store, writer: Writer, request: Request, name: bytes) -> tuple[_Found, os.stat_result]:
    torn: list[bytes] = []

    def take(fd: int, status: os.stat_result) -> tuple[_Found | None, bytes]:
        while torn:
            writer.forget_large(torn.pop())
        grown = _grown(store, writer, request, fd, status.st_size)
        if grown is not None:
            expect(grown.size, status)
            return grown, b""
        if status.st_size < LOOSE_FROM:
            return None, read_whole(fd, status)
        digest, read = writer.add_large(fd, status.st_size)
        torn.append(digest)
        expect(read, status)
        return _Found(digest, read), b""

    (found, data), status = read_stable(name, None, name, take)
    # Only bytes known to be one state of the file are handed on.
    return found or _Found(writer.add(data), len(data)), status


def _as_it_stands(store: Store, writer: Writer, request: Request, name: bytes) -> tuple[_Found, os.stat_result]:
    """What is there at this moment, of a file that may grow meanwhile."""
    fd = os.open(name, FLAGS)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise KindChanged
        found = _grown(store, writer, request, fd, status.st_size)
        if found is None and request.growing and request.before is not None:
            raise Rewritten(f"{shown(name)} is being written anew, not only longer", next_step="wait", path=shown(name))
        if found is None and status.st_size < LOOSE_FROM:
            data = b"".join(_pieces(fd, 0, status.st_size))
            found = _Found(writer.add(data), len(data))
        elif found is None:
            found = _Found(*writer.add_large(fd, status.st_size))
        return found, status
    finally:
        os.close(fd)


# ---- by its growth -----------------------------------------------------------------------------------


def _grown(store: Store, writer: Writer, request: Request, fd: int, size: int) -> _Found | None:
    """Store only what came after `before`; None where that cannot be, with the descriptor at the file's start."""
    before = request.before
    if before is None or not GROWTH_FROM <= before.size < size:
        return None
    place = next(iter(store.places([bytes.fromhex(before.digest)]).values()), None)
    state = _state_after(fd, before, trusting=request.growing) if place is not None else None
    if place is None or state is None:
        os.lseek(fd, 0, os.SEEK_SET)
        return None
    tail = size - before.size
    if tail < LOOSE_FROM:
        data = b"".join(_pieces(fd, before.size, tail))
        state.update(data)
        piece = Part(writer.add(data), len(data))
    else:
        os.lseek(fd, before.size, os.SEEK_SET)
        piece = Part(*writer.add_large(fd, tail))
        for data in _pieces(fd, before.size, piece.size):
            state.update(data)
    digest, whole = state.digest(), before.size + piece.size
    writer.add_parts(digest, longer(store, place, piece))
    memory = Memory(state, _sample(fd, whole)) if whole >= _REMEMBERED_FROM else None
    return _Found(digest, whole, piece.digest, memory)


def _state_after(fd: int, before: Before, *, trusting: bool) -> blake3 | None:
    """The state of the hash after the bytes of `before`, if the file still begins with them.

    A long file is not read again while it grows: samples of its beginning must be as they were. Once it has come
    to rest it is.
    """
    if trusting and before.memory is not None:
        return before.memory.state.copy() if _sample(fd, before.size) == before.memory.sample else None
    state = hasher()
    for piece in _pieces(fd, 0, before.size):
        state.update(piece)
    return state if state.hexdigest() == before.digest else None


def _sample(fd: int, size: int) -> bytes:
    step = max(1, (size - _SAMPLE) // (_SAMPLES - 1))
    return digest_of(b"".join(os.pread(fd, min(_SAMPLE, size), step * number) for number in range(_SAMPLES)))


def _pieces(fd: int, start: int, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := os.pread(fd, min(size, _PIECE), start)):
        yield piece
        start, size = start + len(piece), size - len(piece)


# ---- without a copy ----------------------------------------------------------------------------------


def _linked(writer: Writer, request: Request, name: bytes) -> tuple[_Found, os.stat_result] | None:
    """Make a large file an object under a second name; None where it must be copied.

    Its first name goes when its folder is given up (`release`). Whoever has it open for writing, or has written
    to it through a mapping that is still there, could change the object: then it is copied.
    """
    if not request.movable:
        return None
    try:
        fd = os.open(name, FLAGS)
    except OSError:
        # Copying says what is the matter.
        return None
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or before.st_size < LOOSE_FROM or before.st_nlink != 1:
            return None
        if request.before is not None and request.before.size >= GROWTH_FROM:
            # It may have grown, and then most of it is stored.
            return None
        if before.st_uid != os.geteuid() or not _without_writers(fd):
            return None
        digest, size = hash_file(fd)
        os.fsync(fd)
        if size != before.st_size or os.fstat(fd).st_mtime_ns != before.st_mtime_ns or not _without_writers(fd):
            return None
        writer.add_linked(request.path, digest, size)
        os.fchmod(fd, 0o444)
        return _Found(digest, size), os.fstat(fd)
    except OSError:
        # Another file system, or one without links.
        return None
    finally:
        os.close(fd)


def _without_writers(fd: int) -> bool:
    """Whether no process has a file open, or mapped, for writing: the kernel grants a read lease only then."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        # Who opens it meanwhile would have this process signalled: with one that is ignored by default.
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True
