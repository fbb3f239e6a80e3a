"""How a run ends by what its script says, and what can be done with it from outside."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from face_make import onrecord, project, run_to_end, shown, submit, wait_until

from onrecord import Run, Workspace
from onrecord.failure_text import failure_of
from onrecord.ledger.errors import RunNotEnded
from onrecord.ledger.events import RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.ledger.references import references_in
from onrecord.run_errors import NothingKnown, NotInARun, RunHasEnded, SnapshotExists, WaitedTooLong

SAYS = "import sys, onrecord\nrun = onrecord.Run.get_context()\n"
FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


# ---- what a script says of its own end -----------------------------------------------------------


def test_a_script_that_says_it_failed_and_exits_with_0_has_failed(tmp_path: Path) -> None:
    run = run_to_end(
        tmp_path, SAYS + "run.fail('the loss is not finite', 'Diverged')\nrun.fail('again')\nrun.complete()\n"
    )
    details = run.get_details()
    assert (details["status"], details["exitCode"]) == ("Failed", 0)
    assert details["error"] == {"code": "Diverged", "message": "the loss is not finite"}


def test_an_exception_that_a_script_hands_over_is_kept_with_its_traceback(tmp_path: Path) -> None:
    source = SAYS + "try:\n    [][0]\nexcept IndexError as problem:\n    run.fail(problem)\n"
    error = run_to_end(tmp_path, source).get_details()["error"]
    assert (error["code"], error["message"]) == ("UserError", "IndexError: list index out of range")
    assert error["details"].startswith("Traceback") and "[][0]" in error["details"]


def test_what_a_script_says_explains_an_exit_code_and_never_hides_it(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, SAYS + "run.fail('no data')\nrun.complete()\nsys.exit(3)\n")
    details = run.get_details()
    assert (details["status"], details["exitCode"]) == ("Failed", 3)
    assert details["error"]["message"] == "the script ended with exit code 3: no data"


def test_a_script_that_says_it_is_done_fails_by_its_exit_code_and_completes_by_it(tmp_path: Path) -> None:
    assert run_to_end(tmp_path, SAYS + "run.complete()\nsys.exit(3)\n").status == "Failed"
    run = run_to_end(tmp_path, SAYS + "run.complete()\n")
    assert (run.status, run.get_details()["error"]) == ("Completed", None)
    assert "run.completion_noted" in [recorded.type for recorded in run.workspace.journal.read(run.id)]


def test_a_script_that_is_canceled_after_it_said_that_it_failed_is_canceled(tmp_path: Path) -> None:
    project(
        tmp_path, {"train.py": SAYS + "run.fail('soon')\nprint('said', flush=True)\nimport time; time.sleep(600)\n"}
    )
    run = submit(tmp_path)
    wait_until(lambda: "said" in run.get_details_with_logs()["logFiles"].get("logs/stdout.txt", ""))
    run.cancel()
    run.wait_for_completion()
    assert run.status == "Canceled"
    assert run.get_warnings() == ["the script had said that it failed: soon"]


def test_the_command_tells_of_a_script_that_says_it_failed(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": SAYS + "run.fail('the loss is not finite')\n"})
    said = onrecord("run", "train.py", cwd=tmp_path)
    assert said.returncode == 1
    assert b"the loss is not finite" in said.stderr
    assert shown(tmp_path)["status"] == "Failed"


def test_the_end_of_a_run_is_not_changed_by_what_is_said_later(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "pass\n")
    run.complete()
    with pytest.raises(RunHasEnded, match=r"is Completed already, and fail\(\) does not change that") as caught:
        run.fail("late")
    assert (caught.value.run_id, caught.value.status) == (run.id, "Completed")  # type: ignore[attr-defined]
    assert run.get_details()["error"] is None


def test_what_is_said_of_a_failure_has_a_size() -> None:
    assert failure_of(None) == {"code": "UserError", "message": "the script said that it failed"}
    assert len(failure_of("x" * 10_000)["message"]) == 3000
    assert len(failure_of(ValueError("x" * 10_000))["details"]) <= 3000


def test_a_run_that_its_own_process_keeps_open_ends_itself(tmp_path: Path) -> None:
    class Ends:
        def __init__(self) -> None:
            self.calls: list[tuple[object, ...]] = []

        def complete(self, set_status: bool) -> None:
            self.calls.append(("complete", set_status))

        def fail(self, error_details: object, error_code: str | None, set_status: bool) -> None:
            self.calls.append(("fail", error_details, error_code, set_status))

    run = Run(Workspace.create(tmp_path), "0" * 26)
    run._interactive = ends = Ends()
    run.complete()
    run.fail("why", "Code", _set_status=False)
    assert ends.calls == [("complete", True), ("fail", "why", "Code", False)]


# ---- waiting -------------------------------------------------------------------------------------


def test_waiting_has_an_end_where_one_is_given_and_the_run_goes_on(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": FOREVER})
    run = submit(tmp_path)
    with pytest.raises(WaitedTooLong, match=r"after 0\.2 s") as caught:
        run.wait_for_completion(timeout_seconds=0.2)
    assert caught.value.timeout_seconds == 0.2  # type: ignore[attr-defined]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
    wait_until(lambda: run.status == "Running")
    run.cancel()
    assert run.wait_for_completion(timeout_seconds=60)["status"] == "Canceled"


def test_the_run_of_a_script_is_asked_for_inside_of_one_only(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "import onrecord\nprint(onrecord.Run.get_submitted_run().id)\n")
    assert run.read_file("logs/stdout.txt").decode().strip() == run.id
    with pytest.raises(NotInARun):
        Run.get_submitted_run()


# ---- logs and details ----------------------------------------------------------------------------


def test_logs_are_read_while_the_script_runs_and_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, {"train.py": FOREVER})
    run = submit(tmp_path)
    wait_until(lambda: run.get_details_with_logs()["logFiles"].get("logs/stdout.txt") == "up\n")
    [err, out] = run.get_all_logs(tmp_path / "early")
    assert (out.read_text(), err.read_text()) == ("up\n", "")
    run.cancel()
    run.wait_for_completion()
    assert run.get_details_with_logs()["logFiles"]["logs/stdout.txt"] == "up\n"
    monkeypatch.chdir(tmp_path)
    assert run.get_all_logs()[-1] == Path(run.id, "logs/stdout.txt")


def test_the_detailed_status_says_why(tmp_path: Path) -> None:
    failed = run_to_end(tmp_path, "raise SystemExit(3)\n")
    assert failed.get_detailed_status() == {"status": "Failed", "details": "the script ended with exit code 3"}
    with failed.workspace.layout.config.open("a") as file:
        file.write("[targets.local]\nmax_concurrent = 1\n")
    project(tmp_path, {"train.py": FOREVER})
    first, second = submit(tmp_path), submit(tmp_path)
    assert second.get_detailed_status() == {"status": "Queued", "details": "local: 1 of 1 runs at once"}
    for run in (second, first):
        run.cancel()
        run.wait_for_completion()
    assert (first.name, first.type) == (first.display_name, "onrecord.script")


# ---- the working folder and the source -----------------------------------------------------------


def test_cleaning_removes_the_working_folder_and_nothing_of_the_history(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "open('outputs/model', 'w').write('weights'); open('scratch', 'w').write('x')\n")
    work = run.workspace.layout.run(run.id).work
    # As a conductor that found no room would have left it.
    (work / "outputs/late").write_text("not yet on record")
    run.clean()
    run.clean()
    assert not work.exists()
    assert (run.read_file("outputs/model"), run.read_file("outputs/late")) == (b"weights", b"not yet on record")
    assert "logs/stdout.txt" in run.get_file_names()


def test_the_folder_of_a_run_that_goes_on_is_not_removed(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": FOREVER})
    run = submit(tmp_path)
    with pytest.raises(RunNotEnded, match="working folder is in use"):
        run.clean()
    run.cancel()
    run.wait_for_completion()
    run.clean()
    assert not run.workspace.layout.run(run.id).work.exists()


def test_an_erased_run_is_cleaned_without_coming_back(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "open('outputs/model', 'w').write('weights')\n")
    run.erase()
    run.clean()
    assert run.get_file_names() == []


def test_a_source_is_restored_by_either_order_of_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_to_end(tmp_path, "print(1)\n")
    snapshot_id = str(run.get_snapshot_id())
    monkeypatch.chdir(tmp_path)
    restored = [
        run.restore_snapshot(),
        run.restore_snapshot("one"),
        run.restore_snapshot(path="two"),
        run.restore_snapshot(snapshot_id, "three"),
        run.restore_snapshot(tmp_path / "four", snapshot_id),
    ]
    assert [folder.name for folder in restored] == [snapshot_id, "one", "two", "three", "four"]
    assert {(folder / "train.py").read_text() for folder in restored} == {"print(1)\n"}


def bare_run(folder: Path) -> Run:
    """A run that was put on record without a source."""
    workspace = Workspace.create(folder)
    run_id = encode(new_id(1_700_000_000_000, b"0123456789"))
    workspace.journal.append(run_id, [RunSubmitted(experiment="tests", config={})], expected=0)
    return Run(workspace, run_id)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_run_without_a_source_is_given_one_and_only_one(tmp_path: Path, what: str) -> None:
    run = bare_run(tmp_path / "project")
    with pytest.raises(NothingKnown):
        run.restore_snapshot(path=tmp_path / "none")
    project(tmp_path / "source", {"a.py": "a"})
    taken = run.take_snapshot(tmp_path / "source" / ("a.py" if what == "file" else ""))
    assert run.get_snapshot_id() == taken.snapshot_id
    assert (run.restore_snapshot(path=tmp_path / "again") / "a.py").read_text() == "a"
    with pytest.raises(SnapshotExists, match="has a source already") as caught:
        run.take_snapshot(tmp_path / "source")
    assert caught.value.snapshot_id == taken.snapshot_id  # type: ignore[attr-defined]
    assert onrecord("verify", cwd=run.workspace.path).returncode == 0
    assert onrecord("rebuild", cwd=run.workspace.path).returncode == 0
    assert run.get_snapshot_id() == taken.snapshot_id


def test_the_source_that_a_run_was_given_is_kept_and_sent_with_it(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "project")
    project(tmp_path / "source", {"a.py": "a"})
    taken = run.take_snapshot(tmp_path / "source")
    # What garbage collection, push and verify go by.
    assert references_in(run.workspace.journal).snapshots == {taken.snapshot_id}
