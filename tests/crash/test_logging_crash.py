"""Whatever was logged when its call had returned is there after kill -9 of the script, whichever call it was."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onrecord import Run, Workspace
from onrecord.ledger.events import RunSubmitted

RUN = "0" * 26
MATRIX = {"data": {"class_labels": ["a"], "matrix": [[1]]}}
# By the name of the metric: what logs the n-th value, and what it is read back as.
CALLS: dict[str, tuple[Callable[[Run, int], None], Callable[[int], Any]]] = {
    "scalar": (lambda run, n: run.log("scalar", n, step=n), lambda n: n),
    "text": (lambda run, n: run.log("text", f"text {n}"), lambda n: f"text {n}"),
    "many": (lambda run, n: run.log_many({"many": n / 7, "other": n}), lambda n: n / 7),
    "list": (lambda run, n: run.log_list("list", [n] * 3), lambda n: [n] * 3),
    "row": (lambda run, n: run.log_row("row", n=n, x="x"), lambda n: {"n": n, "x": "x"}),
    "table": (lambda run, n: run.log_table("table", {"x": [n] * 2000}), lambda n: {"x": [n] * 2000}),
    "document": (
        lambda run, n: run.log_confusion_matrix("document", {**MATRIX, "n": n}),
        lambda n: {**MATRIX, "n": n, "schema_type": "confusion_matrix", "schema_version": "v1"},
    ),
}


def _log_until_killed(run: Run, page: mmap.mmap) -> None:
    for turn in range(10**9):
        for place, (log, _) in enumerate(CALLS.values()):
            log(run, turn)
            struct.pack_into("<Q", page, 8 * place, turn + 1)


def _killed_once(run: Run, seconds: float) -> list[int]:
    """How many calls of each kind had returned when a process that logs was killed."""
    # No kill -9 takes back what was stored in a page that is shared.
    page = mmap.mmap(-1, 8 * len(CALLS))
    child = os.fork()
    if child == 0:
        try:
            _log_until_killed(run, page)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with page:
        return list(struct.unpack(f"<{len(CALLS)}Q", page[:]))


@pytest.mark.timeout(900)
def test_no_call_that_had_returned_is_lost(
    tmp_path: Path, rounds: Callable[[int, int], range], chance: random.Random
) -> None:
    for number in rounds(30, 1000):
        workspace = Workspace.create(tmp_path / str(number))
        workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
        run = Run(workspace, RUN)
        returned = _killed_once(run, chance.uniform(0.0005, 0.02))
        found = {name: columns.values for name, columns in run.metrics().items()}
        for (name, (_, expected)), count in zip(CALLS.items(), returned, strict=True):
            values = list(found.get(name, ()))
            assert count <= len(values) <= count + 1, f"{name}: {count} calls returned, {len(values)} are there"
            assert values == [expected(n) for n in range(len(values))]
        # All of one call or none.
        assert len(found.get("many", ())) == len(found.get("other", ()))
        workspace.close()


def test_a_picture_whose_call_had_returned_is_there_with_its_file(
    tmp_path: Path, rounds: Callable[[int, int], range], chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    picture: dict[str, Any] = {"picture": (lambda run, n: run.log_image("picture", path=tmp_path / "a.png"), None)}
    monkeypatch.setattr(f"{__name__}.CALLS", picture)
    for number in rounds(5, 100):
        workspace = Workspace.create(tmp_path / str(number))
        workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
        run = Run(workspace, RUN)
        (returned,) = _killed_once(run, chance.uniform(0.01, 0.1))
        found = run.get_metrics(populate=True).get("picture", [])
        pictures = found if isinstance(found, list) else [found]
        assert returned <= len(pictures) <= returned + 1
        assert set(pictures) <= {b"\x89PNG\r\n\x1a\n"}
        workspace.close()
