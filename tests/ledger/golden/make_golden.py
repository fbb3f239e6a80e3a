"""Make the golden ledger of this version: what every later version must read, verify and write again.

    python tests/ledger/golden/make_golden.py v2

writes v2.db.gz, the file itself, and v2.json, what must be read from it. Do so once, when a version is
released that writes other bytes than the last one; a golden ledger that was released is never made again.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import sqlite3
import sys
import tempfile
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

from onrecord.ledger import events as facts
from onrecord.ledger.audit import audit
from onrecord.ledger.codec import as_document
from onrecord.ledger.environments import register
from onrecord.ledger.erasure import erase
from onrecord.ledger.events import REGISTRY, Event, Unknown
from onrecord.ledger.ids import decode, encode, new_id
from onrecord.ledger.imports import import_run
from onrecord.ledger.journal import Journal
from onrecord.ledger.origin import root_of_events, stored_events
from onrecord.ledger.query import Query

HERE = Path(__file__).parent
START = 1_700_000_000_000_000
_DIGEST = "5a" * 32


def run_id(number: int) -> str:
    """The id of the n-th run."""
    return encode(new_id(START // 1000 + number, sha256(str(number).encode()).digest()))


def ledger(path: Path, name: str = "golden") -> Journal:
    """A ledger whose clock and salts are the same every time."""
    ticks = itertools.count(START, 1_000_003)
    # One stream of bytes, so that it does not matter in how many draws they are taken.
    stream = io.BytesIO(shake_256(name.encode()).digest(1 << 16))
    return Journal(path, clock=lambda: next(ticks), entropy=stream.read)


def _start(name: str = "", **more: Any) -> list[Event]:
    submitted = facts.RunSubmitted(experiment="golden", config={"script": "train.py"}, name=name, **more)
    return [submitted, facts.RunQueued(), facts.RunPreparing(), facts.RunRunning(pid=7, started_at=START)]


def build(folder: Path) -> Journal:
    """The golden ledger: every event, every end, an erased run, an imported run, and what is not known yet."""
    book = ledger(folder / "ledger.db")
    ended = facts.RunFinalizing(outcome="ended", exit_code=0, ended_at=START + 5)
    plain = [
        facts.RunTagged(tags={"a": "2", "ä": "\u2028", "gone": ""}),
        facts.RunTagged(removed=["gone"]),
        facts.PropertiesAdded(properties={"p": "1"}),
        facts.FileRecorded(name="outputs/m\udcff", digest=_DIGEST, size=3),
        facts.FileRecorded(name="outputs/m\udcff", digest="a5" * 32, size=4, bytes_stored=4),
        facts.FileRemoved(name="outputs/m\udcff"),
        facts.RunPlaced(gpus=[0, 3]),
        facts.WorkingCopyReleased(files=1, bytes=4),
    ]
    whole = _start("first", tags={"a": "1"}, properties={"q": "0"}, snapshot_id=_DIGEST, parent=run_id(9))
    book.append(run_id(1), [*whole, *plain, ended, facts.RunCompleted()], seal=True)
    error = {"code": "x", "message": "it failed", "details": "Traceback"}
    book.append(run_id(2), [*_start(), facts.RunFailed(error=error, exit_code=3, signal=None)], seal=True)
    book.append(run_id(3), [*_start(), facts.CancelRequested(by="me"), facts.RunCanceled(message="m")], seal=True)
    book.append(run_id(4), [*_start(), *_points()])
    book.append(run_id(5), [*_start(), Unknown("run.of_tomorrow", b"\x00\xff"), Unknown("run.tagged", b'{"v":99}')])
    book.append(run_id(6), [*_start("secret"), facts.RunCompleted()], seal=True)
    erase(book, run_id(6), reason="a secret", by="me")
    with ledger(folder / "other.db", "other") as other:
        other.append(run_id(7), _start())
        other.append(run_id(8), [*_start("travelled"), facts.RunCompleted()], seal=True)
        stored = stored_events(other, run_id(8))
    root = root_of_events(stored, decode(run_id(8)), [event.seq for event in stored])
    evidence = [facts.RunEvidence(kind="receipt", text="a receipt")]
    import_run(book, run_id(8), stored, origin="onrecord/" + "0" * 32, root=str(root), evidence=evidence)
    book.append(run_id(1), [facts.RunTagged(tags={"late": "fact"})])
    register(book, "env", {"python": "3.11", "ä": [1, None]}, by="me")
    return book


def _points() -> list[Event]:
    series = [
        facts.Series("loss", "float64", [0.5, float("nan"), -0.0], [0, 1, 2], [START, START + 1, START + 1]),
        facts.Series("count", "int64", [-(2**63), 2**63 - 1], [None, 5], [START, START + 9]),
        facts.Series("text", "json", ["a", [1, None]], [None, None], [START, START]),
        facts.Series("ranked", "float64", [0.5, 0.25], [7, 7], [START, START + 1], [0, 1]),
        facts.Series("list", "list", [[1, float("inf")], []], [None, None], [START, START]),
        facts.Series("row", "row", [{"x": 1}], [None], [START], [3]),
        facts.Series("table", "table", [{"x": [1, float("nan")], "y": ["a", None]}], [None], [START]),
        facts.Series("document", "document", [{"schema_type": "residuals"}], [None], [START]),
        facts.Series("image", "image", [{"file": "images/a.png"}], [None], [START]),
    ]
    return [facts.RunMetrics(series=series, spool_start=0, spool_end=99)]


def reading(book: Journal) -> dict[str, Any]:
    """What is read from a ledger, as JSON spells it."""
    query, found = Query(book), audit(book)
    runs = [row._asdict() for row in query.runs()]
    document = {
        "findings": [str(finding) for finding in found.findings],
        "root": found.root,
        "erased": found.erased,
        "runs": runs,
        "tags": query.tags(),
        "properties": query.properties(),
        "files": {row["run_id"]: [one._asdict() for one in query.files(row["run_id"])] for row in runs},
        "metrics": {row["run_id"]: _metrics(query, row["run_id"]) for row in runs},
        "events": [
            {"run_id": one.run_id, "version": one.version, "type": one.type, "at": one.at, "is": as_document(one.event)}
            for one in book.read()
        ],
        "leaves": [leaf.hex() for (leaf,) in book.fetch("SELECT leaf FROM events ORDER BY seq")],
    }
    return json.loads(json.dumps(document, default=str))  # type: ignore[no-any-return]


def _metrics(query: Query, run: str) -> dict[str, Any]:
    # As text: NaN equals nothing, and -0.0 equals 0.
    return {
        name: [[piece.kind, *(repr(list(column)) for column in _columns(piece))] for piece in pieces]
        for name, pieces in query.metrics(run).items()
    }


def _columns(piece: facts.Series) -> list[Any]:
    columns = [piece.values, piece.steps, piece.times]
    return columns if piece.ranks is None else [*columns, piece.ranks]


def versions() -> dict[str, int]:
    """The version of every event class: what was written under another one need not be written the same today."""
    return {name: kind.version for name, kind in REGISTRY.items()}


def packed(path: Path) -> bytes:
    """A ledger's file, without its log, compressed."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE _sqlite_migrations SET applied_at = '2026-01-01 00:00:00+00:00'")
    connection.commit()
    connection.execute("VACUUM INTO ?", (str(path.with_name("packed.db")),))
    connection.close()
    return gzip.compress(path.with_name("packed.db").read_bytes(), mtime=0)


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with build(Path(folder)) as book:
            document = {"versions": versions(), **reading(book)}
        (HERE / f"{name}.db.gz").write_bytes(packed(Path(folder) / "ledger.db"))
    (HERE / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
