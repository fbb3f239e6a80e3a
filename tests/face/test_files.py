"""Files given to a run and read back: from the script, from elsewhere, late, by hostile names, over interruptions."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, project, run_to_end, wait_until
from recorded_make import killed_at

from onrecord import Run, Workspace
from onrecord.collecting import collect
from onrecord.downloading import BadDestination
from onrecord.errors import OnRecordError
from onrecord.file_names import BadFileName
from onrecord.ledger.events import FileRecorded, FileRemoved, RunCompleted, RunRunning, RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.ledger.read_models import differences
from onrecord.offline_run import OfflineRun
from onrecord.run_errors import BadMode, UnequalLists, UnknownFile
from onrecord.snapshot.errors import ObjectCorrupt
from onrecord.snapshot.partial import partial_of, remove_leftovers
from onrecord.uploading import BadUpload
from onrecord.verification import verify

LARGE = 5 << 20


def ended_run(folder: Path) -> Run:
    """A run without files that has ended, on record only."""
    found = Workspace.create(folder)
    run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    found.journal.append(run_id, [RunSubmitted(experiment="exp", config={}), RunRunning(), RunCompleted()], seal=True)
    return Run(found, run_id)


def contents(run: Run) -> dict[str, bytes]:
    return {
        name: run.read_file(name) for name in run.get_file_names() if not name.startswith(("logs/std", "onrecord/"))
    }


# ---- giving ------------------------------------------------------------------------------------------


def test_a_script_gives_files_that_its_outputs_folder_holds_too(tmp_path: Path) -> None:
    run = run_to_end(
        tmp_path,
        """
