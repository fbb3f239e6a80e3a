"""Runs in notebooks and terminals: what is shown is right, fits, and no name or value can break out of it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from face_make import project, submit, wait_until
from hypothesis import given
from hypothesis import strategies as st
from recorded_make import recorded, workspace

from onrecord import Experiment, Run
from onrecord.ledger.events import RunFailed, RunMetrics, RunTagged, Series
from onrecord.run_card import run_text
from onrecord.run_table import RunTable
from onrecord.sparkline import svg_sparkline, text_sparkline
from onrecord.widgets import RunDetails

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m"


def parsed(html: str) -> ElementTree.Element:
    """The page, which is well formed and has nothing that is run or fetched."""
    assert not re.search(r"<(script|style|link|img|iframe)\b|\son\w+=|javascript:|url\(", html)
    return ElementTree.fromstring(f"<body>{html.replace('&nbsp;', ' ')}</body>")  # noqa: S314 - our own text


def text_in(html: str) -> str:
    return " ".join(" ".join(parsed(html).itertext()).split())


def test_a_run_shows_how_it_stands_its_metrics_as_curves_and_its_files(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path / "a"))
    html = run._repr_html_()
    shown = text_in(html)
    assert all(
        part in shown for part in (run.id, "Completed", "exp_1", "loss", "0.25", "outputs/m.bin", "1.0 kB", "team=ä")
    )
    (curve,) = parsed(html).iter("{http://www.w3.org/2000/svg}svg")
    assert len(list(curve.iter("{http://www.w3.org/2000/svg}polyline"))) == 1
    assert all(part in run_text(run) for part in (run.id, "Completed", "loss", "█▁"))


def test_hostile_names_and_values_stay_text(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found, end=False)
    series = [
        Series(HOSTILE, "json", [HOSTILE], [0], [1]),
        Series("x" + HOSTILE, "float64", [1.0, 2.0], [0, 1], [1, 2]),
    ]
    error = {"code": "UserError", "message": HOSTILE}
    tags = RunTagged(tags={HOSTILE: HOSTILE})
    found.journal.append(
        run.id, [tags, RunMetrics(series=series, spool_start=10, spool_end=20), RunFailed(error=error)]
    )
    for html in (run._repr_html_(), run.experiment._repr_html_(), found._repr_html_()):
        assert "alert(1)" in text_in(html)
    for text in (run_text(run), repr(RunTable([run]))):
        assert "\x1b" not in text


def test_runs_stand_side_by_side_with_what_most_of_them_have(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    runs = [recorded(found) for _ in range(3)]
    table = RunTable(found.runs())
    assert len(table) == 3 and table[0] == runs[2] and table[1:] == [runs[1], runs[0]] and list(table) == runs[::-1]
    lines = repr(table).splitlines()
    assert lines[0].split() == ["RUN", "STATUS", "NAME", "CREATED", "DURATION", "loss"]
    assert len(lines) == 4 and all("0.25 █▁" in line for line in lines[1:])
    assert text_in(table._repr_html_()).count("Completed") == 3
    assert "loss" not in repr(RunTable(runs, metrics=[]))
    assert repr(RunTable(runs, metrics=["nothing"])).splitlines()[1].endswith("-")


def test_a_long_list_says_that_there_are_more_and_an_empty_one_that_there_are_none(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    assert repr(RunTable([])) == "no runs" and RunTable([])._repr_html_() == "<p>no runs</p>"
    assert "no runs" in found._repr_html_() and "no runs" in Experiment(found, "none")._repr_html_()
    for _ in range(3):
        recorded(found)
    table = RunTable(found.runs(), most=2)
    assert len(table) == 2 and repr(table).endswith("…") and "and more" in table._repr_html_()


def test_a_run_of_which_nothing_is_known_any_more_is_shown_all_the_same(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path / "a"))
    run.erase(files=True)
    assert run.id in text_in(run._repr_html_()) and run.id in run_text(run)
    assert run.id[:10] in repr(RunTable([run]))


VALUES = st.lists(st.one_of(st.none(), st.floats()), max_size=30)


@given(values=VALUES)
def test_a_curve_stays_in_its_frame_whatever_the_values_are(values: list[float | None]) -> None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    svg, text = svg_sparkline(values, width=100, height=20, label=HOSTILE), text_sparkline(values)
    assert bool(svg) == bool(text) == bool(finite)
    if finite:
        root = parsed(svg)
        numbers = [float(n) for line in root.iter() for n in re.findall(r"-?[\d.]+", line.get("points", ""))]
        assert all(math.isfinite(n) and 0 <= n <= 100 for n in numbers)
        assert len(text) == len(values)


def test_a_notebook_shows_the_page_and_a_terminal_one_line(tmp_path: Path) -> None:
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    run = recorded(workspace(tmp_path / "a"))
    for thing in (run, run.experiment, run.workspace, RunTable([run])):
        formats, _ = shell.display_formatter.format(thing)
        assert formats["text/html"].startswith("<") and formats["text/plain"] == repr(thing)


class Notebook:
    """An IPython shell with a kernel, as far as displays are concerned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        interactive = pytest.importorskip("IPython.core.interactiveshell")
        self.shell = interactive.InteractiveShell.instance()
        self.shell.kernel = object()
        self.published: list[tuple[dict[str, Any], bool]] = []
        monkeypatch.setattr(self.shell.display_pub, "publish", self._publish)

    def _publish(self, data: dict[str, Any], *args: Any, update: bool = False, **more: Any) -> None:
        self.published.append((data, update))

    def close(self) -> None:
        type(self.shell).clear_instance()


def test_a_run_that_is_watched_in_a_notebook_is_brought_up_to_date_until_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = Notebook(monkeypatch)
    script = "import pathlib, time\nwhile not pathlib.Path('outputs/stop').exists(): time.sleep(0.05)\n"
    try:
        run = submit(project(tmp_path, {"train.py": script}))
        widget = RunDetails(run)
        widget.show()
        assert len(notebook.published) == 1 and run.id in notebook.published[0][0]["text/html"]
        work = run.workspace.layout.run(run.id).work
        wait_until(lambda: run.get_status() == "Running" and work.is_dir())
        (work / "outputs").mkdir(exist_ok=True)
        (work / "outputs" / "stop").touch()
        wait_until(lambda: "Completed" in notebook.published[-1][0]["text/html"])
        assert all(update for _, update in notebook.published[1:])
        assert widget.get_widget_data()["runId"] == run.id
    finally:
        notebook.close()


def test_without_a_notebook_the_run_is_printed_as_it_is_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded(workspace(tmp_path / "a"))
    RunDetails(Run(run.workspace, run.id)).show()
    assert run.id in capsys.readouterr().out
