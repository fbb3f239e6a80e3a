"""Checkpoints, receipts and proofs on the command line: made in a workspace, checked without one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onrecord import Workspace
from onrecord.ledger.events import FileRecorded, RunCompleted, RunRunning, RunSubmitted
from onrecord.ledger.ids import encode, new_id


def _can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") is not None


Command = Callable[..., Any]
FIRST, SECOND, OPEN = (encode(new_id(1_700_000_000_000 + number, bytes(10))) for number in range(3))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's state directory of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "onrecord"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A workspace with one run on record."""
    folder = tmp_path / "project"
    add_run(Workspace.create(folder), FIRST)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that is in no workspace, where an outsider checks things."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def add_run(workspace: Workspace, run_id: str) -> None:
    submitted = RunSubmitted(experiment="ridge", config={"script": "train.py"}, name="first")
    workspace.journal.append(run_id, [submitted, RunRunning(started_at=5), RunCompleted()], seal=True)
    workspace.close()


def document(said: Any) -> dict[str, Any]:
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_a_checkpoint_is_three_lines_and_verify_knows_later_what_it_named(
    command: Command, project: Path, elsewhere: Path
) -> None:
    said = command("checkpoint", cwd=project)
    assert said.code == 0
    origin, size, _ = said.out.decode().splitlines()
    assert (origin[:9], size) == ("onrecord/", "4")
    kept = elsewhere / "kept"
    kept.write_bytes(said.out)
    add_run(Workspace(project), SECOND)
    found = document(command("verify", "--since", str(kept), "--json", cwd=project))
    assert (found["ok"], found["origin"]) == (True, origin)
    assert [each["size"] for each in found["compared"]] == [4, 4]
    text = command("verify", "--since", str(kept), cwd=project).out.decode()
    assert f"extends  the checkpoint in {kept}: 4 events" in text


def test_verify_says_that_history_was_truncated_and_how_to_go_on_from_a_backup(
    command: Command, project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "backup")
    add_run(Workspace(project), SECOND)
    assert command("verify", cwd=project).code == 0
    shutil.rmtree(project)
    shutil.copytree(tmp_path / "backup", project)
    said = command("verify", cwd=project)
    assert said.code == 1
    assert b"history was truncated: the checkpoint names 8 events" in said.out
    assert "onrecord checkpoint --accept" in said.err
    for words in (["checkpoint"], ["receipt", FIRST]):
        refused = command(*words, cwd=project)
        assert (refused.code, refused.out) == (1, b"")
        assert "history was truncated" in refused.err
    warned = command("rebuild", cwd=project)
    assert warned.code == 0
    assert "history was truncated" in warned.err
    assert command("checkpoint", "--accept", cwd=project).code == 0
    assert command("verify", cwd=project).code == 0
    assert "truncated" not in command("rebuild", cwd=project).err


def test_a_key_signs_checkpoints_that_others_check(command: Command, project: Path, elsewhere: Path) -> None:
    made = command("keygen", str(project / "key"), "--name", "ada/lab", cwd=elsewhere)
    public = made.out.decode().strip()
    assert public.startswith("ada/lab+")
    assert (project / "key").stat().st_mode & 0o777 == 0o600
    checkpoint = str(elsewhere / "checkpoint")
    assert command("checkpoint", "--sign", "key", "-o", checkpoint, cwd=project).code == 0
    (elsewhere / "key.pub").write_text(public + "\n")
    for key in (public, str(elsewhere / "key.pub")):
        found = document(command("check-checkpoint", checkpoint, "--key", key, "--json", cwd=elsewhere))
        assert (found["size"], found["signed_by"]) == (4, ["ada/lab"])
    assert b"signed  by ada/lab" in command("check-checkpoint", checkpoint, "--key", public, cwd=elsewhere).out
    other = command("keygen", str(elsewhere / "other"), "--name", "bob", "--json", cwd=elsewhere)
    refused = command("check-checkpoint", checkpoint, "--key", document(other)["public_key"], cwd=elsewhere)
    assert refused.code == 1
    assert "not signed by a key that you trust" in refused.err
    assert b"no signature was checked" in command("check-checkpoint", checkpoint, cwd=elsewhere).out


