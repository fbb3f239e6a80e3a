"""Runs that a process is: how they begin, what they keep, and that they end truthfully whatever becomes of it."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from face_make import lives, project, repository, wait_until
from interactive_make import BEGIN, by_hand, companions, ended_run, ended_runs, is_interactive

from onrecord import Experiment, Run, Workspace
from onrecord.errors import OnRecordError
from onrecord.executors.protocol import Ended
from onrecord.interactive_ending import Ending, last_event
from onrecord.interactive_folders import BadOutputs
from onrecord.interactive_start import RunExists
from onrecord.ledger.errors import BadRunId
from onrecord.run_errors import NotInARun
from onrecord.snapshot.errors import SourceError
from onrecord.tag_names import BadTag


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment of a workspace in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Experiment(Workspace.create(tmp_path), "tests")


def test_a_block_is_a_run_from_its_beginning_to_its_end(experiment: Experiment, tmp_path: Path) -> None:
    project(tmp_path, {"notebook.py": "x = 1\n", "outputs/old.txt": "before", "logs/old.txt": "before"})
    with experiment.start_logging(display_name="first", description="why", tags={"team": "a"}) as run:
        assert Run.get_context() is run
        assert run.status == "Running"
        run.log("loss", 0.5)
        project(tmp_path, {"outputs/new.txt": "new", "logs/old.txt": "changed"})
    assert run.status == "Completed"
    assert is_interactive(run)
    assert (run.display_name, run.tags, run.get_metrics()) == ("first", {"team": "a"}, {"loss": 0.5})
    assert run.description == "why"
    # What was there before, and stayed as it was, is not the run's.
    assert run.get_file_names() == ["logs/old.txt", "onrecord/environment.json", "outputs/new.txt"]
    assert (tmp_path / "outputs/new.txt").stat().st_nlink == 1
    assert run.restore_snapshot(tmp_path / "restored") is not None
    assert (tmp_path / "restored/notebook.py").read_text() == "x = 1\n"
    assert not (tmp_path / "restored/outputs").exists()
    assert run.get_warnings() == []
    assert [event.type for event in run.workspace.journal.read(run.id)][:2] == ["run.submitted", "run.running"]
    with pytest.raises(NotInARun):
        Run.get_context(allow_offline=False)


def test_a_large_file_of_the_folder_is_copied_and_stays_a_file_of_the_folder(
    experiment: Experiment, tmp_path: Path
) -> None:
    with experiment.start_logging(snapshot_directory=None) as run:
        project(tmp_path, {"outputs/large.bin": "x" * (5 << 20)})
    status = (tmp_path / "outputs/large.bin").stat()
    assert (status.st_nlink, status.st_mode & 0o200) == (1, 0o200)
    assert len(run.read_file("outputs/large.bin")) == 5 << 20


def test_git_is_asked_of_the_snapshot_folder(experiment: Experiment, tmp_path: Path) -> None:
    source = repository(tmp_path / "source", {"train.py": "pass\n"})
    (source / "train.py").write_text("changed\n")
    with experiment.start_logging(snapshot_directory=source, outputs=False) as run:
        pass
    assert run.properties["onrecord.git.branch"] == "main"
    assert "onrecord/git.patch" in run.get_file_names()


@pytest.mark.parametrize(
    ("outputs", "kept"),
    [
        (True, ["logs/b.txt", "outputs/a.txt"]),
        ("results", ["logs/b.txt", "results/deep/c.txt"]),
        ("results/deep", ["logs/b.txt", "results/deep/c.txt"]),
        (False, []),
    ],
)
def test_outputs_names_the_folder_that_is_kept(
    experiment: Experiment, tmp_path: Path, outputs: object, kept: list[str]
) -> None:
    with experiment.start_logging(outputs=outputs, snapshot_directory=None) as run:  # type: ignore[arg-type]
        project(tmp_path, {"outputs/a.txt": "a", "logs/b.txt": "b", "results/deep/c.txt": "c"})
    assert [name for name in run.get_file_names() if not name.startswith("onrecord/")] == kept
    assert run.get_snapshot_id() is None


def test_a_folder_of_outputs_may_lie_elsewhere(experiment: Experiment, tmp_path: Path) -> None:
    os.chdir(project(tmp_path / "here", {}) if (tmp_path / "here").mkdir() is None else tmp_path)
    with experiment.start_logging(outputs=tmp_path / "far/models", snapshot_directory=None) as run:
        project(tmp_path, {"far/models/m.bin": "m", "here/logs/l.txt": "l"})
        # The folders are those of the beginning.
        os.chdir(tmp_path)
    assert {"models/m.bin", "logs/l.txt"} <= set(run.get_file_names())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"tags": {"": "v"}}, BadTag),
        ({"outputs": 3}, BadOutputs),
        ({"outputs": ""}, BadOutputs),
        ({"outputs": "."}, BadOutputs),
        ({"outputs": "/"}, BadOutputs),
        ({"outputs": __file__}, BadOutputs),
        ({"run_id": "my run"}, BadRunId),
        ({"snapshot_directory": "nowhere"}, SourceError),
    ],
)
def test_a_mistake_leaves_no_run_and_no_companion(
    experiment: Experiment, wrong: dict[str, object], error: type[OnRecordError]
) -> None:
    with pytest.raises(error, match="next: "):
        experiment.start_logging(**wrong)  # type: ignore[arg-type]
    assert experiment.workspace.query.runs() == []
    assert list(experiment.workspace.layout.runs.iterdir()) == []
    with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        pass
    assert run.status == "Completed"


def test_an_id_can_be_chosen_once(experiment: Experiment) -> None:
    wanted = "01M87M3SYZEA2TPF1T4XCG76N2"
    with experiment.start_logging(run_id=wanted, outputs=False, snapshot_directory=None) as run:
        assert run.id == wanted.lower()
        with pytest.raises(RunExists, match="next: "):
            run.child_run(run_id=wanted)
    with pytest.raises(RunExists, match="already"):
        experiment.start_logging(run_id=wanted, outputs=False, snapshot_directory=None)
    assert run.status == "Completed"


# ---- how it ends -------------------------------------------------------------------------------------


def test_an_exception_is_what_the_run_failed_with(experiment: Experiment) -> None:
    with pytest.raises(ZeroDivisionError), experiment.start_logging(snapshot_directory=None) as run:
        raise ZeroDivisionError("too small")
    error = run.get_details()["error"]
    assert (run.status, error["message"]) == ("Failed", "ZeroDivisionError: too small")
    assert "test_an_exception_is_what_the_run_failed_with" in error["details"]


@pytest.mark.parametrize(
    ("code", "status", "recorded"),
    [(None, "Completed", 0), (0, "Completed", 0), (3, "Failed", 3), ("no data", "Failed", 1)],
)
def test_an_exit_passes_through_the_block_with_its_code(
    experiment: Experiment, code: object, status: str, recorded: int
) -> None:
    with pytest.raises(SystemExit), experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        sys.exit(code)  # type: ignore[arg-type]
    assert (run.status, run.get_details()["exitCode"]) == (status, recorded)
    if isinstance(code, str):
        assert code in run.get_details()["error"]["message"]


def test_ctrl_c_cancels_and_goes_on_as_ctrl_c(experiment: Experiment) -> None:
    with pytest.raises(KeyboardInterrupt), experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    assert run.status == "Canceled"


@pytest.mark.parametrize("outputs", [False, True])
def test_a_run_without_a_block_is_ended_by_its_methods_once(experiment: Experiment, outputs: bool) -> None:
    runs = [experiment.start_logging(outputs=outputs, snapshot_directory=None) for _ in range(4)]
    runs[0].complete()
    runs[1].fail("out of data", error_code="NoData")
    runs[2].fail(ValueError("bad"))
    runs[3].cancel()
    runs[0].fail()
    assert [run.status for run in runs] == ["Completed", "Failed", "Failed", "Canceled"]
    errors = [run.get_details()["error"] for run in runs[1:3]]
    assert (errors[0]["code"], errors[0]["message"]) == ("NoData", "out of data")
    assert (errors[1]["code"], errors[1]["message"]) == ("UserError", "ValueError: bad")
    for run in runs:
        assert [event.type for event in run.workspace.journal.read(run.id)].count("run.sealed") == 1


@pytest.mark.parametrize(
    ("how", "status", "exit_code", "message"),
    [
        ("pass", "Completed", 0, None),
        ("sys.exit(3)", "Failed", 3, "exit code 3"),
        pytest.param("raise SystemExit('no data')", "Failed", 1, "exit code 1", marks=pytest.mark.long),
        ("raise ValueError('bad')", "Failed", 1, "ValueError: bad"),
        ("signal.raise_signal(signal.SIGINT)", "Canceled", None, "KeyboardInterrupt"),
        pytest.param("os._exit(4)", "Failed", 4, "exit code 4", marks=pytest.mark.long),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Failed", None, "killed by SIGKILL"),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGTERM)", "Failed", None, "killed by SIGTERM", marks=pytest.mark.long
        ),
    ],
)
def test_a_run_that_nobody_ends_ends_as_its_process_does(
    tmp_path: Path, how: str, status: str, exit_code: int | None, message: str | None
) -> None:
    # Files are looked for by a companion that takes some time to come up; twice is enough.
    outputs = status != "Failed" or "SIGKILL" in how
    begin = f"run = experiment.start_logging(snapshot_directory=None, outputs={outputs})\n"
    begin += "run.log('a', 1)\nos.makedirs('outputs')\nopen('outputs/model', 'w').write('m')\n"
    by_hand(tmp_path, f"{BEGIN}{begin}{how}\n")
    run = ended_run(tmp_path)
    assert run.status == status
    assert run.get_metrics() == {"a": 1}
    if outputs:
        assert run.read_file("outputs/model") == b"m"
    if status == "Completed":
        assert any("nobody ended it" in warning for warning in run.get_warnings())
    if message is not None:
        assert message in run.get_details()["error"]["message"]
    # A kernel before 6.15 tells nobody but its parent how a process ended: then it is not known, and not guessed.
    assert run.get_details()["exitCode"] in (exit_code, None)


def test_the_hook_for_exceptions_that_was_there_is_called_too(tmp_path: Path) -> None:
    hook = "sys.excepthook = lambda *_: print('mine')\n"
    begin = "run = experiment.start_logging(outputs=False, snapshot_directory=None)\n"
    assert by_hand(tmp_path, f"{BEGIN}{hook}{begin}raise ValueError\n").stdout == "mine\n"
    assert ended_run(tmp_path).status == "Failed"


FORKS = """
run = experiment.start_logging(outputs=False, snapshot_directory=None)
if os.fork() == 0:
    Run.get_context().log("child", 1)
    run.complete()
    print("ready", flush=True)
    time.sleep(60)
    os._exit(0)