import io, pathlib
from onrecord import Run
run = Run.get_context()
pathlib.Path("outputs/both.txt").write_text("both")
run.upload_file("outputs/both.txt", "outputs/both.txt")
pathlib.Path("outputs/gone.txt").write_text("gone soon")
run.upload_file("outputs/gone.txt", "outputs/gone.txt")
pathlib.Path("outputs/gone.txt").unlink()
run.upload_file("results/far.bin", io.BytesIO(b"far"))
run.upload_file("results/far.bin", io.BytesIO(b"farther"))
run.upload_file("results/far.bin", io.BytesIO(b"farther"))
assert run.open("results/far.bin").read() == b"farther"
""",
    )
    assert run.status == "Completed", run.get_details()
    assert contents(run) == {
        "outputs/both.txt": b"both",
        "outputs/gone.txt": b"gone soon",
        "results/far.bin": b"farther",
    }
    assert [row.version for row in run.file_versions("results/far.bin")] == [1, 2]
    assert len(run.file_versions("outputs/both.txt")) == 1
    # A fact after the end, from another process than the script's.
    run.upload_file("late/report.md", io.BytesIO(b"# late"))
    assert run.read_file("late/report.md") == b"# late"
    assert verify(run.workspace).findings == []
    assert list(differences(run.workspace.journal)) == []


def test_the_same_content_is_no_new_version_whoever_records_it(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    row = run.upload_file("outputs/a", io.BytesIO(b"a"))
    events = run.workspace.journal.size()
    assert run.upload_file("outputs/a", io.BytesIO(b"a")) == row
    assert run.workspace.journal.size() == events
    append = run.workspace.journal.append
    append(run.id, [FileRecorded(name="outputs/a", digest=row.digest, size=1)])
    assert run.file_versions("outputs/a") == [row]
    # What was given is not missed in the folder; what the folder lost is there again once it is given.
    append(run.id, [FileRemoved(name="outputs/a")])
    assert run.get_file_names() == ["outputs/a"]
    append(run.id, [FileRecorded(name="outputs/b", digest=row.digest, size=1), FileRemoved(name="outputs/b")])
    assert run.get_file_names() == ["outputs/a"]
    assert run.upload_file("outputs/b", io.BytesIO(b"a")).version == 2
    assert run.get_file_names() == ["outputs/a", "outputs/b"]
    live = run.workspace.query.files(run.id)
    run.workspace.journal.rebuild()
    assert run.workspace.query.files(run.id) == live


@pytest.mark.parametrize("size", [0, 1, LARGE])
def test_contents_of_any_size_come_back_from_paths_and_streams(tmp_path: Path, size: int) -> None:
    run, data = ended_run(tmp_path), os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "link").symlink_to("data")
    with (tmp_path / "data").open("rb") as stream:
        rows = run.upload_files(["p", "s", "l"], [tmp_path / "data", stream, str(tmp_path / "link")])
    assert [(row.size, row.digest) for row in rows] == [(size, rows[0].digest)] * 3
    assert run.read_file("s") == data
    with run.open("p") as file:
        assert (file.read(), file.seek(0), file.read(1), file.seek(-1 if size else 0, 2)) == (
            data, 0, data[:1], max(size - 1, 0),
        )  # fmt: skip
        assert file.read() == data[-1:]
    assert list(run.workspace.layout.objects.joinpath("tmp").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "", "/etc/passwd", "../up", "a/../../up", "outputs/", "a\0b", "a//b", "./a", "x" * 256, "y/" * 2500 + "z",
        "é" * 128, b"bytes", 7, None, "onrecord/git.patch", "logs/stdout.txt",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused_with_what_is_wrong(tmp_path: Path, name: Any) -> None:
    run = ended_run(tmp_path)
    before = run.workspace.journal.size()
    with pytest.raises(BadFileName) as refused:
        run.upload_file(name, io.BytesIO(b""))
    assert refused.value.name == name
    assert refused.value.why
    assert len(str(refused.value)) < 600
    assert pickle.loads(pickle.dumps(refused.value)).why == refused.value.why  # noqa: S301
    assert run.workspace.journal.size() == before


def test_a_name_that_is_not_unicode_is_kept_as_files_of_the_folder_are(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    folder = tmp_path / "given"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/a\xffb")).write_bytes(b"odd")
    rows = run.upload_folder("in", folder)
    assert [row.name for row in rows] == ["in/a\\udcffb"]
    assert run.read_file("in/a\\udcffb") == b"odd"


class Failing(io.RawIOBase):
    """A stream that breaks after so many bytes."""

    def __init__(self, after: int) -> None:
        self.left = after

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            raise ConnectionResetError("the other side went away")
        self.left -= size
        return os.urandom(size)


@pytest.mark.parametrize("after", [1, LARGE])
def test_a_stream_that_fails_half_way_leaves_nothing(tmp_path: Path, after: int) -> None:
    run = ended_run(tmp_path)
    before = run.workspace.journal.size()
    with pytest.raises(ConnectionResetError):
        run.upload_files(["whole", "half"], [io.BytesIO(b"whole"), Failing(after)])
    assert run.get_file_names() == []
    assert run.workspace.journal.size() == before
    assert collect(run.workspace, grace_seconds=0).needed_objects == 0
    assert sorted(path.name for path in run.workspace.layout.root.iterdir() if "tmp" in path.name) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (io.StringIO("text"), "stream of text"),
        (42, "neither a path nor a stream"),
        ("no-such-file.txt", "there is no file no-such-file.txt"),
        ("a-folder", "is a folder"),
        ("a-pipe", "no regular file"),
        (".onrecord/ledger.db", "belongs to the workspace"),
        ("the-ledger", "belongs to the workspace"),
        (".onrecord/objects/index.db", "belongs to the workspace"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, says: str
) -> None:
    run = ended_run(tmp_path)
    run.upload_file("first", io.BytesIO(b"1"))
    monkeypatch.chdir(tmp_path)
    Path("a-folder").mkdir()
    os.mkfifo("a-pipe")
    os.link(".onrecord/ledger.db", "the-ledger")
    with pytest.raises(BadUpload, match="cannot store 'x'") as refused:
        run.upload_files(["y", "x"], [io.BytesIO(b"y"), given])
    assert says in refused.value.why
    assert run.get_file_names() == ["first"]


def test_a_missing_file_is_refused_with_near_names(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    (tmp_path / "model.pkl").write_bytes(b"m")
    with pytest.raises(BadUpload, match=r"near ones: model\.pkl"):
        run.upload_file("m", tmp_path / "modle.pkl")


def test_lists_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    with pytest.raises(TypeError, match="2 names and 1 paths") as refused:
        run.upload_files(["a", "b"], [io.BytesIO(b"a")])
    assert isinstance(refused.value, OnRecordError)
    with pytest.raises(UnequalLists, match="a list is needed"):
        run.upload_files("ab", ["a", "b"])
    with pytest.raises(BadUpload, match="named twice"):
        run.upload_files(["a", "a"], [io.BytesIO(b"1"), io.BytesIO(b"2")])
    assert run.upload_files([], []) == []
    assert run.get_file_names() == []


def test_a_folder_comes_with_all_below_it_but_the_workspace_itself(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    project(tmp_path, {"a.txt": "a", "deep/er/b.txt": "b", "deep/c": ""})
    (tmp_path / "elsewhere").symlink_to("/usr")
    (tmp_path / "linked").symlink_to("a.txt")
    rows = run.upload_folder("all/", tmp_path)
    assert [row.name for row in rows] == ["all/a.txt", "all/linked", "all/deep/c", "all/deep/er/b.txt"]
    for wrong in ("a.txt", "nothing"):
        with pytest.raises(BadUpload, match="is no folder"):
            run.upload_folder("x", tmp_path / wrong)
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(BadUpload, match="cannot store 'x/broken'"):
        run.upload_folder("x", tmp_path)


def test_an_erased_run_takes_no_files(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    run.erase(files=True)
    with pytest.raises(BadUpload, match="takes no files"):
        run.upload_file("a", io.BytesIO(b"a"))


def give_many(folder: Path, run_id: str, who: int) -> None:
    run = Workspace(folder).get_run(run_id)
    for number in range(20):
        run.upload_file("shared", io.BytesIO(f"{number % 3}".encode()))
        run.upload_file(f"own/{who}-{number}", io.BytesIO(f"{who} {number}".encode()))


def test_writers_beside_each_other_lose_nothing(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    several = multiprocessing.get_context("spawn")
    givers = [several.Process(target=give_many, args=(tmp_path, run.id, who)) for who in range(3)]
    for giver in givers:
        giver.start()
    for giver in givers:
        giver.join()
    assert [giver.exitcode for giver in givers] == [0, 0, 0]
    assert len(run.get_file_names()) == 61
    versions = run.file_versions("shared")
    assert all(one.digest != other.digest for one, other in pairwise(versions))
    assert verify(run.workspace).findings == []


@pytest.mark.parametrize("line", [3, 12, 20, 26, 32, 40])
def test_a_killed_upload_has_happened_as_a_whole_or_not_at_all(tmp_path: Path, line: int) -> None:
    run = ended_run(tmp_path)
    run.workspace.close()

    def give() -> None:
        Workspace(tmp_path).get_run(run.id).upload_files(["a", "b"], [io.BytesIO(b"a"), io.BytesIO(os.urandom(LARGE))])

    killed = killed_at(line, ("onrecord/uploading.py", "ledger/append.py"), give)
    assert run.get_file_names() in (([], ["a", "b"]) if killed else (["a", "b"],))
    assert verify(run.workspace).findings == []
    give()
    assert run.get_file_names() == ["a", "b"]


# ---- taking ------------------------------------------------------------------------------------------


def filled(folder: Path) -> Run:
    run = ended_run(folder)
    names = ["logs/a.log", "logs/deep/b.log", "outputs/model.pkl", "outputs/models.txt"]
    run.upload_files(names, [io.BytesIO(name.encode()) for name in names])
    return run


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_chosen_by_how_their_names_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = filled(tmp_path)
    to = tmp_path / "to"
    paths = run.download_files("outputs/model", to)
    assert paths == [to / "outputs/model.pkl", to / "outputs/models.txt"]
    assert paths[0].read_bytes() == b"outputs/model.pkl"
    assert run.download_files("logs/", to / "short", append_prefix=False) == [
        to / "short/a.log", to / "short/deep/b.log",
    ]  # fmt: skip
    assert run.download_files("outputs", to / "p", output_paths=["x", "deep/y"]) == [to / "p/x", to / "p/deep/y"]
    monkeypatch.chdir(tmp_path)
    assert below(tmp_path / run.get_all_logs()[0].parts[0]) == ["logs/a.log", "logs/deep/b.log"]
    assert [str(path) for path in run.get_all_logs("elsewhere")] == [
        "elsewhere/logs/a.log", "elsewhere/logs/deep/b.log",
    ]  # fmt: skip
    assert len(run.download_files()) == 4
    with pytest.raises(UnknownFile, match="begins with 'outpust'") as unknown:
        run.download_files("outpust")
    assert "outputs/model.pkl" in unknown.value.candidates
    with pytest.raises(UnequalLists, match="2 files and 1 output_paths"):
        run.download_files("logs/", output_paths=["one"])
    with pytest.raises(BadDestination, match="two files would be written"):
        run.download_files("logs/", to, output_paths=["one", "one"])


def test_a_file_that_is_not_there_names_near_ones(tmp_path: Path) -> None:
    run = filled(tmp_path)
    with pytest.raises(UnknownFile, match=r"near ones: outputs/model\.pkl"):
        run.download_file("outputs/model.pk", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(UnknownFile):
        run.open("nothing")
    with pytest.raises(BadMode, match="cannot be opened with mode 'w'"):
        run.open("outputs/model.pkl", "w")  # type: ignore[call-overload]


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    run = filled(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadDestination, match="cannot write"):
        run.download_file("logs/a.log", tmp_path / "file" / "below.txt")
    (tmp_path / "to" / "logs" / "a.log").mkdir(parents=True)
    with pytest.raises(BadDestination, match="cannot write"):
        run.download_files("logs/a.log", tmp_path / "to")
    run.upload_file("logs", io.BytesIO(b"once a file"))
    with pytest.raises(BadDestination, match="would be a file, and the folder of"):
        run.download_files("logs", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_name_from_elsewhere_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    run = filled(tmp_path)
    digest = run.workspace.query.files(run.id)[0].digest
    run.workspace.journal.append(run.id, [FileRecorded(name="../../evil", digest=digest, size=10)])
    with pytest.raises(BadFileName, match="evil"):
        run.download_files("..", tmp_path / "to" / "deep")
    assert below(tmp_path / "to") == []


def test_a_long_name_of_many_bytes_can_be_written(tmp_path: Path) -> None:
    run, name = ended_run(tmp_path), "漢" * 85
    run.upload_file(name, io.BytesIO(b"long"))
    assert run.download_file(name, tmp_path / "to/").read_bytes() == b"long"


DOWNLOADER = """
import sys
from pathlib import Path
from onrecord import Workspace
print("ready", flush=True)
Workspace(Path(sys.argv[1])).get_run(sys.argv[2]).download_files("big/", sys.argv[3])
"""


def test_a_killed_download_leaves_no_half_file_and_goes_on(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    names = [f"big/{number}" for number in range(8)]
    data = [os.urandom(6 << 20) for _ in names]
    run.upload_files(names, [io.BytesIO(one) for one in data])
    to = tmp_path / "to"
    child = subprocess.Popen(
        [sys.executable, "-c", DOWNLOADER, tmp_path, run.id, to], env=clean_environment(), stdout=subprocess.PIPE
    )
    wait_until(lambda: len(list((to / "big").glob("*"))) >= 3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert child.stdout is not None
    child.stdout.close()
    there = {path.name: path.stat() for path in (to / "big").iterdir() if not path.name.startswith(".")}
    assert there
    for name in there:
        assert (to / "big" / name).read_bytes() == data[int(name)]
    partial_of(to / "big" / "0").write_bytes(b"half")
    run.download_files("big/", to)
    # What had arrived was left as it was, and nothing of the killed one is left.
    assert below(to) == names
    assert {name: (to / "big" / name).stat().st_ino for name in there} == {
        name: status.st_ino for name, status in there.items()
    }
    (to / "big" / "3").write_bytes(b"changed")
    run.download_files("big/", to)
    assert [(to / name).read_bytes() for name in names] == data


def test_the_leftovers_of_the_living_are_left_to_them(tmp_path: Path) -> None:
    from onrecord.snapshot.partial import arriving

    with arriving(tmp_path / "slow") as fd:
        os.write(fd, b"slow")
        assert remove_leftovers(tmp_path) == 0
    assert (tmp_path / "slow").read_bytes() == b"slow"
    (tmp_path / ".mine.partial").write_text("somebody's own")
    assert remove_leftovers(tmp_path) == 0
    assert remove_leftovers(tmp_path / "nowhere") == 0


def test_a_file_is_read_in_any_order_without_a_copy(tmp_path: Path) -> None:
    import zipfile

    run = ended_run(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("small.txt", "small")
        archive.writestr("large.bin", os.urandom(LARGE))
    run.upload_file("outputs/a.zip", tmp_path / "a.zip")
    with run.open("outputs/a.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("small.txt") == b"small"
    run.upload_file("text", io.BytesIO("zwei\nZeilen: äöü\n".encode()))
    with run.open("text", "r") as text:
        assert list(text) == ["zwei\n", "Zeilen: äöü\n"]
    assert run.open("text", "r", version=1, encoding="latin-1").read().startswith("zwei")


def test_a_file_that_grew_is_read_through_its_pieces(tmp_path: Path) -> None:
    run, path = ended_run(tmp_path), tmp_path / "grown"
    data = b""
    for size in (5 << 20, 3000, 10, 5 << 20, 1):
        data += os.urandom(size)
        path.write_bytes(data)
        stored = run.upload_file("grown", path)
    versions = run.workspace.store.places([bytes.fromhex(stored.digest)])
    assert next(iter(versions.values())).kept < 1000
    with run.open("grown") as file:
        for start, length in ((0, 10), (len(data) - 5, 10), ((5 << 20) - 3, 3500), (len(data) + 9, 3), (7, 6 << 20)):
            file.seek(start)
            assert file.read(length) == data[start : start + length]
        file.seek(0)
        assert file.read() == data
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
    assert run.open("grown", version=1).read() == data[: 5 << 20]


def test_damage_is_found_before_the_first_byte_is_read(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    row = run.upload_file("large", io.BytesIO(os.urandom(LARGE)))
    path = run.workspace.layout.objects / "loose" / row.digest
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(LARGE - 1)
        file.write(b"\0\0")
    with pytest.raises(ObjectCorrupt):
        run.open("large")
    with pytest.raises(ObjectCorrupt):
        run.download_file("large", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    path.unlink()
    with pytest.raises(ObjectCorrupt):
        run.open("large")


def test_a_script_that_is_started_by_hand_gives_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, {"outputs/here.txt": "here", "folder/a": "a"}))
    run = OfflineRun()
    run.upload_file("outputs/given.txt", io.BytesIO(b"given"))
    run.upload_files(["x"], ["outputs/here.txt"])
    run.upload_folder("all", "folder")
    assert run.get_file_names() == ["all/a", "outputs/given.txt", "x"]
    assert run.read_file("outputs/given.txt") == b"given"
    with run.open("x", "r") as file:
        assert file.read() == "here"
    assert run.download_files("all/", "to") == [Path("to/all/a")]
    assert Path("to/all/a").read_text() == "a"
    run.description = "said"
    run.add_note("noted")
    assert [note.text for note in run.notes] == ["noted"]
    run.register_model("m", "x", tags={"a": 1})
    with pytest.raises(BadFileName):
        run.upload_file("../x", io.BytesIO())
    with pytest.raises(TypeError):
        run.upload_files(["a"], [])
