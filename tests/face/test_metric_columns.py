"""A run's metrics as columns, data frames and tables, with steps, times and ranks."""

from __future__ import annotations

import json
import math
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import pandas
import pytest
from face_make import run_to_end

from onrecord import PyTorchConfiguration, Run, Workspace
from onrecord.ledger.events import RunSubmitted, Series
from onrecord.metric_columns import MetricColumns, Metrics, NotInstalled
from onrecord.offline_run import OfflineRun
from onrecord.spool import SpoolWriter

RUN = "0" * 26


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on record, which no process conducts."""
    workspace = Workspace.create(tmp_path)
    workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
    workspace.layout.run(RUN).path.mkdir(parents=True)
    return Run(workspace, RUN)


def write(run: Run, rank: int | None, *points: tuple[str, Any, int]) -> None:
    writer = SpoolWriter(run.workspace.layout.run(RUN).spool, rank=rank)
    for name, value, step in points:
        writer.write(name, value, step)
    writer.close()


def test_each_metric_has_columns_of_equal_length(run: Run) -> None:
    before = time.time_ns() // 1000
    for step in range(300):
        run.log("loss", 1 / (step + 1), step=step)
        run.log("count", step)
    run.metrics()
    run.log("loss", math.nan)
    run.log("count", 2**70)
    run.log_list("list", [1, 2])
    metrics = run.metrics()
    assert list(metrics) == ["count", "list", "loss"]
    loss, count, whole = metrics["loss"], metrics["count"], metrics["list"]
    assert isinstance(loss.values, array)
    assert (loss.form, loss.values.typecode, len(loss), math.isnan(loss.values[-1])) == ("scalar", "d", 301, True)
    assert list(loss.steps) == [*range(300), None]
    assert isinstance(count.values, list)
    assert (count.values[5], count.values[-1], set(count.steps)) == (5, 2**70, {None})
    assert (whole.form, list(whole.values), whole.ranks) == ("list", [[1, 2]], None)
    assert before <= loss.times[0] <= loss.times[-1] <= time.time_ns() // 1000
    assert repr(metrics) == (
        "Metrics([MetricColumns('count', scalar, 301 entries), MetricColumns('list', list, 1 entries),"
        " MetricColumns('loss', scalar, 301 entries)])"
    )
    assert [piece.kind for piece in count.pieces] == ["int64", "json"]


def test_a_run_without_metrics_has_empty_frames(run: Run) -> None:
    assert dict(run.metrics()) == {}
    assert len(run.metrics().to_pandas()) == run.metrics().to_arrow().num_rows == 0


def test_ranks_keep_their_order_and_are_in_a_column(run: Run) -> None:
    for step in range(3):
        for rank in (1, 0):
            write(run, rank, ("loss", step + rank / 10, step))
    write(run, None, ("other", 1, 0), ("late", 1, 0))
    write(run, 7, ("late", 2, 1))
    metrics = run.metrics()
    assert list(metrics["loss"].ranks or ()) == [1, 0] * 3
    assert list(metrics["loss"].values) == [0.1, 0.0, 1.1, 1.0, 2.1, 2.0]
    assert (metrics["other"].ranks, metrics["late"].ranks) == (None, [None, 7])
    assert run.get_metrics()["loss"] == [0.1, 0.0, 1.1, 1.0, 2.1, 2.0]
    (some,) = run.workspace.query.points(RUN, "loss", from_step=1, to_step=1)
    assert list(some.ranks or ()) == [1, 0]
    frame = metrics.to_pandas()
    assert frame["rank"].tolist()[:2] == [pandas.NA, 7]
    assert frame[frame["metric"] == "loss"].groupby("rank")["value"].last().to_dict() == {0: 2.0, 1: 2.1}


def test_a_data_frame_has_a_row_for_each_entry(run: Run) -> None:
    run.log("loss", 0.5, step=3)
    run.log("loss", math.inf)
    frame = run.metrics().to_pandas()
    assert list(frame.columns) == ["metric", "step", "time", "value"]
    assert [str(kind) for kind in frame.dtypes[1:]] == ["Int64", "datetime64[us, UTC]", "float64"]
    assert frame["value"].tolist() == [0.5, math.inf]
    assert frame["step"].tolist() == [3, pandas.NA]
    assert frame["time"].astype("int64").tolist() == list(run.metrics()["loss"].times)
    frame["value"] = 1.0
    assert run.metrics()["loss"].values[0] == 0.5
    run.log_row("row", x=1)
    assert run.metrics().to_pandas()["value"].tolist() == [0.5, math.inf, {"x": 1}]
    one = run.metrics()["loss"].to_pandas()
    assert (list(one.columns), str(one["value"].dtype)) == (["step", "time", "value"], "float64")


def test_an_arrow_table_holds_every_value_exactly(run: Run) -> None:
    values = [0.5, 7, 2**60 + 1, True, "text", None, math.nan]
    for value in values:
        run.log("a", value)
    run.log_table("t", {"x": [math.nan]})
    write(run, 3, ("b", 1, 2))
    table = run.metrics().to_arrow()
    assert table.column_names == ["metric", "step", "time", "rank", "value", "json"]
    assert table["metric"].to_pylist() == ["a"] * 7 + ["b", "t"]
    assert table["rank"].to_pylist() == [None] * 7 + [3, None]
    assert table["value"].to_pylist()[:6] == [0.5, 7.0, None, None, None, None]
    assert [json.loads(one) if one else None for one in table["json"].to_pylist()[:6]] == [None, None, *values[2:6]]
    assert table["json"].to_pylist()[-1] == '{"x": [NaN]}'
    assert run.metrics()["b"].to_arrow().column_names == ["step", "time", "rank", "value", "json"]


@pytest.mark.parametrize(("package", "ask"), [("pandas", Metrics.to_pandas), ("pyarrow", Metrics.to_arrow)])
def test_a_package_that_is_not_there_is_named(package: str, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalled, match="pip install 'onrecord") as caught:
        ask(Metrics([]))
    assert caught.value.package == package


def test_a_run_in_memory_has_the_same_columns(run: Run) -> None:
    columns = []
    for one in (run, OfflineRun()):
        for step in range(3):
            one.log("loss", step / 2, step=step)
        one.log_many({"loss": 3, "text": "a"}, step=9)
        one.log_row("row", x=1)
        one.log("loss", 2**70)
        columns.append(one.metrics())
    recorded, kept = columns
    assert set(recorded) == set(kept)
    for name, metric in recorded.items():
        other = kept[name]
        assert (metric.form, list(metric.values), list(metric.steps)) == (
            other.form,
            list(other.values),
            list(other.steps),
        )
        assert [piece.kind for piece in metric.pieces] == [piece.kind for piece in other.pieces]
        assert (other.ranks, len(other.times)) == (None, len(metric))


def test_a_million_points_are_columns_without_a_list_of_them() -> None:
    count = 1_000_000
    piece = Series("a", "float64", array("d", bytes(8 * count)), range(count), array("q", bytes(8 * count)))
    columns = MetricColumns("a", [piece, piece])
    assert [type(one) for one in (columns.values, columns.steps, columns.times)] == [array] * 3
    assert len(columns.to_pandas()) == columns.to_arrow().num_rows == 2 * count


RANKED = """
import os
from onrecord import Run
run = Run.get_context()
rank = int(os.environ["RANK"])
for step in range(200):
    run.log("loss", rank + step / 1000, step=step)
run.log_row("end", rank=rank)
"""


def test_all_processes_of_a_job_log_into_one_run_with_their_rank(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, RANKED, distributed_job_config=PyTorchConfiguration("gloo", 2))
    assert run.status == "Completed"
    loss = run.metrics()["loss"]
    assert len(loss) == 400
    for rank in range(2):
        mine = [value for value, one in zip(loss.values, loss.ranks or (), strict=True) if one == rank]
        assert mine == [rank + step / 1000 for step in range(200)]
    assert sorted(run.get_metrics()["end"]["rank"]) == [0, 1]
    assert len(run.get_metrics()["loss"]) == 400


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, None),
        ({"RANK": "3"}, 3),
        ({"ONRECORD_RANK": "2", "RANK": "3"}, 2),
        *(({"RANK": odd}, None) for odd in ("", "first", "-1", "1.5", "²", "9" * 20)),
    ],
)
def test_the_rank_is_what_the_launcher_says(
    variables: dict[str, str], rank: int | None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "ONRECORD_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run.log("a", 1)
    ranks = run.metrics()["a"].ranks
    assert (None if ranks is None else list(ranks)) == (None if rank is None else [rank])
