"""Runs taken in from a bundle: everything of it is checked before anything of it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from onrecord.bundle import BadBundle, Bundle, BundledRun, events_name, object_name, receipt_name
from onrecord.bundle_shelf import Shelf
from onrecord.exporting import referred_to
from onrecord.ledger.errors import BadEvidence, BadRun, ProofFailed
from onrecord.ledger.event_lines import parse_event_lines
from onrecord.ledger.events import RunEvidence
from onrecord.ledger.ids import decode
from onrecord.ledger.imports import check_run, import_run, is_present
from onrecord.ledger.origin import origin_told_by
from onrecord.ledger.receipt import check
from onrecord.ledger.receipt_text import parse_receipt
from onrecord.ledger.stored_event import StoredEvent
from onrecord.snapshot.digest import digest_of, hasher
from onrecord.snapshot.errors import SnapshotError
from onrecord.snapshot.gc import needed
from onrecord.snapshot.growth import Part, wrong
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.workspace import Workspace

Progress = Callable[[int, int], None]
RECEIPT = "receipt"


class Imported(NamedTuple):
    """What an import did: runs taken in, runs that were here already, events and objects added."""

    origin: str
    imported: list[str]
    present: list[str]
    events: int
    objects: int


def import_bundle(workspace: Workspace, path: Path, *, progress: Progress | None = None) -> Imported:
    """Take in the runs of a bundle that this ledger does not have; each run whole or not at all.

    `progress` is told the bytes of objects that were read and those to be read. Raises BadBundle, RunDiffers, and
    then nothing was written; the errors of the ledger and of the store.
    """
    with Bundle(path) as bundle:
        workspace.journal.database.writable()
        objects = dict(bundle.manifest.objects)
        watch = _Watch(progress, 2 * sum(objects.values()))
        new = _check(workspace, bundle, watch)
        with workspace.store.in_use():
            stored = _store_objects(workspace, bundle, new, watch)
            events = sum(_import_run(workspace, bundle, run) for run in new)
        present = [run.run_id for run in bundle.manifest.runs if run not in new]
        return Imported(bundle.manifest.origin, [run.run_id for run in new], present, events, stored)


class _Watch:
    """How far the reading of objects has come."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def over(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            self._done += len(piece)
            if self._progress is not None:
                self._progress(self._done, self._total)


def _check(workspace: Workspace, bundle: Bundle, watch: _Watch) -> list[BundledRun]:
    """Check every byte; the runs that the ledger does not have."""
    new, wanted = list[BundledRun](), set[str]()
    for run in bundle.manifest.runs:
        events = _events(bundle, run)
        _check_receipt(bundle, run, events)
        wanted |= _needed(bundle, run, events)
        if not is_present(workspace.journal, run.run_id, events):
            new.append(run)
    for digest, _ in bundle.manifest.objects:
        state = hasher()
        for piece in watch.over(bundle.pieces(object_name(digest))):
            state.update(piece)
        if state.hexdigest() != digest:
            raise bundle.bad("its bytes hash to something else", object_name(digest))
    shelf = Shelf(bundle)
    for place, problem in wrong(shelf, shelf.grown()):
        raise bundle.bad(problem, object_name(place.digest.hex()))
    wanted = shelf.with_parts(wanted)
    have = shelf.have
    if wanted != have:
        # What is lacking was met when it was needed.
        raise bundle.bad("no run refers to it", object_name(min(have - wanted)))
    return new


def _events(bundle: Bundle, run: BundledRun) -> list[StoredEvent]:
    name = events_name(run.run_id)
    try:
        events = parse_event_lines(bundle.read(name))
        check_run(run.run_id, events, run.root)
    except ValueError as problem:
        raise bundle.bad(str(problem), name) from problem
    except BadRun as problem:
        raise bundle.bad(problem.why, name) from problem
    if len(events) != run.events:
        raise bundle.bad("it has another number of events than its list of contents says", name)
    if origin_told_by(decode(run.run_id), events) not in (None, bundle.manifest.origin):
        raise bundle.bad("it is not from the ledger that it names", name)
    return events


def _receipt(bundle: Bundle, run: BundledRun) -> list[RunEvidence]:
    """The receipt of a run, as an event."""
    if run.receipt is None:
        return []
    name = receipt_name(run.run_id)
    try:
        text = bundle.read(name).decode()
    except UnicodeDecodeError as problem:
        raise bundle.bad("it is not text", name) from problem
    return [RunEvidence(kind=RECEIPT, text=text)]


def _check_receipt(bundle: Bundle, run: BundledRun, events: list[StoredEvent]) -> None:
    """Refuse a receipt that does not hold, or is not of these events. Whether its ledger is to be trusted is for
    whoever holds a checkpoint of it: onrecord check-receipt."""
    for evidence in _receipt(bundle, run):
        name = receipt_name(run.run_id)
        try:
            check(evidence.text)
            receipt = parse_receipt(evidence.text)
        except (BadEvidence, ProofFailed) as problem:
            raise bundle.bad(f"it does not hold: {problem.what}", name) from problem
        if receipt.run_id != run.run_id:
            raise bundle.bad("it is the receipt of another run", name)
        if receipt.inclusion.checkpoint.origin != bundle.manifest.origin:
            raise bundle.bad("it is not from the ledger that the bundle names", name)
        if receipt.seal not in events:
            raise bundle.bad("the seal that it proves is not among the run's events", name)


def _needed(bundle: Bundle, run: BundledRun, events: list[StoredEvent]) -> set[str]:
    """The objects that a run refers to, all of which must be there."""

    def read(digest: bytes) -> bytes:
        try:
            data = bundle.read(object_name(digest.hex()))
        except KeyError:
            raise _lacking(bundle, digest.hex()) from None
        if digest_of(data) != digest:
            raise bundle.bad("its bytes hash to something else", object_name(digest.hex()))
        return data

    snapshots, files = referred_to(run.run_id, events)
    try:
        wanted = files | needed(read, snapshots)
    except SnapshotError as problem:
        raise bundle.bad(problem.what) from problem
    lacking = wanted - Shelf(bundle).have
    if lacking:
        raise _lacking(bundle, min(lacking))
    return wanted


def _lacking(bundle: Bundle, digest: str) -> BadBundle:
    return bundle.bad("a run refers to it, and it is not there", object_name(digest))


def _store_objects(workspace: Workspace, bundle: Bundle, new: list[BundledRun], watch: _Watch) -> int:
    # Not those of runs that are here already: they may have been erased here.
    wanted = set[str]().union(*(_needed(bundle, run, _events(bundle, run)) for run in new))
    wanted = Shelf(bundle).with_parts(wanted - workspace.store.has(wanted))
    wanted -= workspace.store.has(wanted)
    with workspace.store.writer() as writer:
        for digest, size in bundle.manifest.objects:
            if digest not in wanted:
                continue
            pieces = watch.over(bundle.pieces(object_name(digest)))
            found = writer.add(b"".join(pieces)) if size < LOOSE_FROM else writer.add_pieces(pieces)[0]
            if found.hex() != digest:
                raise bundle.bad("its bytes changed while they were read", object_name(digest))
        for digest, _, parts in bundle.manifest.grown:
            if digest in wanted:
                writer.add_parts(bytes.fromhex(digest), [Part(bytes.fromhex(one), size) for one, size in parts])
        return len(writer.commit())


def _import_run(workspace: Workspace, bundle: Bundle, run: BundledRun) -> int:
    events = _events(bundle, run)
    return import_run(
        workspace.journal,
        run.run_id,
        events,
        origin=bundle.manifest.origin,
        root=run.root,
        evidence=_receipt(bundle, run),
    )
