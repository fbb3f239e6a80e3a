"""Runs written into a bundle: their events, and every object that they refer to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from onrecord.bundle import (
    END,
    MANIFEST,
    BundledRun,
    Manifest,
    events_name,
    header,
    object_name,
    padding,
    receipt_name,
)
from onrecord.errors import OnRecordError
from onrecord.ledger.errors import RunNotEnded
from onrecord.ledger.event_lines import event_lines
from onrecord.ledger.events import FileRecorded, RunSubmitted
from onrecord.ledger.history import History
from onrecord.ledger.ids import decode
from onrecord.ledger.origin import origin_of, root_of_events, stored_events
from onrecord.ledger.stored_event import StoredEvent
from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.gc import needed_by
from onrecord.whole_file import whole_file
from onrecord.workspace import Workspace

Progress = Callable[[int, int], None]
_NAMED = 5


class BundleExists(OnRecordError):
    """There is a file where the bundle is to be written. Attribute: `path`."""


class Exported(NamedTuple):
    """What a bundle holds, and its size in bytes."""

    runs: int
    events: int
    objects: int
    bytes: int


def export_runs(
    workspace: Workspace,
    run_ids: Sequence[str],
    path: Path,
    *,
    receipts: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write runs that have ended, and all that they refer to, into the new file `path`: the same runs, the same bytes.

    With each run goes its receipt, as of its seal, or the text that `receipts` has of it. `progress` is told the
    bytes written and the bytes in all. The file appears whole or not at all. Raises RunNotEnded, BundleExists,
    ObjectMissing, ObjectCorrupt.
    """
    if path.exists() and not overwrite:
        raise BundleExists(
            f"{path} is there already", why="it is not replaced unasked", next_step="--force replaces it", path=path
        )
    _refuse_living(workspace, run_ids)
    # Nothing may be erased while it is being copied.
    with (
        whole_file(path, overwrite=overwrite) as file,
        workspace.store.in_use(),
        tempfile.TemporaryFile(dir=path.parent) as runs,
    ):
        wanted = sorted(set(run_ids))
        if receipts is None:
            receipts = _receipts(workspace, wanted)
        return _write(workspace, wanted, receipts, runs, file, progress)


def with_descendants(workspace: Workspace, run_ids: Iterable[str]) -> list[str]:
    """Runs and all that were started from them, directly or not."""
    found, waiting = dict.fromkeys(run_ids), list(run_ids)
    children: dict[str, list[str]] = {}
    for row in workspace.query.runs():
        if row.parent:
            children.setdefault(row.parent, []).append(row.run_id)
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return list(found)


def _refuse_living(workspace: Workspace, run_ids: Iterable[str]) -> None:
    rows = [workspace.query.run(run_id) for run_id in run_ids]
    living = [row for row in rows if not row.ended or not row.sealed]
    if living:
        names = ", ".join(f"{row.run_id} ({row.status})" for row in living[:_NAMED])
        more = f" and {len(living) - _NAMED} more" if len(living) > _NAMED else ""
        raise RunNotEnded(
            f"{len(living)} of {len(rows)} runs have not ended: {names}{more}",
            why="a bundle holds what no longer changes and is sealed",
            next_step="wait for them (onrecord logs -f RUN), or name the runs to export",
            run_id=living[0].run_id,
            status=living[0].status,
        )


def _receipts(workspace: Workspace, run_ids: Sequence[str]) -> dict[str, str]:
    # Of the moment of the seal: the ledger grows on, and the same runs are to make the same bytes.
    history = History(workspace.journal)
    return {run_id: str(history.receipt(run_id, history.checkpoint_at_seal(run_id))) for run_id in run_ids}


def _write(
    workspace: Workspace,
    run_ids: Sequence[str],
    receipts: Mapping[str, str],
    spool: IO[bytes],
    file: IO[bytes],
    progress: Progress | None,
) -> Exported:
    listed, objects = [], set[str]()
    for run_id in run_ids:
        events = stored_events(workspace.journal, run_id)
        listed.append(_write_run(run_id, events, receipts.get(run_id), spool))
        objects |= _objects_of(workspace, run_id, events)
    manifest = Manifest(str(origin_of(workspace.journal)), listed, *_contents(workspace, objects))
    spool.seek(0)
    _write_member(file, MANIFEST, [manifest.encoded()])
    shutil.copyfileobj(spool, file)
    total, written = sum(size for _, size in manifest.objects), 0
    for digest, size in manifest.objects:
        written += _write_member(file, object_name(digest), workspace.store.pieces(digest), size)
        if progress is not None:
            progress(written, total)
    file.write(END)
    count = len(manifest.objects) + len(manifest.grown)
    return Exported(len(listed), sum(run.events for run in listed), count, file.tell())


def _write_run(run_id: str, events: Sequence[StoredEvent], receipt: str | None, spool: IO[bytes]) -> BundledRun:
    lines = event_lines(events)
    _write_member(spool, events_name(run_id), [lines])
    if receipt is not None:
        _write_member(spool, receipt_name(run_id), [receipt.encode()])
    root = root_of_events(events, decode(run_id), [event.seq for event in events])
    return BundledRun(run_id, len(events), len(lines), str(root), None if receipt is None else len(receipt.encode()))


def _write_member(file: IO[bytes], name: str, pieces: Iterable[bytes], size: int | None = None) -> int:
    if size is None:
        pieces = list(pieces)
        size = sum(map(len, pieces))
    file.write(header(name, size))
    for piece in pieces:
        file.write(piece)
    file.write(padding(size))
    return size


def referred_to(run_id: str, events: Iterable[StoredEvent]) -> tuple[set[str], set[str]]:
    """The snapshots and the contents of files that a run's events name, by address."""
    snapshots, files = set[str](), set[str]()
    for stored in events:
        if stored.type not in (RunSubmitted.type, FileRecorded.type):
            continue
        event = stored.recorded(run_id).event
        if isinstance(event, RunSubmitted) and event.snapshot_id:
            snapshots.add(event.snapshot_id)
        elif isinstance(event, FileRecorded):
            files.add(event.digest)
    return snapshots, files


def _objects_of(workspace: Workspace, run_id: str, events: Sequence[StoredEvent]) -> set[str]:
    snapshots, files = referred_to(run_id, events)
    return files | needed_by(workspace.store, snapshots)


def _contents(
    workspace: Workspace, objects: Iterable[str]
) -> tuple[list[tuple[str, int]], list[tuple[str, int, list[tuple[str, int]]]]]:
    """Objects with their sizes, and those that are read through others with these; of all that is wanted."""
    addresses = [bytes.fromhex(digest) for digest in sorted(workspace.store.with_parts(objects))]
    places = workspace.store.places(addresses)
    whole, grown = list[tuple[str, int]](), list[tuple[str, int, list[tuple[str, int]]]]()
    for digest in addresses:
        place = places.get(digest) or workspace.store.place(digest)
        if place.encoding == PARTS:
            parts = [(part.digest.hex(), part.size) for part in workspace.store.parts(place)]
            grown.append((digest.hex(), place.size, parts))
        else:
            whole.append((digest.hex(), place.size))
    return whole, grown
