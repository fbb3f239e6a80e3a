"""Each call with which a script logs gives back what it was given, in Azure ML's forms, on record and in memory."""

from __future__ import annotations

import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy
import pandas
import pytest
from face_make import clean_environment

from onrecord import Run, Workspace
from onrecord.ledger.events import RunSubmitted
from onrecord.metric_values import BadMetric
from onrecord.offline_run import OfflineRun

RUN = "0" * 26
CHILD, GRANDCHILD, OTHER = ("0" * 25 + digit for digit in "123")
NAN = float("nan")
PNG = b"\x89PNG\r\n\x1a\n, and a picture"


def recorded(folder: Path) -> Run:
    """A run on record, which no process conducts."""
    workspace = Workspace.create(folder, exist_ok=True)
    workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
    return Run(workspace, RUN)


@pytest.fixture(params=["on record", "in memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run | OfflineRun:
    """A run of either kind."""
    return recorded(tmp_path) if request.param == "on record" else OfflineRun()


def same(one: Any, other: Any) -> bool:
    """Whether two are equal to the type and the bit; NaN equals itself."""
    return repr(one) == repr(other)


# ---- single values ------------------------------------------------------------------------------------


class Colour(str, enum.Enum):  # noqa: UP042 - what people have in their scripts
    """An enum of texts."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum of numbers."""

    HIGH = 3


class Tensor:
    """What torch and tensorflow have in common: a shape, and a number or an array behind a method."""

    def __init__(self, value: Any, shape: Any = (), method: str = "item") -> None:
        self.shape = shape
        setattr(self, method, lambda: value)


SCALARS = [
    *((numpy.int64(9), 9), (numpy.uint8(200), 200), (numpy.uint64(2**64 - 1), 2**64 - 1), (numpy.bool_(True), True)),
    *((numpy.float64(0.1), 0.1), (numpy.float32(0.5), 0.5), (numpy.float16(0.5), 0.5), (numpy.longdouble(0.5), 0.5)),
    *((ml_dtypes.bfloat16(0.5), 0.5), (numpy.array(3), 3), (numpy.array(True), True), (numpy.array([2.5]), 2.5)),
    *((numpy.array(0.5, dtype=ml_dtypes.bfloat16), 0.5), (numpy.str_("text"), "text"), (Colour.RED, "red")),
    *((Level.HIGH, 3), (Fraction(1, 2), 0.5), (Decimal("0.5"), 0.5), (10**40, 10**40), (-(2**63), -(2**63))),
    *(
        (Tensor(7), 7),
        (Tensor(numpy.float32(0.5), [], "numpy"), 0.5),
        (Tensor(True, (1,)), True),
        ("", ""),
        (None, None),
    ),
    *((True, True), (NAN, NAN), (math.inf, math.inf), (-math.inf, -math.inf), (-0.0, -0.0), ("é\ud800\0", "é\ud800\0")),
]


@pytest.mark.parametrize(("given", "kept"), SCALARS, ids=[repr(given)[:40] for given, _ in SCALARS])
def test_a_value_keeps_what_it_is_whatever_library_it_comes_from(given: Any, kept: Any, tmp_path: Path) -> None:
    for run in (recorded(tmp_path), OfflineRun()):
        run.log("a", given)
        run.log_many({"b": given, "c": given}, step=3)
        run.log_list("list", [given, given])
        run.log_row("row", x=given)
        run.log_table("table", {"x": [given, given]})
        found = run.get_metrics()
        assert same(found, {"a": kept, "b": kept, "c": kept, **found})
        assert same(found["list"], [kept, kept])
        assert same(found["row"], {"x": kept})
        assert same(found["table"], {"x": [kept, kept]})


@pytest.mark.parametrize("name", ["loss ", " ", "\n", "ü", "a/b", "=1", "\U0001f389", "x" * 255])
def test_a_name_is_kept_to_the_character(run: Run | OfflineRun, name: str) -> None:
    run.log(name, 0.5)
    assert run.get_metrics(name) == {name: 0.5}
    assert list(run.get_metrics()) == [name]


# ---- whole values ---------------------------------------------------------------------------------------


def test_lists_follow_one_another_and_may_be_empty_or_of_one(run: Run | OfflineRun) -> None:
    run.log_list("empty", [])
    run.log_list("one", [0.5])
    run.log_list("a", (value for value in (1, 2.5, NAN)))
    run.log_list("a", numpy.arange(2))
    run.log("a", "end")
    run.log_list("bfloat", numpy.array([0.5, 1], dtype=ml_dtypes.bfloat16))
    run.log_list("tensor", Tensor(numpy.array([1.5, 2.5]), (2,), "numpy"))
    found = run.get_metrics()
    assert (found["empty"], found["one"], found["bfloat"], found["tensor"]) == ([], [0.5], [0.5, 1.0], [1.5, 2.5])
    assert same(found["a"], [1, 2.5, NAN, 0, 1, "end"])


def test_one_row_is_values_and_several_are_columns(run: Run | OfflineRun) -> None:
    run.log_row("epochs", "a description", epoch=1, loss=math.inf)
    assert run.get_metrics("epochs") == {"epochs": {"epoch": 1, "loss": math.inf}}
    run.log_row("epochs", epoch=2, accuracy=0.5)
    run.log_table("epochs", {"epoch": [3, 4], "loss": ["x", None]})
    assert run.get_metrics() == {
        "epochs": {"epoch": [1, 2, 3, 4], "loss": [math.inf, None, "x", None], "accuracy": [None, 0.5, None, None]}
    }


def test_a_table_of_one_row_is_values_and_tables_go_on(run: Run | OfflineRun) -> None:
    run.log_table("one", {"x": numpy.array([3]), "y": ["a"]})
    run.log_table("none", {"x": [], "y": ()})
    run.log_table("frame", pandas.DataFrame({"x": [1, 2], "y": [0.5, NAN]}))
    run.log_table("frame", {"x": range(2), "y": numpy.float32([0.25, 0.5])})
    found = run.get_metrics()
    assert (found["one"], found["none"]) == ({"x": 3, "y": "a"}, {"x": [], "y": []})
    assert same(found["frame"], {"x": [1, 2, 0, 1], "y": [0.5, NAN, 0.25, 0.5]})


def test_calls_that_do_not_fit_together_are_given_back_one_by_one(run: Run | OfflineRun) -> None:
    run.log("a", 1)
    run.log_row("a", x=1)
    run.log_list("a", [1, 2])
    run.log_table("a", {"x": [1, 2]})
    assert run.get_metrics() == {"a": [1, {"x": 1}, [1, 2], {"x": [1, 2]}]}


def test_many_values_are_all_kept_or_none(run: Run | OfflineRun) -> None:
    run.log_many({})
    with pytest.raises(BadMetric, match="log_list"):
        run.log_many({"a": 1, "b": [1, 2]})
    with pytest.raises(BadMetric, match="a dictionary"):
        run.log_many([("a", 1)])  # type: ignore[arg-type]
    with pytest.raises(BadMetric, match="64 bits"):
        run.log_many({"a": 1}, step=0.5)  # type: ignore[arg-type]
    assert run.get_metrics() == {}
    run.log_many({"a": numpy.int64(1), "b": "text"}, step=numpy.int64(4))
    assert run.get_metrics() == {"a": 1, "b": "text"}


MISTAKES = [
    (lambda run: run.log("a", [1, 2]), "log_list('a', items)"),
    (lambda run: run.log("a", range(3)), "log_list('a', items)"),
    (lambda run: run.log("a", numpy.arange(3)), "log_list('a', values)"),
    (lambda run: run.log("a", {"x": 1}), "log_row('a', **values)"),
    (lambda run: run.log("a", pandas.DataFrame({"x": [1]})), "log_table('a'"),
    (lambda run: run.log("a", numpy.eye(2)), "log_table('a'"),
    (lambda run: run.log("a", b"x"), "one number, text"),
    (lambda run: run.log("a", 1j), "is a complex"),
    (lambda run: run.log("a", numpy.datetime64("2026-01-01")), "is a datetime64"),
    (lambda run: run.log("a", 10**5000), "cannot be spelled"),
    (lambda run: run.log_list("a", [1, [2]]), "value 1 of the list 'a' is a list"),
    (lambda run: run.log_list("a", numpy.eye(2)), "value 0 of the list 'a' is a ndarray"),
    (lambda run: run.log_list("a", "text"), "the list 'a' is a str"),
    (lambda run: run.log_list("a", 0.5), "the list 'a' is a float"),
    (lambda run: run.log_list("a", numpy.array(3)), "the list 'a' is a ndarray"),
    (lambda run: run.log_list("a", {"x": 1}), "the list 'a' is a dict"),
    (lambda run: run.log_list("a", [1, object()]), "value 1 of the list 'a' is a object"),
    (lambda run: run.log_row("a"), "a row without columns"),
    (lambda run: run.log_row("a", x=[1]), "whose column 'x' holds a list"),
    (lambda run: run.log_row("a", **{"": 1}), "has a column ''"),
    (lambda run: run.log_table("a", {}), "a table without columns"),
    (lambda run: run.log_table("a", [1]), "is a list"),
    (lambda run: run.log_table("a", {"x": [1, 2], "y": [1]}), "'x' has 2, 'y' has 1 rows"),
    (lambda run: run.log_table("a", {"x": 1}), "the column 'x' of the table 'a' is a int"),
    (lambda run: run.log_table("a", {"x": [[1]]}), "value 0 of the column 'x' of the table 'a' is a list"),
    (lambda run: run.log_table("a", {1: [1]}), "has a column 1"),
    (lambda run: run.log_table("a", {"x": ["y" * 1000] * 70_000}), "too large"),
    (lambda run: run.log_image("a"), "neither a path nor a plot"),
    (lambda run: run.log_image("a", path="x.png", plot=object()), "both a path and a plot"),
    (lambda run: run.log_image("a", path="/nowhere.png"), "No such file"),
    (lambda run: run.log_image("a", path="/"), "it is no file"),
    (lambda run: run.log_image("a", path=__file__), "it is no picture"),
    (lambda run: run.log_image("a", path=3.5), "cannot be read from 3.5"),
    (lambda run: run.log_image("a", plot=object()), "savefig"),
    (lambda run: run.log_list("", [1]), "cannot be called"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_named_with_what_to_type_and_keeps_nothing(run: Run | OfflineRun, mistake: Any) -> None:
    go_wrong, said = mistake
    with pytest.raises(BadMetric, match="next: ") as caught:
        go_wrong(run)
    assert said in str(caught.value)
    assert run.get_metrics() == {}


# ---- documents --------------------------------------------------------------------------------------------

DATA: dict[str, dict[str, Any]] = {
    "confusion_matrix": {"class_labels": ["a", 1], "matrix": [[3, NAN], [0, 4]]},
    "residuals": {"bin_edges": [0, 1, math.inf], "bin_counts": [5, 3]},
    "predictions": {
        "bin_averages": [0.5, None], "bin_errors": [0.1, NAN], "bin_counts": [5, 0], "bin_edges": [0, 1, 2],
    },
    "accuracy_table": {
        "class_labels": ["a"],
        "probability_tables": [[[3, 1, 4, 0], [1, 0, 5, 2]]],
        "probability_thresholds": [0.25, 0.5],
        "percentile_tables": [[[3, 1, 4, 0]]],
        "percentile_thresholds": [0.5],
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", DATA)
def test_a_document_comes_back_whole_from_a_dictionary_or_from_its_text(run: Run | OfflineRun, kind: str) -> None:
    document = {"schema_type": kind, "schema_version": "v1", "data": DATA[kind]}
    log = getattr(run, f"log_{kind}")
    log("a", document)
    assert same(run.get_metrics()["a"], document)
    log("a", json.dumps(document))
    log(
        "array",
        {**document, "data": {key: numpy.array(value) for key, value in DATA[kind].items() if key != "x"}}
        if kind == "residuals"
        else document,
    )
    assert same(run.get_metrics()["a"], [document, document])
    bare = {"data": DATA[kind]}
    log("bare", bare)
    assert run.get_metrics()["bare"]["schema_type"] == kind
    assert bare == {"data": DATA[kind]}


def _changed(kind: str, **data: Any) -> dict[str, Any]:
    return {"schema_type": kind, "schema_version": "v1", "data": {**DATA[kind], **data}}


WRONG = [
    ("confusion_matrix", 3, "it is a int"),
    ("confusion_matrix", "{", "its text is no JSON"),
    ("confusion_matrix", "[]", "it is no object"),
    ("confusion_matrix", {"schema_type": "residuals", "data": {}}, "its schema_type is 'residuals'"),
    ("confusion_matrix", {"schema_version": 1, "data": {}}, "its schema_version is 1"),
    ("confusion_matrix", {"schema_type": "confusion_matrix"}, "it has no 'data'"),
    ("confusion_matrix", {"data": {1: 2}}, "has the key 1"),
    ("confusion_matrix", {"data": {"class_labels": ["a"]}}, "its data have no 'matrix'"),
    ("confusion_matrix", _changed("confusion_matrix", matrix=[[1, 2]]), "one for each of the 2 class labels"),
    ("confusion_matrix", _changed("confusion_matrix", matrix=[[1], [2, 3]]), "row 0 of 'matrix'"),
    ("confusion_matrix", _changed("confusion_matrix", matrix=[[1, "x"], [2, 3]]), "value 1 of row 0 of 'matrix'"),
    ("confusion_matrix", _changed("confusion_matrix", class_labels=object()), "'class_labels' holds a object"),
    ("confusion_matrix", _changed("confusion_matrix", class_labels="ab"), "'class_labels' is a str"),
    ("residuals", _changed("residuals", bin_counts=[1]), "it has 2: one between each two edges"),
    ("residuals", _changed("residuals", bin_edges=[0, True, 2]), "value 1 of 'bin_edges' is True"),
    ("predictions", _changed("predictions", bin_errors=[1, 2, 3]), "'bin_errors' has 3 values"),
    ("accuracy_table", _changed("accuracy_table", percentile_tables=[[[1, 2, 3]]]), "[TP, FP, TN, FN]"),
    ("accuracy_table", _changed("accuracy_table", probability_thresholds=[1]), "table 0 of 'probability_tables'"),
    ("accuracy_table", _changed("accuracy_table", class_labels=["a", "b"]), "'probability_tables' has 1 values"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_a_document_that_is_wrong_is_refused_with_the_place_and_an_example(
    run: Run | OfflineRun, kind: str, value: Any, said: str
) -> None:
    with pytest.raises(BadMetric, match=f"next: run.log_{kind}") as caught:
        getattr(run, f"log_{kind}")("a", value)
    assert said in str(caught.value)
    assert run.get_metrics() == {}


# ---- pictures ---------------------------------------------------------------------------------------------


class Figure:
    """Something that can draw itself, as matplotlib's figures and modules can."""

    def savefig(self, file: Any, **how: Any) -> None:
        assert how == {"format": "png", "bbox_inches": "tight"}
        file.write(PNG)


class Axes:
    """What other libraries give: the figure is behind them."""

    figure = Figure()


def test_a_picture_is_a_file_of_the_run_and_its_reference_names_it(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    (tmp_path / "a file").write_bytes(b"\xff\xd8\xff, a photograph")
    (tmp_path / "drawn.SVG").write_text("<svg/>")
    run.log_image("../a plot/ü", plot=Figure())
    run.log_image("axes", plot=Axes())
    run.log_image("files", path=tmp_path / "a file")
    run.log_image("files", path=str(tmp_path / "drawn.SVG"))
    names = run.get_file_names()
    assert [name.split("_")[0] for name in names] == ["images/a", "images/axes", "images/files", "images/files"]
    assert [name.rpartition(".")[2] for name in names] == ["png", "png", "jpg", "svg"]
    start = f"aml://artifactId/ExperimentRun/dcid.{RUN}/"
    found = run.get_metrics()
    assert found == {
        "../a plot/ü": start + names[0],
        "axes": start + names[1],
        "files": [start + names[2], start + names[3]],
    }
    assert run.get_metrics(populate=True) == {
        "../a plot/ü": PNG,
        "axes": PNG,
        "files": [b"\xff\xd8\xff, a photograph", b"<svg/>"],
    }
    assert list(run.metrics()["axes"].values) == [names[1]]


def test_a_picture_in_memory_has_its_reference(capsys: pytest.CaptureFixture[str]) -> None:
    run = OfflineRun()
    run.log_image("a", plot=Figure())
    assert run.get_metrics()["a"].startswith(f"aml://artifactId/ExperimentRun/dcid.{run.id}/images/a_")


def test_pictures_and_drawing_need_no_matplotlib(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, onrecord.pictures, onrecord.logging_calls; print('matplotlib' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert said.stdout == "False\n"


# ---- of several runs ----------------------------------------------------------------------------------------


def test_metrics_of_a_family_come_by_run(tmp_path: Path) -> None:
    parent = recorded(tmp_path)
    journal = parent.workspace.journal
    journal.append(CHILD, [RunSubmitted(experiment="e", config={}, parent=RUN, run_type="sweep")])
    journal.append(GRANDCHILD, [RunSubmitted(experiment="e", config={}, parent=CHILD)])
    journal.append(OTHER, [RunSubmitted(experiment="e", config={}, parent=CHILD)])
    child, grandchild = (Run(parent.workspace, one) for one in (CHILD, GRANDCHILD))
    child.log("a", 1)
    grandchild.log("a", 2)
    grandchild.log_list("b", [3])
    assert parent.get_metrics(recursive=True) == {CHILD: {"a": 1}, GRANDCHILD: {"a": 2, "b": [3]}}
    assert parent.get_metrics("b", recursive=True) == {GRANDCHILD: {"b": [3]}}
    assert parent.get_metrics(recursive=True, run_type="sweep") == {CHILD: {"a": 1}}
    assert child.get_metrics(run_type="sweep") == {"a": 1}
    assert child.get_metrics(run_type="onrecord.script") == {}
    assert [row.run_id for row in parent.workspace.query.descendants(RUN)] == [CHILD, GRANDCHILD, OTHER]


def test_a_table_of_ten_megabytes_is_logged_at_once(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    table = {"x": list(range(400_000)), "y": [value / 7 for value in range(400_000)], "z": ["a text"] * 400_000}
    run.log_table("big", table)
    run.log("loss", 0.5)
    assert run.workspace.layout.run(RUN).spool.stat().st_size > 10_000_000
    assert run.get_metrics() == {"big": table, "loss": 0.5}
    standings = {one.name: one for one in run.get_metric_standings()}
    assert (standings["big"].kind, standings["big"].points, standings["big"].last) == ("table", 1, None)
    assert run.workspace.query.last_value(RUN, "big") == table


def test_whole_values_are_no_numbers_to_filters_and_charts(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    run.log_list("a", [1, 2, 3])
    run.log("a", 5)
    run.log_row("a", x=1)
    assert run.get_metric_standings()[0][:6] == ("a", "row", 3, None, 5.0, 5.0)
    query = run.workspace.query
    assert query.search("metrics.a > 0").rows == []
    assert [row.run_id for row in query.search("max(metrics.a) = 5").rows] == [RUN]
    (bucket,) = run.get_metric_overview("a", 1)
    assert (bucket.points, bucket.nans, bucket.minimum, bucket.maximum) == (3, 2, 5.0, 5.0)
    assert query.last_value(RUN, "nothing") is None
