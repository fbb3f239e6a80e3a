"""Points go through the spool as they were written, whatever else lies in it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import Run, Workspace, spool_reader
from onrecord.ingest import ingest
from onrecord.ledger import vectors
from onrecord.ledger.events import RunMetrics, RunSubmitted, Series
from onrecord.spool import FLOAT, NO_STEP, RESIDUE, SpoolWriter
from onrecord.spool_losses import losses_warning, lost_calls
from onrecord.spool_reader import read_series

LOW, HIGH = -(2**63), 2**63 - 1
RUN = "0" * 26
Point = tuple[str, Any, int]

names = st.sampled_from(["loss", "lr", "accuracy", "grad/norm", "ü\0", "RSPf", "x" * 255, "\0"])
floats = st.floats() | st.sampled_from([0.5, float("nan"), struct.unpack("<d", b"RSPfRSPi")[0]])
whole = st.integers(LOW, HIGH) | st.just(int.from_bytes(FLOAT * 2, "little"))
other = st.none() | st.booleans() | st.text(max_size=9) | st.just(10**40) | st.just("RSPf")
steps = st.integers(LOW, HIGH) | st.just(NO_STEP)
numbers = st.lists(st.tuples(names, floats, steps) | st.tuples(names, whole, steps), max_size=30)
anything = st.lists(st.tuples(names, floats | whole | other, steps), max_size=30)


@pytest.fixture(params=["with numpy", "without numpy"], scope="module", autouse=True)
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything with numpy, also a few points; then everything without."""
    with pytest.MonkeyPatch.context() as patch:
        assert numpy.__name__ in sys.modules
        patch.setattr(vectors, "_WORTH_USING", 1 if request.param == "with numpy" else 10**18)
        yield


def written(folder: Path, points: list[Point]) -> bytes:
    """The spool with these points."""
    path = folder / "spool"
    path.write_bytes(b"")
    writer = SpoolWriter(path)
    for name, value, step in points:
        writer.write(name, value, step)
    writer.close()
    return path.read_bytes()


def first_version(name: str, value: float, step: int) -> bytes:
    """A frame as the first version wrote it."""
    body = struct.pack("<Bqqd", 0, 7, step, value) + name.encode()
    return struct.pack("<4sII", b"RSP1", len(body), zlib.crc32(body)) + body


def exact(value: Any) -> Any:
    return struct.pack("<d", value) if isinstance(value, float) else (type(value).__name__, value)


