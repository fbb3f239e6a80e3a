"""`onrecord metrics`: values, lists, rows, tables and documents, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onrecord import Run, Workspace
from onrecord.ledger import series
from onrecord.ledger.events import RunSubmitted

RUN = "0" * 26


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on record, which no process conducts."""
    workspace = Workspace.create(tmp_path)
    workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
    return Run(workspace, RUN)


@pytest.fixture
def say(command: Any, tmp_path: Path) -> Callable[..., str]:
    """What `onrecord metrics @last …` prints."""

    def said(*words: str) -> str:
        told = command("metrics", "@last", *words, cwd=tmp_path)
        assert told.code == 0, told.err
        text: str = told.out.decode()
        return text

    return said


def test_values_are_summed_up_without_a_look_at_their_points(
    run: Run, say: Callable[..., str], command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(2000):
        run.log("loss", 2 / (step + 1), step=step)
    run.log_many({"count": 7, "nan": math.nan})
    run.get_metric_standings()

    def no_look(*_: object) -> None:
        raise AssertionError("a point was read")

    for name in ("all_series", "series_of", "last_value", "unpack_one"):
        monkeypatch.setattr(series, name, no_look)
    assert say().splitlines() == [
        "METRIC  POINTS   LAST    MIN  MAX",
        "count        1      7      7    7",
        "loss     2,000  0.001  0.001    2",
        "nan          1    nan      -    -",
    ]
    shown = command("show", "@last", cwd=run.workspace.path).out.decode()
    assert "  loss  0.001 (last of 2,000)\n" in shown
    assert "  count 7\n" in shown


def test_values_that_are_no_small_numbers_are_told_exactly(run: Run, say: Callable[..., str]) -> None:
    run.log_many({"big": 2**60 + 1, "bool": True, "text": "good\x1b[31m " + "x" * 100, "none": None})
    lines = say().splitlines()
    assert lines[1].split() == ["big", "1", "1152921504606846977", "1.15292e+18", "1.15292e+18"]
    assert lines[2].split() == ["bool", "1", "True", "-", "-"]
    assert lines[3].split() == ["none", "1", "None", "-", "-"]
    assert "good\\x1b[31m x" in lines[4]
    assert max(map(len, lines)) < 100


def test_lists_rows_and_tables_are_shown_from_both_ends(run: Run, say: Callable[..., str]) -> None:
    run.log_list("rates", [0.1, None, math.nan])
    run.log_list("rates", range(30))
    run.log_list("none", [])
    for epoch in range(3):
        # Each in a chunk of its own.
        run.log_row("epochs", epoch=epoch, **({"note": "ok"} if epoch else {}))
        run.get_metrics()
    run.log_table("curve", {"x": range(100), "y": ["a"] * 100})
    assert say() == (
        "curve\n"
        "  table of 100 rows and 2 columns\n"
        "     x  y\n" + "".join(f"    {x:2}  a\n" for x in range(5)) + "    … 90 more\n"
        "" + "".join(f"    {x:2}  a\n" for x in range(95, 100)) + "\n"
        "epochs\n"
        "  3 rows\n"
        "    epoch  note\n"
        "        0     -\n"
        "        1    ok\n"
        "        2    ok\n"
        "\n"
        "none\n"
        "  list of 0 values\n"
        "\n"
        "rates\n"
        "  list of 3 values: 0.1, -, nan\n"
        "  list of 30 values: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … 29\n"
    )


def test_of_many_calls_the_last_are_shown(run: Run, say: Callable[..., str]) -> None:
    for number in range(12):
        run.log_list("a", [number])
    assert say("a").splitlines() == ["a", "  … 7 calls before", *(f"  list of 1 value: {n}" for n in range(7, 12))]


def test_documents_pictures_and_mixed_calls_are_shown(run: Run, say: Callable[..., str]) -> None:
    run.log_confusion_matrix("matrix", {"data": {"class_labels": ["cat", "cat"], "matrix": [[3, 1], [0, 4]]}})
    run.log_residuals("residuals", {"data": {"bin_edges": [0, 1, 2], "bin_counts": [5, 3]}})
    tables = {"probability_tables": [[]], "percentile_tables": [[]]}
    edges = {"probability_thresholds": [], "percentile_thresholds": []}
    run.log_accuracy_table("accuracy", {"data": {"class_labels": ["a"], **tables, **edges}})
    picture = run.workspace.path / "a.gif"
    picture.write_bytes(b"GIF89a")
    run.log_image("picture", path=picture)
    run.log("mixed", 1)
    run.log_row("mixed", x=1)
    lines = say().splitlines()
    assert lines[:2] == ["accuracy", "  accuracy table"]
    place = lines.index("matrix")
    assert lines[place + 1 : place + 5] == [
        *("  confusion matrix", "         cat  cat (1)", "    cat    3        1", "    cat    0        4")
    ]
    assert lines[lines.index("residuals") + 2].split() == ["from", "to", "bin_counts"]
    assert lines[lines.index("picture") + 1].startswith("  images/picture_")
    assert lines[lines.index("mixed") + 1 : lines.index("mixed") + 5] == ["  1", "  1 row", "    x", "    1"]


def test_json_has_the_forms_of_get_metrics(run: Run, say: Callable[..., str]) -> None:
    run.log("loss", math.inf)
    run.log_table("t", {"x": [1, math.nan], "y": ["a", None]})
    assert json.loads(say("--json")) == {"loss": "inf", "t": {"x": [1, "nan"], "y": ["a", None]}}
    assert json.loads(say("--json", "t")) == {"t": {"x": [1, "nan"], "y": ["a", None]}}


def test_csv_has_every_point_or_one_table_as_it_is(run: Run, say: Callable[..., str]) -> None:
    run.log("loss ", 0.1, step=3)
    run.log("loss ", math.nan)
    run.log_list("list", ["a,b", None, 1])
    run.log_row("row", x=1, y='"')
    rows = list(csv.reader(io.StringIO(say("--csv"))))
    assert rows[0] == ["metric", "step", "time", "rank", "value"]
    assert [[row[0], row[1], row[3], row[4]] for row in rows[1:]] == [
        ["list", "", "", '["a,b", null, 1]'],
        ["loss ", "3", "", "0.1"],
        ["loss ", "", "", "nan"],
        ["row", "", "", '{"x": 1, "y": "\\""}'],
    ]
    assert all(row[2].endswith("+00:00") for row in rows[1:])
    assert say("--csv", "row") == 'x,y\n1,""""\n'
    assert say("--csv", "list") == 'list\n"a,b"\n""\n1\n'
    run.log_row("row", x=2)
    assert say("--csv", "row") == 'x,y\n1,""""\n2,\n'
    run.log("row", 3)
    assert say("--csv", "row").startswith("metric,step,time,rank,value\nrow,")


def test_a_metric_that_is_not_there_is_named_with_near_ones(run: Run, command: Any) -> None:
    nothing = command("metrics", "@last", "los", cwd=run.workspace.path)
    assert (nothing.code, nothing.out) == (1, b"")
    assert "it logged nothing" in nothing.err
    run.log("loss ", 0.5)
    said = command("metrics", "@last", "los", cwd=run.workspace.path)
    assert said.code == 1
    assert "has no metric 'los'" in said.err
    assert "'loss '" in said.err
    both = command("metrics", "@last", "--csv", "--json", cwd=run.workspace.path)
    assert both.code == 2
    assert "at once" in both.err