os.wait() if len(sys.argv) > 1 else time.sleep(0.3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fork_of_the_process_neither_keeps_its_run_alive_nor_ends_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BEGIN + FORKS)
    process = subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.wait()
        run = ended_run(tmp_path)
        assert (run.status, run.get_metrics()) == ("Failed", {"child": 1})
        os.killpg(process.pid, 0)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


# ---- its companion -----------------------------------------------------------------------------------


def test_files_are_in_the_history_while_the_run_goes_on(experiment: Experiment, tmp_path: Path) -> None:
    with experiment.start_logging(snapshot_directory=None) as run:
        project(tmp_path, {"outputs/early.txt": "early"})
        os.utime(tmp_path / "outputs/early.txt", (1, 1))
        run.log("a", 1.0)
        wait_until(lambda: "outputs/early.txt" in run.get_file_names())
        assert run.status == "Running"
        (companion,) = companions(experiment.workspace)
        held = {fd.resolve().name for fd in Path(f"/proc/{companion}/fd").iterdir()}
        assert "process.lock" not in held


def test_a_companion_that_is_killed_is_replaced(experiment: Experiment, tmp_path: Path) -> None:
    with experiment.start_logging(snapshot_directory=None) as run:
        (companion,) = companions(experiment.workspace)
        os.kill(companion, signal.SIGKILL)
        wait_until(lambda: not lives(companion))
        assert run.status == "NotResponding"
        experiment.workspace.recover()
        assert run.status == "Running"
        for other in companions(experiment.workspace):
            os.kill(other, signal.SIGKILL)
        project(tmp_path, {"outputs/late.txt": "late"})
    assert (run.status, run.read_file("outputs/late.txt")) == ("Completed", b"late")