def by_name(points: list[Point]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value, step in points:
        found.setdefault(name, []).append((exact(value), None if step == NO_STEP else step))
    return found


def read_by_name(series: list[Series]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for piece in series:
        assert len(piece.values) == len(piece.steps) == len(piece.times)
        found.setdefault(piece.name, []).extend(zip(map(exact, piece.values), piece.steps, strict=True))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@given(points=numbers | anything)
def test_points_come_back_by_name_in_their_order(folder: Path, points: list[Point]) -> None:
    data = written(folder, points)
    series, reached = read_series(data)
    assert reached == len(data)
    assert read_by_name(series) == by_name(points)
    assert list(dict.fromkeys(piece.name for piece in series)) == list(by_name(points))


@given(points=numbers | anything, cut=st.integers(0))
def test_a_point_that_is_not_whole_yet_waits_for_the_next_reading(folder: Path, points: list[Point], cut: int) -> None:
    data = written(folder, points)
    cut %= len(data) + 1
    before, reached = read_series(data[:cut])
    assert reached <= cut
    after, rest = read_series(data[reached:])
    assert reached + rest == len(data)
    assert sum(len(piece.values) for piece in before + after) == len(points)
    assert by_name(points) == read_by_name(before + after)


@given(points=numbers | anything, kept=st.integers(0, 200), more=numbers | anything)
def test_a_write_that_a_full_disk_cut_short_is_passed_over(
    folder: Path, points: list[Point], kept: int, more: list[Point]
) -> None:
    whole_ones, torn, following = written(folder, points), written(folder, [("torn", 0.5, 1)]), written(folder, more)
    kept %= len(torn)
    series, reached = read_series(whole_ones + torn[:kept] + following)
    assert read_by_name(series) == by_name(points + more)
    # Nothing whole follows: what is there may still become whole.
    assert reached == len(whole_ones) + (kept + len(following) if more or not kept else 0)


@given(points=numbers, place=st.integers(0), flip=st.integers(1, 255))
def test_a_damaged_point_costs_only_itself(folder: Path, points: list[Point], place: int, flip: int) -> None:
    frames = [written(folder, [point]) for point in points]
    data = bytearray(b"".join(frames))
    if not data:
        return
    place %= len(data)
    data[place] ^= flip
    hit, end = 0, len(frames[0])
    while place >= end:
        hit += 1
        end += len(frames[hit])
    series, _ = read_series(bytes(data))
    assert read_by_name(series) == by_name(points[:hit] + points[hit + 1 :])


@given(points=numbers)
def test_frames_of_the_first_version_are_read_among_others(folder: Path, points: list[Point]) -> None:
    old = first_version("old", 0.25, NO_STEP) + first_version("loss", 0.5, 3)
    series, _ = read_series(old + written(folder, points) + old)
    expected = [("old", 0.25, NO_STEP), ("loss", 0.5, 3)]
    assert read_by_name(series) == by_name([*expected, *points, *expected])


def test_names_that_hash_alike_are_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_reader, "_PRIME", 0)
    points: list[Point] = [(name, 0.5, at) for at in range(9) for name in ("aaaaX", "bbbbX", "aaaaY")]
    series, _ = read_series(written(folder, points))
    assert read_by_name(series) == by_name(points)


def test_one_checksum_over_all_frames_checks_each(folder: Path) -> None:
    data = written(folder, [("loss", 0.5, 1), ("a", 1, 2), ("text", "good", 3)])
    assert zlib.crc32(data, RESIDUE) == RESIDUE
    assert zlib.crc32(data[:-1] + b"\0", RESIDUE) != RESIDUE


def test_a_long_spool_becomes_many_events_and_each_point_is_there_once(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    run = Run(workspace, RUN)
    workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
    path = workspace.layout.run(RUN).spool
    path.parent.mkdir(parents=True)
    count = 120_000
    frames = written(tmp_path, [("loss", 0.5, at) for at in range(100)])
    assert len(frames) % 100 == 0
    one = len(frames) // 100
    head = frames[:one]
    data = b"".join(_renumbered(head, at) for at in range(count))
    path.write_bytes(data + head[:20])
    assert ingest(workspace.journal, RUN, path) == count
    assert ingest(workspace.journal, RUN, path) == 0
    chunks = [one.event for one in workspace.journal.read(RUN) if isinstance(one.event, RunMetrics)]
    assert len(chunks) == -(-len(data) // (4 * 1024 * 1024))
    assert [chunk.spool_start for chunk in chunks] == [0, *(chunk.spool_end for chunk in chunks[:-1])]
    assert chunks[-1].spool_end == len(data)
    overview = run.get_metric_overview("loss", 10)
    assert (len(overview), sum(bucket.points for bucket in overview)) == (10, count)
    assert run.get_metrics("loss") == {"loss": [0.5] * count}
    assert (overview[0].step, overview[-1].greatest_step) == (0, count - 1)
    assert sum(one.points for one in run.get_metric_overview("loss", 5, from_step=7, to_step=9)) == 3


def _renumbered(frame: bytes, step: int) -> bytes:
    body = frame[:16] + struct.pack("<q", step) + frame[24:-4]
    return body + struct.pack("<I", zlib.crc32(body, RESIDUE))


def test_one_point_larger_than_a_reading_is_taken_in(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    workspace.journal.append(RUN, [RunSubmitted(experiment="e", config={})])
    run = Run(workspace, RUN)
    text = "RSPf" * 2_000_000
    run.log("text", text)
    run.log("loss", 1.0)
    assert run.get_metrics() == {"loss": 1.0, "text": text}


# ---- ranks, and what a call logs as a whole ------------------------------------------------------------

calls = st.lists(st.tuples(st.sampled_from([None, 0, 3]), names, floats | whole | other, steps), max_size=30)
one_job = st.lists(st.tuples(st.sampled_from([0, 1, 2**30]), names, floats | whole, steps), max_size=40)


def written_by_ranks(folder: Path, points: list[tuple[int | None, str, Any, int]]) -> bytes:
    """The spool of several processes, each with its rank or with none."""
    path = folder / "ranks"
    path.write_bytes(b"")
    writers = {rank: SpoolWriter(path, rank=rank) for rank in {point[0] for point in points}}
    for rank, name, value, step in points:
        writers[rank].write(name, value, step)
    for writer in writers.values():
        writer.close()
    return path.read_bytes()


@given(points=one_job | calls, cut=st.integers(0))
def test_points_keep_the_order_and_the_rank_of_the_process_that_logged_them(
    folder: Path, points: list[tuple[int | None, str, Any, int]], cut: int
) -> None:
    data = written_by_ranks(folder, points)
    cut %= len(data) + 1
    before, reached = read_series(data[:cut])
    after, rest = read_series(data[reached:])
    assert reached + rest == len(data)
    found: dict[str, list[Any]] = {}
    for piece in before + after:
        ranks = [None] * len(piece.values) if piece.ranks is None else piece.ranks
        found.setdefault(piece.name, []).extend(zip(map(exact, piece.values), ranks, strict=True))
    expected: dict[str, list[Any]] = {}
    for rank, name, value, _ in points:
        expected.setdefault(name, []).append((exact(value), rank))
    assert found == expected


def test_what_calls_log_as_a_whole_is_told_from_single_values(folder: Path) -> None:
    path = folder / "whole"
    for rank in (None, 5):
        path.write_bytes(b"")
        writer = SpoolWriter(path, rank=rank)
        writer.write("a", "[1,2]")
        writer.write_json("list", "a", "[1,2]", 7)
        writer.write_json("table", "a", '{"x":[NaN]}')
        writer.write_many([("a", 0.5), ("b", 2**70), ("c", 3)], 9)
        writer.close()
        series, reached = read_series(path.read_bytes())
        assert reached == path.stat().st_size
        assert [(one.name, one.kind, list(one.steps)) for one in series] == [
            *(("a", "json", [None]), ("a", "list", [7]), ("a", "table", [None]), ("a", "float64", [9])),
            *(("b", "json", [9]), ("c", "int64", [9])),
        ]
        assert [one.values[0] for one in series if one.kind != "table"] == ["[1,2]", [1, 2], 0.5, 2**70, 3]
        assert all(one.ranks == (None if rank is None else [5]) for one in series)
        assert len({one.times[0] for one in series[3:]}) == 1


def test_a_writer_does_not_remember_every_name_that_was_ever_made_up(folder: Path) -> None:
    writer = SpoolWriter(folder / "names")
    for number in range(10_500):
        writer.write(f"name {number}", number)
    assert len(writer._names) <= 10_000
    series, _ = read_series((folder / "names").read_bytes())
    assert [one.name for one in series] == [f"name {number}" for number in range(10_500)]


# ---- no room ------------------------------------------------------------------------------------------

FULL = """
import resource, sys
from pathlib import Path
from onrecord.spool import SpoolWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
writer = SpoolWriter(Path(sys.argv[1]))
for number in range(10):
    writer.write("loss", float(number), number)
writer.write_many([("a", 1), ("b", 2)])
writer.write_json("list", "c", "[1]")
SpoolWriter(Path(sys.argv[1])).write("loss", 0.5)
print("on it goes")
"""


def test_a_script_without_room_goes_on_is_told_once_and_what_it_lost_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    said = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, check=True, text=True)
    assert said.stdout == "on it goes\n"
    # Once for each of the two writers.
    assert said.stderr.count("metrics cannot be kept") == 2
    assert "the script goes on" in said.stderr
    assert path.stat().st_size == 100
    series, reached = read_series(path.read_bytes())
    assert (read_by_name(series), reached) == (by_name([("loss", 0.0, 0), ("loss", 1.0, 1)]), 80)
    assert lost_calls(path) == 8 + 2 + 1 + 1
    assert losses_warning(path) == ["12 logged values could not be written and are lost: the disk was full, or failed"]


def test_points_that_have_room_again_are_kept_and_the_first_loss_is_one(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    writer = SpoolWriter(path)
    kept = os.dup(writer._fd)
    os.close(writer._fd)
    writer.write("loss", 0.5)
    os.dup2(kept, writer._fd)
    writer.write("loss", 0.25)
    assert read_by_name(read_series(path.read_bytes())[0]) == by_name([("loss", 0.25, NO_STEP)])
    assert losses_warning(path) == ["1 logged value could not be written and is lost: the disk was full, or failed"]
    os.close(kept)
    writer.close()


def test_where_no_spool_can_be_made_the_script_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    writer = SpoolWriter(tmp_path / "file" / "spool")
    for _ in range(3):
        writer.write("loss", 0.5)
        writer.write_json("list", "a", "[]")
    writer.close()
    assert capsys.readouterr().err.count("metrics cannot be kept") == 1
    assert (lost_calls(tmp_path / "file" / "spool"), losses_warning(tmp_path / "nowhere")) == (0, [])


def test_a_closed_stderr_does_not_make_a_loss_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stderr in (None, (tmp_path / "closed").open("w")):
        if stderr is not None:
            stderr.close()
        monkeypatch.setattr(sys, "stderr", stderr)
        SpoolWriter(tmp_path / "closed" / "spool").write("loss", 0.5)