def test_a_key_is_named_after_the_ledger_and_never_written_over(
    command: Command, project: Path, elsewhere: Path
) -> None:
    origin = command("checkpoint", cwd=project).out.decode().splitlines()[0]
    assert command("keygen", "key", cwd=project).out.decode().startswith(f"{origin}+")
    secret = (project / "key").read_text()
    refused = command("keygen", "key", cwd=project)
    assert (refused.code, (project / "key").read_text()) == (1, secret)
    assert "exists already" in refused.err
    assert command("keygen", "key", cwd=elsewhere).code == 2
    assert command("keygen", "key", "--name", "a b", cwd=elsewhere).code == 2


def test_a_receipt_is_checked_without_the_workspace(
    command: Command, project: Path, elsewhere: Path, tmp_path: Path
) -> None:
    for words in ([], ["--full"]):
        assert command("receipt", FIRST[:20], "-o", str(elsewhere / "receipt"), *words, cwd=project).code == 0
        project.rename(tmp_path / "away")
        found = document(command("check-receipt", "receipt", "--json", cwd=elsewhere))
        assert (found["run_id"], found["experiment"], found["name"]) == (FIRST, "ridge", "first")
        assert (found["status"], found["exit_code"], found["events"]) == ("Completed", 0, 3)
        assert (found["full"], found["checkpoint"]["size"]) == (bool(words), 4)
        said = command("check-receipt", "receipt", cwd=elsewhere)
        assert b"confirmed" in said.out
        assert "nothing vouches for its checkpoint" in said.err
        (tmp_path / "away").rename(project)


def test_a_forged_receipt_is_refused(command: Command, project: Path, elsewhere: Path) -> None:
    text = command("receipt", FIRST, cwd=project).out.decode()
    (elsewhere / "receipt").write_text(text.replace('"exit_code":0', '"exit_code":1'))
    refused = command("check-receipt", "receipt", cwd=elsewhere)
    assert (refused.code, refused.out) == (1, b"")
    assert "does not prove what it says" in refused.err
    (elsewhere / "receipt").write_bytes(b"\xff")
    assert "not text in UTF-8" in command("check-receipt", "receipt", cwd=elsewhere).err


@pytest.mark.parametrize(
    "words",
    [
        ("check-receipt", "missing"),
        ("check-proof", "missing"),
        ("check-checkpoint", "missing"),
        ("prove", "missing"),
        ("verify", "--since", "missing"),
        ("check-receipt", "there", "--checkpoint", "missing"),
        ("check-receipt", "there", "--proof", "missing"),
        ("check-receipt", "there", "--allowed-signers", "missing"),
        ("checkpoint", "--sign", "missing"),
        ("import", "missing"),
    ],
)
def test_a_file_that_is_not_there_is_a_mistake_in_the_command_line(
    command: Command, project: Path, words: tuple[str, ...]
) -> None:
    (project / "there").write_text("")
    refused = command(*words, cwd=project)
    assert (refused.code, refused.out) == (2, b"")
    assert "does not exist" in refused.err


def test_a_run_that_goes_on_has_no_receipt(command: Command, project: Path) -> None:
    book = Workspace(project).journal
    book.append(FIRST, [], expected=None)
    book.append(OPEN, [RunSubmitted(experiment="open", config={})])
    book.close()
    from onrecord.ledger.errors import RunNotSealed
    from onrecord.ledger.history import History

    # Through the command, recovery would end a run that nobody conducts.
    with pytest.raises(RunNotSealed, match="no seal yet"):
        History(Workspace(project).journal).receipt(OPEN)