def test_process_and_companion_may_both_be_killed(tmp_path: Path) -> None:
    code = BEGIN + "sys.path.insert(0, sys.argv[1])\nfrom interactive_make import companions\n"
    code += "run = experiment.start_logging(snapshot_directory=None)\nrun.log('a', 1)\n"
    code += "for pid in [*companions(workspace), os.getpid()]: os.kill(pid, signal.SIGKILL)\n"
    by_hand(tmp_path, code, str(Path(__file__).parent))
    run = ended_run(tmp_path)
    error = run.get_details()["error"]
    assert (run.status, error["code"], run.get_metrics()) == ("Failed", "Lost", {"a": 1})
    assert "without saying how" in error["message"]


def test_a_restart_of_the_machine_is_told(tmp_path: Path) -> None:
    from onrecord.executors.protocol import Started
    from onrecord.interactive_process import WatchedProcess, hold_lock

    # The lock of a process that is gone, which was started before another boot.
    os.close(hold_lock(tmp_path / "lock"))
    watched = WatchedProcess(Started(os.getpid(), 1, "another boot", 1), tmp_path / "lock")
    assert watched.has_ended()
    assert "the machine restarted" in str(last_event(None, watched.ended(), False, []))


SAID = Ending("Failed", error={"code": "UserError", "message": "bad"})
LEFT = Ending("Completed", left=True)
RAISED = SAID._replace(left=True)
KILLED, FIVE, FINE = (Ended("exited", code, sign, "", None, 1) for code, sign in ((None, 9), (5, None), (0, None)))
LOST = Ended("lost", None, None, "nobody knows", None, 1)


