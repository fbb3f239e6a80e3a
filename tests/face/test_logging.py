"""What scripts log, from wherever and until whenever, and what runs are tagged with."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, project, run_to_end, submit, wait_until

import onrecord
from onrecord import Experiment, OnRecordError, Run, Workspace
from onrecord.ledger.errors import UnknownRun
from onrecord.metric_values import BadMetric
from onrecord.run_errors import PropertyExists, RunFailedError, UnknownFile

VALUES = """
import numpy
from onrecord import Run
run = Run.get_context(allow_offline=False)
values = {"float": 0.1, "int": 7, "true": True, "text": "good", "none": None, "huge": 10**40, "least": -(2**63),
          "inf": float("inf"), "-inf": float("-inf"), "zero": -0.0, "tiny": 5e-324,
          "float32": numpy.float32(0.5), "int64": numpy.int64(9), "bool_": numpy.bool_(False),
          "array": numpy.array([2.5]), "trailing ": 1, " ": 2, "ü/ö=\\n": 3}
for name, value in values.items():
    run.log(name, value)
run.log("nan", float("nan"))
for step in range(5):
    run.log("mixed", step if step % 2 else step / 2, step=step)
for wrong in ([1, 2], {"a": 1}, object(), 1j, b"bytes", numpy.array([1, 2])):
    try:
        run.log("wrong", wrong)
    except Exception as problem:
        print(type(problem).__name__)
"""


def test_every_kind_of_value_comes_back_as_it_was_logged(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, VALUES)
    assert run.status == "Completed", run.get_details()["error"]
    metrics = run.get_metrics()
    assert math.isnan(metrics.pop("nan"))
    assert metrics.pop("mixed") == [0.0, 1, 1.0, 3, 2.0]
    assert math.copysign(1, metrics["zero"]) == -1
    assert metrics == {
        "float": 0.1,
        "int": 7,
        "true": True,
        "text": "good",
        "none": None,
        "huge": 10**40,
        "least": -(2**63),
        "inf": math.inf,
        "-inf": -math.inf,
        "zero": 0.0,
        "tiny": 5e-324,
        "float32": 0.5,
        "int64": 9,
        "bool_": False,
        "array": 2.5,
        "trailing ": 1,
        " ": 2,
        "ü/ö=\n": 3,
    }
    assert metrics["true"] is True
    assert metrics["bool_"] is False
    assert type(metrics["int"]) is int
    assert run.get_metrics("float") == {"float": 0.1}
    assert run.get_metrics("nothing") == {}
    assert run.read_file("logs/stdout.txt") == b"BadMetric\n" * 6


def test_points_logged_right_before_kill_9_are_all_there(tmp_path: Path) -> None:
    run = run_to_end(
        tmp_path,
        "import os, onrecord\nrun = onrecord.Run.get_context()\n"
        "for step in range(20000):\n    run.log('loss', step * 0.5, step=step)\nos.kill(os.getpid(), 9)\n",
    )
    assert (run.status, run.get_details()["error"]["code"]) == ("Failed", "KilledBySignal")
    assert run.get_metrics() == {"loss": [step * 0.5 for step in range(20000)]}


CROWD = """
import multiprocessing, threading
from onrecord import Run
run = Run.get_context()
run.log("parent", 1)
def work(who):
    for number in range(500):
        run.log("number", who * 500 + number)
def child(who):
    threads = [threading.Thread(target=work, args=(who * 3 + thread,)) for thread in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=child, args=(who,)) for who in range(3)]
    [process.start() for process in children]
    child(3)
    [process.join() for process in children]
    assert all(process.exitcode == 0 for process in children)
"""


def test_forked_children_and_threads_lose_no_point(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, CROWD)
    assert run.status == "Completed", run.get_details()["error"]
    metrics = run.get_metrics()
    assert metrics["parent"] == 1
    assert sorted(metrics["number"]) == list(range(6000))


EVERY_WAY = """
import multiprocessing, subprocess, sys, threading
from onrecord import Run
def work(who):
    run = Run.get_context() if who == "subprocess" else shared
    for number in range(100):
        run.log_row("row", who=who, number=number)
        run.log_list("list", [who])
        run.log_many({"a": number, "b": number / 2})