def test_a_receipt_is_joined_to_a_checkpoint_that_its_holder_kept(
    command: Command, project: Path, elsewhere: Path
) -> None:
    old, new, proof, receipt = (str(elsewhere / name) for name in ("old", "new", "proof", "receipt"))
    assert command("checkpoint", "-o", old, cwd=project).code == 0
    add_run(Workspace(project), SECOND)
    assert command("checkpoint", "-o", new, cwd=project).code == 0
    assert command("receipt", SECOND, "-o", receipt, cwd=project).code == 0
    assert command("prove", old, new, "-o", proof, cwd=project).code == 0
    assert Path(proof).read_bytes() == command("prove", old, cwd=project).out
    assert document(command("prove", old, "--json", cwd=project))["old_size"] == 4
    found = document(command("check-proof", proof, "--checkpoint", old, "--json", cwd=elsewhere))
    assert (found["old_size"], found["new"]["size"]) == (4, 8)
    assert b"extends" in command("check-proof", proof, cwd=elsewhere).out
    joined = ["check-receipt", receipt, "--checkpoint", old]
    assert command(*joined, cwd=elsewhere).code == 1
    assert document(command(*joined, "--proof", proof, "--json", cwd=elsewhere))["joined_to"]["size"] == 4
    assert b"joined to" in command(*joined, "--proof", proof, cwd=elsewhere).out
    refused = command("prove", new, old, cwd=project)
    assert refused.code == 1
    assert "truncated" in refused.err


def test_a_proof_from_a_checkpoint_of_another_history_is_not_made(
    command: Command, project: Path, elsewhere: Path
) -> None:
    add_run(Workspace.create(elsewhere), SECOND)
    assert command("checkpoint", "-o", "../other", cwd=elsewhere).code == 0
    refused = command("prove", "../other", cwd=project)
    assert (refused.code, refused.out) == (1, b"")
    assert "two different ledgers" in refused.err


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen here")
def test_an_ssh_key_signs_a_file_that_ssh_keygen_itself_and_we_check(
    command: Command, project: Path, elsewhere: Path
) -> None:
    for name in ("key", "stranger"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(elsewhere / name)]
        subprocess.run(make, check=True)
    for name in ("key", "stranger"):
        public = (elsewhere / f"{name}.pub").read_text()
        (elsewhere / f"{name}.allowed").write_text(f"ada@example.org {public}")
    for kind, words in (("checkpoint", []), ("receipt", [FIRST])):
        path = str(elsewhere / kind)
        signed = command(kind, *words, "-o", path, "--ssh-key", str(elsewhere / "key"), cwd=project)
        assert signed.code == 0, signed.err
        with (elsewhere / kind).open("rb") as data:
            check = ["ssh-keygen", "-Y", "verify", "-n", "onrecord", "-I", "ada@example.org", "-s", f"{path}.sig"]
            subprocess.run([*check, "-f", str(elsewhere / "key.allowed")], stdin=data, check=True, capture_output=True)
        found = document(command(f"check-{kind}", path, "--allowed-signers", "key.allowed", "--json", cwd=elsewhere))
        assert found["ssh_signed_by"] == "ada@example.org"
        refused = command(f"check-{kind}", path, "--allowed-signers", "stranger.allowed", cwd=elsewhere)
        assert refused.code == 1
        assert "is not signed by anyone in" in refused.err
        whole = (elsewhere / kind).read_bytes()
        (elsewhere / kind).write_bytes(whole.replace(b"\n4\n", b"\n5\n"))
        refused = command(f"check-{kind}", path, "--allowed-signers", "key.allowed", cwd=elsewhere)
        assert "is not signed by anyone in" in refused.err
        (elsewhere / kind).write_bytes(whole)
        (elsewhere / f"{kind}.sig").unlink()
        refused = command(f"check-{kind}", path, "--allowed-signers", "key.allowed", cwd=elsewhere)
        assert "no SSH signature" in refused.err
    assert command("checkpoint", "--ssh-key", str(elsewhere / "key"), cwd=project).code == 2
    refused = command("checkpoint", "-o", "c", "--ssh-key", "missing", cwd=project)
    assert refused.code == 1
    assert "c could not be signed" in refused.err
    # Nothing that could be taken for a signed one, and what was there before stays.
    assert [path.name for path in project.iterdir()] == [".onrecord"]
    assert command("checkpoint", "-o", "c", "--ssh-key", str(elsewhere / "key"), cwd=project).code == 0
    before = {path: path.read_bytes() for path in project.glob("c*")}
    assert len(before) == 2
    assert command("checkpoint", "-o", "c", "--ssh-key", "missing", cwd=project).code == 1
    assert {path: path.read_bytes() for path in project.glob("c*")} == before