@pytest.mark.parametrize(
    ("ending", "ended", "asked", "kind", "code"),
    [
        # What was said comes first, whatever became of the process later.
        (SAID, KILLED, True, "run.failed", None),
        (Ending("Canceled"), FINE, False, "run.canceled", None),
        # A request that was obeyed by its end.
        (None, KILLED, True, "run.canceled", None),
        (LEFT, FIVE, True, "run.canceled", 5),
        # What the kernel says.
        (LEFT, FINE, False, "run.completed", 0),
        (None, FINE, False, "run.completed", 0),
        (LEFT, FIVE, False, "run.failed", 5),
        (RAISED, FIVE, False, "run.failed", 5),
        (RAISED, KILLED, False, "run.failed", None),
        # What nobody says.
        (LEFT, LOST, False, "run.completed", None),
        (RAISED, LOST, False, "run.failed", None),
        (None, LOST, False, "run.failed", None),
        (None, None, False, "run.failed", None),
    ],
)
def test_the_last_event_says_what_is_known(
    ending: Ending | None, ended: Ended | None, asked: bool, kind: str, code: int | None
) -> None:
    event = last_event(ending, ended, asked, ["warned"])
    assert (event.type, event.exit_code) == (kind, code)  # type: ignore[attr-defined]
    assert "warned" in event.warnings  # type: ignore[attr-defined]