shared = Run.get_context()
if __name__ == "__main__":
    if sys.argv[1:]:
        work("subprocess")
        sys.exit()
    processes = [multiprocessing.get_context(how).Process(target=work, args=(how,)) for how in ("fork", "spawn")]
    [process.start() for process in processes]
    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(2)]
    [thread.start() for thread in threads]
    subprocess.run([sys.executable, __file__, "child"], check=True)
    [one.join() for one in processes + threads]
    assert all(process.exitcode == 0 for process in processes)
    daemon = threading.Thread(target=threading.Event().wait, daemon=True)
    daemon.start()
    assert threading.active_count() == 2, threading.enumerate()
"""


def test_forks_spawned_processes_threads_and_subprocesses_log_into_the_one_run(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, EVERY_WAY)
    assert run.status == "Completed", run.get_details()["error"]
    metrics = run.get_metrics()
    rows = list(zip(metrics["row"]["who"], metrics["row"]["number"], strict=True))
    for who in ("fork", "spawn", "thread 0", "thread 1", "subprocess"):
        assert [number for one, number in rows if one == who] == list(range(100))
        assert metrics["list"].count(who) == 100
    assert len(metrics["a"]) == len(metrics["b"]) == 500
    assert metrics["b"] == [number / 2 for number in metrics["a"]]


WITHOUT_ROOM = """
import os, resource
from onrecord import Run
run = Run.get_context()
for number in range(10):
    run.log("loss", number / 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
for number in range(10, 1000):
    run.log("loss", number / 2)
run.log_table("table", {"x": [1] * 1000})
print("the model is trained")
"""


def test_a_script_whose_disk_is_full_ends_well_and_the_run_says_what_is_missing(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, WITHOUT_ROOM)
    assert (run.status, run.read_file("logs/stdout.txt")) == ("Completed", b"the model is trained\n")
    kept = run.get_metrics()["loss"]
    assert kept == [number / 2 for number in range(len(kept))]
    lost = f"{1001 - len(kept):,} logged values could not be written and are lost: the disk was full, or failed"
    assert run.get_warnings() == [lost]
    assert run.read_file("logs/stderr.txt").count(b"metrics cannot be kept") == 1


def test_metrics_tags_and_properties_are_there_while_the_run_runs(tmp_path: Path) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    source = (
        "import pathlib, sys, time, onrecord\nrun = onrecord.Run.get_context()\nrun.log('loss', 0.5)\n"
        "run.tag('from', 'script')\nrun.add_properties({'seed': 7})\npathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists():\n    time.sleep(0.02)\nrun.log('loss', 0.25)\n"
    )
    project(tmp_path / "source", {"train.py": source})
    run = submit(tmp_path / "source", arguments=[mark, go])
    wait_until(mark.exists)
    assert run.get_metrics() == {"loss": 0.5}
    assert run.tags == {"from": "script"}
    assert run.properties == {"seed": "7"}
    # The script does not wait for the record of its start.
    wait_until(lambda: run.status == "Running")
    assert run.workspace.recover() == []
    go.touch()
    run.wait_for_completion()
    assert run.get_metrics() == {"loss": [0.5, 0.25]}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has ended, which tests only add to."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name not in clean_environment()]:
            patch.delenv(name)
        return run_to_end(tmp_path_factory.mktemp("ended"), "print(1)\n")


def test_tags_change_and_go(ended: Run) -> None:
    ended.set_tags({"a": 1, "b": "two", "ü ": None})
    ended.tag("a", 2)
    assert ended.get_tags() == {"a": "2", "b": "two", "ü ": ""}
    ended.remove_tags(["b", "not there"])
    assert ended.get_tags() == {"a": "2", "ü ": ""}


def test_a_property_is_written_once(ended: Run) -> None:
    ended.add_properties({"seed": 1})
    with pytest.raises(PropertyExists, match="next: ") as caught:
        ended.add_properties({"other": 2, "seed": 3})
    assert (caught.value.name, caught.value.value) == ("seed", "1")
    assert ended.get_properties() == {"seed": "1"}


def test_recovering_is_idempotent_and_ends_add_nothing(ended: Run) -> None:
    before = ended.workspace.journal.size()
    ended.cancel()
    assert ended.workspace.recover() == []
    assert ended.workspace.recover() == []
    assert ended.wait_for_completion()["status"] == "Completed"
    assert ended.workspace.journal.size() == before


def test_a_missing_file_names_near_ones(ended: Run) -> None:
    with pytest.raises(UnknownFile, match="next: ") as caught:
        ended.download_file("logs/stdout.tx")
    assert "logs/stdout.txt" in caught.value.candidates


@pytest.mark.parametrize("name", ["", "x" * 256, 7, None, b"loss"])
def test_a_name_that_cannot_be_one_is_refused(ended: Run, name: Any) -> None:
    with pytest.raises(BadMetric, match="next: "):
        ended.log(name, 1.0)
    assert ended.get_metrics() == {}


@pytest.mark.parametrize("step", [1.5, "1", True, 2**63, [1]])
def test_a_step_that_cannot_be_one_is_refused(ended: Run, step: Any) -> None:
    with pytest.raises(BadMetric, match="next: "):
        ended.log("loss", 1.0, step=step)
    assert ended.get_metrics() == {}


def test_an_unknown_run_is_refused(ended: Run) -> None:
    with pytest.raises(UnknownRun):
        ended.workspace.get_run("7" * 26)


def _failure(ended: Run) -> None:
    raise RunFailedError("failed", why="why", next_step="next", run_id="a", exit_code=3, signal=None, error={"a": 1})


@pytest.mark.parametrize(
    "go_wrong",
    [
        lambda run: run.read_file("nothing"),
        lambda run: run.log("a", [1]),
        lambda run: run.workspace.get_run("7" * 26),
        lambda run: run.workspace.get_run("?"),
        lambda run: Workspace("/nowhere"),
        lambda run: Experiment(run.workspace, "a b"),
        lambda run: submit(run.workspace.path, script="nothing.py"),
        lambda run: submit(run.workspace.path, compute_target="nothing"),
        _failure,
    ],
)
def test_errors_pickle_with_their_values(ended: Run, go_wrong: Callable[[Run], object]) -> None:
    with pytest.raises(OnRecordError) as caught:
        go_wrong(ended)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - pickled in the same line
    assert (type(copy), str(copy), vars(copy)) == (type(caught.value), str(caught.value), vars(caught.value))


# ---- importing --------------------------------------------------------------------------------------

HEAVY = ("sqlite_utils", "git", "cattrs", "watchdog", "psutil", "click", "rich")


def test_importing_onrecord_loads_nothing_heavy() -> None:
    code = f"import sys, onrecord; dir(onrecord); print([name for name in {HEAVY!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert said.stdout == "[]\n"


def test_the_module_that_scripts_need_loads_nothing_heavy_either() -> None:
    code = f"import sys; from onrecord import Run; print([name for name in {HEAVY!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert said.stdout == "[]\n"


def test_every_public_name_is_there_and_no_other_is() -> None:
    for name in onrecord.__all__:
        assert getattr(onrecord, name) is not None
    with pytest.raises(AttributeError):
        onrecord.Nothing  # noqa: B018


@pytest.mark.parametrize("name", ["", "x" * 256, "\ud800", 3])
def test_a_name_that_no_metric_can_have_is_refused_whatever_the_value(tmp_path: Path, name: object) -> None:
    run = Run(Workspace.create(tmp_path), "0" * 26)
    for value in (0.5, 3, "text"):
        with pytest.raises(BadMetric, match="a metric cannot be called"):
            run.log(name, value)  # type: ignore[arg-type]