def test_verify_counts_one_thing_and_many_in_words(command: Command, project: Path) -> None:
    workspace = Workspace(project)
    said = command("verify", cwd=project)
    assert b"intact  4 events of 1 run, 0 objects; root" in said.out
    workspace.journal.append(OPEN, [RunSubmitted(experiment="ridge", config={}, snapshot_id="ab" * 32)])
    workspace.close()
    said = command("verify", cwd=project)
    assert said.code == 1
    assert "1 finding in 5 events of 2 runs" in said.err
    assert b"\\n" not in said.out


@pytest.mark.parametrize(
    "words", [("keygen", "a/key", "--name", "x"), ("receipt", FIRST, "-o", "a/r"), ("export", "a/x")]
)
def test_a_missing_folder_is_told_and_not_made(command: Command, project: Path, words: tuple[str, ...]) -> None:
    refused = command(*words, cwd=project)
    assert refused.code == 1
    assert "No such file or directory" in refused.err
    assert not (project / "a").exists()


@pytest.mark.skipif(not _can_mount(), reason="needs to mount a folder read-only")
def test_a_workspace_on_a_read_only_mount_is_verified(project: Path) -> None:
    workspace = Workspace(project)
    digest = workspace.store.put_bytes(b"an object").digest
    workspace.journal.append(OPEN, [RunSubmitted(experiment="ridge", config={})])
    workspace.journal.append(OPEN, [FileRecorded(name="outputs/a", digest=digest, size=9)])
    workspace.close()
    shell = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && exec "$2" -m onrecord verify --json'
    script = ["unshare", "-m", "sh", "-c", shell]
    done = subprocess.run([*script, "sh", str(project), sys.executable], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["findings"], found["objects"], found["events"]) == (0, [], 1, 6), done.stderr


def test_a_checkpoint_in_git_is_compared_by_verify(command: Command, project: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    found = document(command("checkpoint", "--git", "--json", cwd=project))
    assert len(found["commit"]) >= 40
    assert found["note"].startswith("onrecord/")
    names = [each["what"] for each in document(command("verify", "--json", cwd=project))["compared"]]
    assert "the checkpoint in refs/onrecord/checkpoints" in names


def test_an_empty_ledger_has_no_checkpoint_and_nothing_is_wrong_with_it(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    refused = command("checkpoint", cwd=tmp_path)
    assert (refused.code, refused.out) == (1, b"")
    assert "no event yet" in refused.err
    assert document(command("verify", "--json", cwd=tmp_path))["origin"] is None


def test_a_run_keeps_its_checkpoint_and_prints_it_where_that_is_asked_for(tmp_path: Path, state: Path) -> None:
    from face_make import clean_environment, onrecord, wait_until
    from face_make import project as make

    folder = make(tmp_path / "fresh", {"train.py": "print('x')\n"})
    environment = clean_environment(XDG_STATE_HOME=str(state.parent))
    said = onrecord("run", "--checkpoint", "train.py", cwd=folder, env=environment)
    assert (said.returncode, said.stdout) == (0, b"x\n")
    assert b"checkpoint: " in said.stderr
    (kept,) = wait_until(lambda: list((state / "checkpoints").glob("?" * 32)))
    assert f"onrecord/{kept.name}" in kept.read_text()