def test_what_is_left_of_a_torn_word_is_no_word(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"status": "Failed", "more": 1}'):
        (tmp_path / "ending").write_text(text)
        assert Ending.read(tmp_path / "ending") is None


def test_a_request_to_cancel_interrupts_the_process(tmp_path: Path) -> None:
    code = BEGIN + "run = experiment.start_logging(snapshot_directory=None, outputs=False)\n"
    code += "workspace.get_run(run.id).cancel()\ntime.sleep(60)\n"
    done = by_hand(tmp_path, code)
    assert "KeyboardInterrupt" in done.stderr
    assert ended_run(tmp_path).status == "Canceled"


# ---- processes, threads, notebooks -------------------------------------------------------------------


def test_every_process_that_is_started_meanwhile_is_in_the_run(tmp_path: Path) -> None:
    code = (
        BEGIN
        + """
def work(number):
    Run.get_context(allow_offline=False).log("worker", number)
if __name__ == "__main__":
    import multiprocessing
    with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        for kind in ("fork", "spawn"):
            process = multiprocessing.get_context(kind).Process(target=work, args=(len(kind),))
            process.start()
            process.join()
        thread = threading.Thread(target=work, args=(6,))
        thread.start()
        thread.join()
        code = "import onrecord; onrecord.Run.get_context().log('worker', 7)"
        subprocess.run([sys.executable, "-c", code], check=True)
    print(run.get_metrics())
"""
    )
    done = by_hand(tmp_path, code)
    assert done.stdout == "{'worker': [4, 5, 6, 7]}\n", done.stderr
    assert len(ended_runs(tmp_path)) == 1


KERNEL = """
import code
console = code.InteractiveInterpreter()
cells = [
    "from onrecord import Experiment, Run, Workspace\\n"
    "experiment = Experiment(Workspace.create('.', exist_ok=True), 'notebook')\\n",
    "run = experiment.start_logging(snapshot_directory=None)\\nrun.log('cell', 1)\\n",
    "run.log('cell', 2)\\nrun.complete()\\n",
    "import signal\\n"
    "with experiment.start_logging(snapshot_directory=None) as second:\\n    signal.raise_signal(signal.SIGINT)\\n",
    "third = experiment.start_logging(snapshot_directory=None)\\nthird.log('cell', 3)\\n",
    "import os\\nos.kill(os.getpid(), 9)\\n",
]
for cell in cells:
    try:
        console.runcode(compile(cell, "cell", "exec"))
    except KeyboardInterrupt:
        pass
"""


def test_a_notebook_whose_cell_is_interrupted_and_whose_kernel_is_killed(tmp_path: Path) -> None:
    by_hand(tmp_path, KERNEL)
    runs = ended_runs(tmp_path)
    assert [run.status for run in runs] == ["Completed", "Canceled", "Failed"]
    assert [run.get_metrics() for run in runs] == [{"cell": [1, 2]}, {}, {"cell": 3}]


def test_what_is_remarkable_of_a_source_is_said(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onrecord.snapshot import take

    monkeypatch.setattr(take, "WARN_BYTES", 10)
    project(tmp_path, {"data.bin": "x" * 100})
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with experiment.start_logging(outputs=False):
        pass
    assert "data.bin" in said.getvalue()


def test_a_copy_of_the_workspace_ends_the_run_there_and_leaves_its_process_alone(
    experiment: Experiment, tmp_path: Path
) -> None:
    with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        run.child_run()
        copied = Workspace(shutil.copytree(tmp_path, tmp_path.with_name("copy"), symlinks=True))
        copied.get_run(run.id).cancel()
        copied.recover()
        wait_until(lambda: not copied.query.unfinished())
        # One for both runs, though their locks are no links of one another there.
        assert [row.status for row in copied.query.runs()] == ["Failed", "Canceled"]
        assert run.status == "Running"
