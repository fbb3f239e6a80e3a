"""What a run leaves in its folders is in the history: bursts, growing logs, replaced, removed and odd files."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from face_make import onrecord, project, run_to_end, submit, wait_until

from onrecord import Run, Workspace, settling
from onrecord.capture import Capture
from onrecord.ledger.events import Event, RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.run_errors import UnknownFile
from onrecord.verification import verify

LARGE = 5 << 20


class Desk:
    """A workspace with one run that nobody conducts, and the capture of its folders."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace.create(folder)
        self.run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
        self.workspace.journal.append(self.run_id, [RunSubmitted(experiment="tests", config={})])
        self.work = self.workspace.layout.run(self.run_id).work
        self.outputs = self.work / "outputs"
        for name in ("outputs", "logs"):
            (self.work / name).mkdir(parents=True)
        self.capture = self.begin()

    def begin(self) -> Capture:
        """The capture of another conductor."""
        capture = Capture(self.work, self.workspace.store, self.record)
        capture.already_recorded(self.workspace.query.files(self.run_id))
        return capture

    def record(self, events: Sequence[Event]) -> None:
        self.workspace.journal.append(self.run_id, events)

    @property
    def run(self) -> Run:
        return Run(self.workspace, self.run_id)

    def events(self, kind: str) -> list[str]:
        read = self.workspace.journal.read(self.run_id)
        return [getattr(recorded.event, "name", "") for recorded in read if recorded.type == kind]

    def equals_the_folder(self) -> None:
        """The history holds what the folders hold, byte by byte, and nothing else."""
        found = {str(path.relative_to(self.work)): path for path in self.work.rglob("*") if path.is_file()}
        assert self.run.get_file_names() == sorted(found)
        for name, path in found.items():
            assert self.run.read_file(name) == path.read_bytes()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def age(path: Path, seconds: float = 60) -> None:
    """Have a file been left alone for so long."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is never left alone is taken at every look."""
    monkeypatch.setattr(settling, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr(settling, "_PART_OF_AGE", 0.0)


# ---- looks -------------------------------------------------------------------------------------------


def test_a_file_that_is_being_written_is_left_for_later_and_taken_at_the_end(desk: Desk) -> None:
    (desk.outputs / "new.txt").write_text("half")
    (desk.outputs / "old.txt").write_text("whole")
    age(desk.outputs / "old.txt")
    assert desk.capture.look(final=False) == 1
    assert desk.run.get_file_names() == ["outputs/old.txt"]
    assert desk.capture.unsettled == ["outputs/new.txt"]
    assert desk.capture.look(final=True) == 1
    desk.equals_the_folder()


def test_a_file_whose_time_lies_in_the_future_is_taken_when_it_rests(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SETTLED_SECONDS", 0.05)
    (desk.outputs / "later.txt").write_text("x")
    age(desk.outputs / "later.txt", -10_000)
    assert desk.capture.look(final=False) == 0
    time.sleep(0.06)
    assert desk.capture.look(final=False) == 1
    assert desk.capture.unsettled == []


@pytest.mark.usefixtures("impatient")
def test_a_log_that_is_written_all_the_time_is_visible_and_stored_by_its_growth(desk: Desk) -> None:
    chance, log = random.Random(7), desk.outputs / "train.log"
    states = []
    with log.open("ab", buffering=0) as file:
        for _ in range(50):
            file.write(chance.randbytes(chance.randrange(2_000, 40_000)))
            states.append(log.read_bytes())
            desk.capture.look_at(["outputs/train.log"])
            desk.capture.look_at(desk.capture.unsettled)
    desk.capture.look(final=True)
    versions = desk.run.file_versions("outputs/train.log")
    contents = [desk.workspace.store.read(row.digest) for row in versions]
    assert contents == states
    stored = sum(path.stat().st_size for path in (desk.workspace.layout.objects / "packs").iterdir())
    print(f"{stored / len(states[-1]):.3f} times the log of {len(states[-1])} bytes")
    assert stored <= 1.1 * len(states[-1])
    desk.equals_the_folder()


@pytest.mark.usefixtures("impatient")
def test_what_is_rewritten_again_and_again_is_taken_when_it_rests(desk: Desk) -> None:
    state = desk.outputs / "state.json"
    state.write_bytes(b"a" * 5_000)
    desk.capture.look(final=False)
    desk.capture.look(final=False)
    for number in range(5):
        state.write_bytes(b"%d" % number * (6_000 + number))
        desk.capture.look(final=False)
    assert len(desk.run.file_versions("outputs/state.json")) == 1
    desk.capture.look(final=True)
    desk.equals_the_folder()


def test_another_conductor_goes_on_where_one_died(desk: Desk) -> None:
    log = desk.outputs / "train.log"
    log.write_bytes(os.urandom(50_000))
    (desk.outputs / "gone.txt").write_text("gone")
    (desk.outputs / "odd \udcff\n name").write_text("odd")
    desk.capture.look(final=True)
    with log.open("ab") as file:
        file.write(b"more")
    (desk.outputs / "gone.txt").unlink()
    assert desk.begin().look(final=True) == 3
    assert desk.events("run.file_removed") == ["outputs/gone.txt"]
    assert [row.version for row in desk.run.file_versions("outputs/odd \udcff\n name")] == [1]
    first, second = desk.run.file_versions("outputs/train.log")
    assert desk.workspace.store.place(bytes.fromhex(second.digest)).kept < 200
    assert desk.run.read_file("outputs/train.log", version=1) == log.read_bytes()[: first.size]
    assert desk.run.read_file("outputs/train.log") == log.read_bytes()


def test_what_changed_behind_an_old_time_is_found_by_the_last_look(desk: Desk) -> None:
    path = desk.outputs / "mapped.bin"
    path.write_bytes(b"before")
    age(path, 5)
    desk.capture.look(final=False)
    status = path.stat()
    path.write_bytes(b"after!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    desk.capture.look(final=True)
    desk.equals_the_folder()


def test_a_replaced_file_has_both_contents_in_its_history(desk: Desk) -> None:
    best = desk.outputs / "best.txt"
    for text in ("first", "second"):
        (desk.outputs / "best.tmp").write_text(text)
        (desk.outputs / "best.tmp").rename(best)
        age(best)
        desk.capture.look(final=False)
    desk.capture.look(final=True)
    assert [desk.run.read_file("outputs/best.txt", version=number) for number in (1, 2)] == [b"first", b"second"]
    assert desk.run.get_file_names() == ["outputs/best.txt"]


def test_a_removed_file_is_kept_and_told_apart(desk: Desk) -> None:
    for name in ("keep.txt", "drop.txt", "folder/inner.txt"):
        path = desk.outputs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        age(path)
    desk.capture.look(final=False)
    (desk.outputs / "drop.txt").unlink()
    desk.capture.look_at(["outputs/drop.txt"])
    assert desk.events("run.file_removed") == ["outputs/drop.txt"]
    (desk.outputs / "folder/inner.txt").unlink()
    (desk.outputs / "folder").rmdir()
    desk.capture.look(final=True)
    desk.equals_the_folder()
    rows = {row.name: row for row in desk.workspace.query.files(desk.run_id, removed=True)}
    assert sorted(name for name, row in rows.items() if row.removed_at) == [
        "outputs/drop.txt",
        "outputs/folder/inner.txt",
    ]
    with pytest.raises(UnknownFile, match="was removed") as caught:
        desk.run.read_file("outputs/drop.txt")
    assert "--version 1" in caught.value.next_step
    assert desk.run.read_file("outputs/drop.txt", version=1) == b"drop.txt"
    (desk.outputs / "drop.txt").write_text("drop.txt")
    desk.capture.look(final=True)
    assert len(desk.run.file_versions("outputs/drop.txt")) == 2
    desk.equals_the_folder()


def test_a_working_copy_that_is_lost_as_a_whole_says_nothing_of_removals(desk: Desk) -> None:
    (desk.outputs / "a.txt").write_text("a")
    desk.capture.look(final=True)
    desk.work.rename(desk.work.with_name("elsewhere"))
    desk.capture.look(final=True)
    assert desk.events("run.file_removed") == []


def test_the_streams_that_the_conductor_keeps_are_never_removed(desk: Desk, tmp_path: Path) -> None:
    stream = tmp_path / "stdout.txt"
    stream.write_text("said")
    desk.capture.take([("logs/stdout.txt", stream)])
    desk.begin().look(final=True)
    assert desk.events("run.file_removed") == []
    assert desk.run.read_file("logs/stdout.txt") == b"said"


def test_links_are_followed_to_files_and_their_targets_stay(desk: Desk, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.bin"
    target.write_bytes(os.urandom(LARGE))
    (desk.outputs / "link.bin").symlink_to(target)
    (desk.outputs / "folder").symlink_to(tmp_path)
    (desk.outputs / "dangling").symlink_to(tmp_path / "nothing")
    desk.capture.look(final=True)
    assert desk.run.get_file_names() == ["outputs/link.bin"]
    assert target.stat().st_nlink == 1
    assert desk.capture.large() == []


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_kept(desk: Desk) -> None:
    (desk.outputs / "bad").symlink_to("/proc/self/mem")
    (desk.outputs / "good").write_text("good")
    desk.capture.look(final=True)
    assert desk.run.get_file_names() == ["outputs/good"]
    assert len(desk.capture.problems) == 1
    assert "outputs/bad could not be kept: cannot read" in desk.capture.problems[0]


def test_a_folder_that_is_named_twice_is_recorded_once(desk: Desk) -> None:
    (desk.outputs / "inner").mkdir()
    (desk.outputs / "inner/a.txt").write_text("a")
    Capture(desk.work, desk.workspace.store, desk.record, ("outputs", "logs", "outputs/inner")).look(final=True)
    assert len(desk.run.file_versions("outputs/inner/a.txt")) == 1


def test_a_sparse_file_is_kept_without_its_size(desk: Desk) -> None:
    with (desk.outputs / "sparse.bin").open("wb") as file:
        file.truncate(200 << 20)
    desk.capture.look(final=True)
    [row] = desk.run.file_versions("outputs/sparse.bin")
    assert row.size == 200 << 20
    loose = desk.workspace.layout.objects / "loose" / row.digest
    assert loose.stat().st_blocks * 512 < 1 << 20


def test_a_look_at_what_is_known_reads_no_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (desk.outputs / f"{number}.txt").write_text(str(number))
        age(desk.outputs / f"{number}.txt")
    assert desk.capture.look(final=False) == 300
    monkeypatch.setattr("onrecord.capture.collect", lambda *_: pytest.fail("it read what it knows"))
    assert desk.capture.look(final=False) == 0
    assert desk.capture.look_at(["outputs"]) == 0
    assert desk.capture.look(final=True) == 0


# ---- whole runs --------------------------------------------------------------------------------------


BURST = """
import os, sys
from pathlib import Path
for number in range({count}):
    folder = Path(f"outputs/{{number % 50}}")
    folder.mkdir(exist_ok=True)
    (folder / f"{{number}}.txt").write_text(f"content of {{number}}\\n")
    if number % 7 == 0:
        (folder / f"{{number}}.txt").rename(folder / f"renamed {{number}}.txt")
{then}
"""


def burst(folder: Path, count: int, then: str) -> Run:
    run = run_to_end(folder, BURST.format(count=count, then=then))
    expected = {
        f"outputs/{number % 50}/{'renamed ' * (number % 7 == 0)}{number}.txt": number for number in range(count)
    }
    rows = {row.name: row for row in run.workspace.query.files(run.id) if row.name.startswith("outputs/")}
    assert rows.keys() == expected.keys()
    for name in random.Random(3).sample(sorted(rows), 200):
        assert run.read_file(name) == f"content of {expected[name]}\n".encode()
    assert list(run.workspace.store.verify(row.digest for row in rows.values())) == []
    assert len(list((run.workspace.layout.objects / "packs").iterdir())) < 60
    return run


def test_a_burst_of_5000_files_is_captured_whole_at_the_end(tmp_path: Path) -> None:
    assert burst(tmp_path, 5_000, "").get_warnings() == []


def test_a_burst_is_captured_whole_while_the_script_goes_on(tmp_path: Path) -> None:
    run = burst(tmp_path, 3_000, "import time; time.sleep(5)")
    recorded = [one.at for one in run.workspace.journal.read(run.id) if one.type == "run.file_recorded"]
    ended = next(one.at for one in run.workspace.journal.read(run.id) if one.type == "run.finalizing")
    assert sum(at < ended for at in recorded) > 2_900


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_burst_of_50000_files_is_captured_whole(tmp_path: Path) -> None:
    burst(tmp_path, 50_000, "import time; time.sleep(10)")


OUTPUTS = """
import os
from pathlib import Path
outputs = Path("outputs")
(outputs / "checkpoint.bin").write_bytes(os.urandom({large}))
(outputs / "small.txt").write_text("small")
os.symlink(os.environ["HOME"] + "/target", outputs / "link.bin")
(outputs / "twice.bin").write_bytes(b"t" * {large})
os.link(outputs / "twice.bin", outputs / "again.bin")
with open("logs/long.log", "wb") as log:
    for number in range({large} // 100):
        log.write(b"%099d\\n" % number)
"""


def test_a_finished_run_holds_a_large_output_once_on_the_disk(tmp_path: Path) -> None:
    target = Path(os.environ["HOME"]) / "target"
    target.write_bytes(os.urandom(LARGE))
    run = run_to_end(tmp_path, OUTPUTS.format(large=LARGE))
    outputs = run.workspace.layout.run(run.id).work / "outputs"
    names = [row.name for row in run.workspace.query.files(run.id)]
    assert {"outputs/checkpoint.bin", "outputs/again.bin", "outputs/link.bin", "logs/long.log"} <= set(names)
    kept = {path.name for path in outputs.iterdir()}
    # Where blocks can be shared, the files stay.
    if kept != {"small.txt", "link.bin"}:
        assert (outputs / "checkpoint.bin").stat().st_blocks
    assert target.exists()
    assert len(run.read_file("outputs/twice.bin")) == len(run.read_file("logs/long.log")) + LARGE % 100 == LARGE
    assert run.workspace.query.files(run.id, removed=True) == run.workspace.query.files(run.id)
    types = [one.type for one in run.workspace.journal.read(run.id)]
    assert types.count("run.working_copy_released") == 1
    assert verify(run.workspace).findings == []
    assert run.get_warnings() == ["a link was kept as the file that it leads to: outputs/link.bin"]


def test_a_small_run_gives_nothing_up(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "open('outputs/a.txt', 'w').write('a')")
    assert (run.workspace.layout.run(run.id).work / "outputs/a.txt").read_text() == "a"
    assert "run.working_copy_released" not in [one.type for one in run.workspace.journal.read(run.id)]


LIVE = """
import os, sys, time
from pathlib import Path
Path("outputs/early.txt").write_text("early")
Path("outputs/seen then removed.txt").write_text("seen")
new = Path("outputs/new"); new.mkdir(); (new / "inner.txt").write_text("inner")
os.mkdir("staged"); Path("staged/came.txt").write_text("came"); os.rename("staged", "outputs/staged")
while not os.path.exists(sys.argv[1] + "/remove"):
    time.sleep(0.02)
os.remove("outputs/seen then removed.txt")
while not os.path.exists(sys.argv[1] + "/end"):
    time.sleep(0.02)
"""


def test_files_appear_in_the_history_and_go_from_its_list_while_the_script_runs(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    source = project(tmp_path / "source", {"train.py": LIVE})
    run = submit(source, arguments=[str(outside)])
    names = ("early.txt", "seen then removed.txt", "new/inner.txt", "staged/came.txt")
    wait_until(lambda: {f"outputs/{name}" for name in names} <= set(run.get_file_names()))
    (outside / "remove").touch()
    wait_until(lambda: "outputs/seen then removed.txt" not in run.get_file_names())
    assert not run.has_ended()
    (outside / "end").touch()
    run.wait_for_completion()
    assert run.read_file("outputs/seen then removed.txt", version=1) == b"seen"


def test_the_command_lists_removed_files_and_versions_and_fetches_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for text in ("one", "two"):
        (desk.outputs / "model.txt").write_text(text)
        (desk.outputs / "gone.txt").write_text("gone")
        desk.capture.look(final=True)
    (desk.outputs / "gone.txt").unlink()
    desk.capture.look(final=True)
    run = desk.run_id

    def said(*words: str) -> str:
        done = onrecord(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    assert "gone" not in said("files", run)
    assert "removed 2" in said("files", run, "--all")
    rows = json.loads(said("files", run, "--all", "--json"))
    assert [(row["name"], bool(row["removed_at"])) for row in rows] == [
        ("outputs/gone.txt", True),
        ("outputs/model.txt", False),
    ]
    versions = json.loads(said("files", run, "--versions", "outputs/model.txt", "--json"))
    assert [row["version"] for row in versions] == [1, 2]
    assert len(said("files", run, "--versions", "outputs/model.txt").splitlines()) == 2
    assert said("get", run, "outputs/model.txt", "-", "--version", "1") == "one"
    assert said("get", run, "outputs/gone.txt", "-", "--version", "1") == "gone"
    for words in (("outputs/gone.txt",), ("outputs/model.txt", "--version", "3"), ("no.txt", "--version", "1")):
        done = onrecord("get", run, *words, "-", cwd=tmp_path)
        assert done.returncode != 0
        assert b"onrecord" in done.stderr
        assert done.stdout == b""
    assert onrecord("files", run, "--versions", "no.txt", cwd=tmp_path).returncode != 0
