"""Runs of another ledger taken in: their events as they were, under numbers of this ledger.

An event's leaf holds its `seq`, so it is computed anew; everything else of it stays, to the byte. A `run.imported`
behind them keeps the numbers that they had, by which a seal can still be checked (`origin`).
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence

from onrecord.ledger import merkle
from onrecord.ledger.errors import BadRun, RunDiffers
from onrecord.ledger.events import RunEvidence, RunImported, RunMetrics, RunSealed
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.journal import Journal
from onrecord.ledger.origin import erasures_told, fits_its_events, root_of_events, seal_fits, stored_events
from onrecord.ledger.projections import runs
from onrecord.ledger.replay import RunsReplay
from onrecord.ledger.run_state import RunState
from onrecord.ledger.states import TERMINAL, state_after
from onrecord.ledger.stored_event import StoredEvent

# Of a chunk of points: a conductor packs what 4 MB of a spool hold, or one point that is longer.
_MOST_BYTES = 256 << 20
_DEFLATE_RATIO = 1032  # at most (https://zlib.net/zlib_tech.html)
_INFLATED_AT_ONCE = 1 << 20
# What a ledger says of an import is not part of what happened to the run.
_BOOKKEEPING = frozenset({RunImported.type, RunEvidence.type})


def check_run(run_id: str, events: Sequence[StoredEvent], root: str) -> None:
    """Refuse events that no ledger can have had for this run, or that its seals do not fit. Raises BadRun.

    `root`: the Merkle root (64 hex digits) over the leaves that the events had where they come from.
    """
    stream, status, last, seals = id_bytes(run_id), None, 0, 0
    for version, event in enumerate(events, 1):
        if event.version != version or event.seq <= last:
            raise _bad(run_id, f"event {version} is missing, or out of order")
        last = event.seq
        _check_commitment(run_id, event)
        after = state_after(status, event.type)
        if after is None:
            raise _bad(run_id, f"event {version} ({event.type}) cannot follow the state {status}")
        status = after
        if event.type == RunSealed.type:
            seals += 1
            if not seal_fits(event.recorded(run_id), stream, events):
                raise _bad(run_id, f"its seal (event {version}) does not fit its events")
        elif event.type == RunImported.type and not fits_its_events(event.recorded(run_id), stream, events):
            raise _bad(run_id, f"event {version} says that it was imported with other events")
    told = erasures_told(events)
    for event in events:
        if event.payload is None and event.version not in told:
            raise _bad(run_id, f"event {event.version} has lost its payload, and no event says that it was erased")
    if status not in TERMINAL or not seals:
        raise _bad(run_id, "it has not ended, or was not sealed")
    if root_of_events(events, stream, [event.seq for event in events]) != root:
        raise _bad(run_id, "its events do not have the root that is given for them")


def is_present(journal: Journal, run_id: str, events: Sequence[StoredEvent]) -> bool:
    """Whether the ledger has all of these events of the run; False where it does not know the run.

    Raises RunDiffers where it has the run with another history.
    """
    return _is_in(run_id, stored_events(journal, run_id), events)


def import_run(
    journal: Journal,
    run_id: str,
    events: Sequence[StoredEvent],
    *,
    origin: str,
    root: str,
    evidence: Sequence[RunEvidence] = (),
) -> int:
    """Take a run in whole, or not at all; how many events were added: 0 where the ledger has it already.

    Raises BadRun, RunDiffers, and the errors of an append.
    """
    check_run(run_id, events, root)
    imported = RunImported(origin=origin, seqs=[event.seq for event in events], root=root)
    with journal.writing() as writing:
        # Asked under the lock: another import may have been quicker.
        if is_present(journal, run_id, events):
            return 0
        connection = writing.connection
        first = 1 + writing.last_seq()
        _insert(connection, id_bytes(run_id), first, events)
        runs.insert(connection, [_row(connection, run_id, first, events)])
        writing.append(run_id, [imported, *evidence])
        writing.size += sum(len(event.payload or b"") for event in events)
    return len(events) + 1 + len(evidence)


def _check_commitment(run_id: str, event: StoredEvent) -> None:
    name = event.type.encode("utf-8", "replace")
    if name.decode() != event.type or not 0 < len(name) < 2**16:
        raise _bad(run_id, f"event {event.version} has a type that cannot be stored")
    if event.salt is None or event.payload is None:
        return
    if merkle.payload_commitment(event.salt, event.payload) != event.commitment:
        raise _bad(run_id, f"the payload of event {event.version} ({event.type}) is not what was committed to")
    if event.type == RunMetrics.type and _unpacks_to_too_much(event.payload):
        raise _bad(run_id, f"the points of event {event.version} unpack to more than {_MOST_BYTES} bytes")


def _unpacks_to_too_much(payload: bytes) -> bool:
    """Whether the columns of a chunk inflate beyond what a conductor ever packs; whoever lists runs unpacks them."""
    if len(payload) * _DEFLATE_RATIO <= _MOST_BYTES:
        return False
    left = _MOST_BYTES
    try:
        start = 8 + int.from_bytes(payload[4:8], "big")
        sizes = [size for entry in json.loads(payload[8:start])["series"] for size in entry["sizes"]]
        for size in sizes:
            # Some columns begin with a byte that says how they are kept.
            left -= max(_inflated(payload[start + skipped : start + size], left) for skipped in (0, 1))
            start += size
            if left <= 0:
                return True
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False  # no chunk: nobody unpacks it
    return False


def _inflated(column: bytes, most: int) -> int:
    # An error at the end does not undo what was inflated before it.
    inflater, count = zlib.decompressobj(), 0
    try:
        while column and count < most:
            count += len(inflater.decompress(column, _INFLATED_AT_ONCE))
            column = inflater.unconsumed_tail
    except zlib.error:
        pass
    return count


def _is_in(run_id: str, here: Sequence[StoredEvent], events: Sequence[StoredEvent]) -> bool:
    if not here:
        return False
    ours, theirs = _facts(here), _facts(events)
    if ours[: len(theirs)] == theirs:
        return True
    shared = sum(1 for one, other in zip(ours, theirs, strict=False) if one == other)
    later = len(theirs) - len(ours)
    raise RunDiffers(
        f"run {run_id} is here already, with another history",
        why=f"the bundle has {later} later events that this ledger lacks"
        if shared == len(ours)
        else f"the two are the same in {shared} events, and then differ",
        next_step=f"onrecord events {run_id}   (import it into a workspace that does not have it to compare)",
        run_id=run_id,
    )


def _facts(events: Sequence[StoredEvent]) -> list[tuple[str, int, bytes]]:
    return [(event.type, event.at, event.commitment) for event in events if event.type not in _BOOKKEEPING]


def _insert(connection: sqlite3.Connection, stream: bytes, first: int, events: Sequence[StoredEvent]) -> None:
    rows = (
        (seq, stream, one.version, one.type, one.at, one.salt, one.payload, one.commitment, one.leaf(stream, seq))
        for seq, one in enumerate(events, first)
    )
    connection.executemany(
        "INSERT INTO events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _row(connection: sqlite3.Connection, run_id: str, first: int, events: Sequence[StoredEvent]) -> RunState:
    replay = RunsReplay()
    for seq, event in enumerate(events, first):
        replay.take(event._replace(seq=seq).recorded(run_id))
    # Numbers that the run and its neighbours had elsewhere mean nothing here.
    replay.note_import(run_id)
    state = replay.finish()[run_id]
    if state.number > 0:
        state.number = runs.next_number(connection, state.experiment)
    return state


def _bad(run_id: str, why: str) -> BadRun:
    return BadRun(f"what is given as run {run_id} is not the history of such a run", why=why, run_id=run_id)
