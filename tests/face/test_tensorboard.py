"""Runs in TensorBoard: the real one reads what is written without it, with the steps and times of the points."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import urllib.parse
import urllib.request
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from face_make import project, submit, wait_until
from recorded_make import recorded, workspace

from onrecord import Run, Workspace
from onrecord.event_file import EventFile, crc32c, image_size
from onrecord.ledger.events import FileRecorded, RunMetrics, Series
from onrecord.tensorboard import METRICS, NoTensorboard, Tensorboard, export_to_tensorboard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tensor_util = pytest.importorskip("tensorboard.util.tensor_util")

DAY = 86_400_000_000


def read(folder: Path) -> Any:
    found = event_accumulator.EventAccumulator(str(folder), size_guidance=dict.fromkeys(KINDS, 0))
    return found.Reload()


KINDS = ("scalars", "tensors", "images", "histograms", "compressedHistograms", "audio")


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + b"\xff\0\0" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_scalars_come_back_with_their_values_steps_and_wall_times(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path / "a"), end=False)
    points = [Series("acc ", "int64", [1, 2, 3], [10, 20, 30], [DAY, DAY + 500_000, DAY + 1_000_000])]
    points += [Series("acc ", "float64", [0.5], [None], [DAY * 2])]
    run.workspace.journal.append(run.id, [RunMetrics(series=points, spool_start=10, spool_end=20)])
    (path,) = export_to_tensorboard(run, tmp_path / "tb")
    assert path.parent == tmp_path / "tb" / run.id
    found = read(path.parent)
    assert set(found.Tags()["scalars"]) == {"loss", "acc "}
    assert [(one.value, one.step) for one in found.Scalars("loss")] == [(0.5, 0), (0.25, 1)]
    accuracy = [(one.value, one.step, one.wall_time) for one in found.Scalars("acc ")]
    # The last point has no step of its own: its place among the points is one.
    assert accuracy == [(1, 10, 86400.0), (2, 20, 86400.5), (3, 30, 86401.0), (0.5, 3, 172800.0)]


def test_an_export_again_replaces_the_first(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path / "a"))
    assert export_to_tensorboard(run, tmp_path / "tb") == export_to_tensorboard([run, run], tmp_path / "tb")
    assert len(read(tmp_path / "tb" / run.id).Scalars("loss")) == 2
    assert len(list((tmp_path / "tb" / run.id).iterdir())) == 1


def test_an_experiment_and_the_runs_below_a_run_are_exported_each_to_its_folder(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    parent = recorded(found)
    children = [recorded(found, parent=parent.id) for _ in range(2)]
    other = recorded(found, experiment="another")
    names = lambda target: sorted(path.parent.name for path in export_to_tensorboard(target, tmp_path / "tb"))  # noqa: E731
    assert names(parent) == sorted([parent.id, *(child.id for child in children)])
    assert names(other.experiment) == [other.id]
    assert len(export_to_tensorboard(parent, tmp_path / "tb", recursive=False)) == 1
    assert export_to_tensorboard([], tmp_path / "tb") == []


def test_text_pictures_histograms_tables_and_hyperparameters_are_what_they_were(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path / "a"), end=False)
    stored = run.workspace.store.put_bytes(png(3, 2))
    residuals = {"schema_type": "residuals", "data": {"bin_edges": [0.0, 1.0, 3.0], "bin_counts": [4, 6]}}
    values: list[tuple[str, str, Any]] = [
        ("note", "json", "good"),
        ("some", "list", [1.5, 2.5]),
        ("row", "row", {"x": 1.0, "who": "me"}),
        ("table", "table", {"x": [1.0, 2.0], "y": [3.0, 4.0]}),
        ("picture", "image", {"file": "outputs/p.png"}),
        ("gone", "image", {"file": "outputs/gone.png"}),
        ("residuals", "document", residuals),
        ("odd", "document", {"schema_type": "confusion_matrix", "data": {"matrix": [[1]]}}),
    ]
    series = [Series(name, kind, [value], [7], [DAY]) for name, kind, value in values]
    recorded_file = FileRecorded(name="outputs/p.png", digest=stored.digest, size=stored.size)
    run.workspace.journal.append(run.id, [recorded_file, RunMetrics(series=series, spool_start=10, spool_end=20)])
    export_to_tensorboard(run, tmp_path / "tb")
    found = read(tmp_path / "tb" / run.id)
    scalars = {tag: [one.value for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars.pop("loss") == [0.5, 0.25]
    assert scalars == {"some": [1.5, 2.5], "row/x": [1.0], "table/x": [1.0, 2.0], "table/y": [3.0, 4.0]}
    (picture,) = found.Images("picture")
    assert (picture.width, picture.height, picture.encoded_image_string, picture.step) == (3, 2, png(3, 2), 7)
    (histogram,) = [one.histogram_value for one in found.Histograms("residuals")]
    assert (histogram.bucket_limit, histogram.bucket, histogram.num) == ([0.0, 1.0, 3.0], [0.0, 4.0, 6.0], 10)
    texts = {tag: tensor_util.make_ndarray(found.Tensors(tag)[0].tensor_proto).item() for tag in ("note", "row/who")}
    assert texts == {"note": b"good", "row/who": b"me"}
    assert found.Tensors("gone")[0].step == 7
    assert b"confusion_matrix" in tensor_util.make_ndarray(found.Tensors("odd")[0].tensor_proto).item()


def test_what_the_script_was_started_with_is_in_the_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    place = project(tmp_path, {"train.py": "print(1)"})
    run = submit(place, arguments=["--alpha", "0.5", "--kind", "ridge"])
    run.wait_for_completion()
    (path,) = export_to_tensorboard(run, tmp_path / "tb")
    found = read(path.parent)
    metadata = found.summary_metadata
    start = plugin_data_pb2.HParamsPluginData.FromString(metadata["_hparams_/session_start_info"].plugin_data.content)
    values = {
        name: value.number_value or value.string_value for name, value in start.session_start_info.hparams.items()
    }
    assert values == {"alpha": 0.5, "kind": "ridge"}
    end = plugin_data_pb2.HParamsPluginData.FromString(metadata["_hparams_/session_end_info"].plugin_data.content)
    assert end.session_end_info.status == 1


def test_every_record_has_the_checksums_of_its_bytes(tmp_path: Path) -> None:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    assert crc32c(b"") == 0 and crc32c(b"123456789") == 0xE3069283
    file = EventFile(tmp_path / "f", 1.5)
    file.scalar("a/é", float("nan"), -3, 2.5)
    file.scalar("huge", 1e300, 2**62, 2.5)
    file.close()
    data, records = (tmp_path / "f").read_bytes(), 0
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(data[12 : 12 + length])
        data, records = data[16 + length :], records + 1
    assert records == 3


@pytest.mark.parametrize(
    ("encoded", "size"),
    [
        (png(5, 4), (5, 4)),
        (b"GIF89a\x05\0\x04\0", (5, 4)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\0\x04\0\x05\x03", (5, 4)),
        (b"\xff\xd8\xff\xe0\0\x04ab", None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_the_size_of_a_picture_is_read_from_its_head(encoded: bytes, size: tuple[int, int] | None) -> None:
    assert image_size(encoded) == size


SCRIPT = """
import sys, time
from pathlib import Path
from onrecord import Run
from onrecord.event_file import EventFile, event_file_name
run = Run.get_context()
file = EventFile(Path("logs") / "sub" / event_file_name(1), 1.0)
step = 0
while not Path("/proc/self/cwd/outputs/stop").exists():
    file.scalar("own", step, step, 1.0)
    file.flush()
    run.log("logged", step, step=step * 10)
    step += 1
    time.sleep(0.05)
file.close()
"""


def get(address: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{address.rstrip('/')}/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def test_a_running_run_is_shown_with_what_it_writes_and_logs(tmp_path: Path) -> None:
    run = submit(project(tmp_path, {"train.py": SCRIPT}))
    work = run.workspace.layout.run(run.id).work
    wait_until(lambda: list(work.glob("logs/sub/*")))
    board = Tensorboard(run, port=0)
    address = board.start()
    assert address is not None and board.start() is None
    try:
        expected = {f"{run.id}/sub", f"{run.id}/{METRICS}"}
        tags = wait_until(lambda: expected <= (found := get(address, "data/plugin/scalars/tags")).keys() and found)
        assert run.get_status() == "Running"
        assert "own" in tags[f"{run.id}/sub"] and "logged" in tags[f"{run.id}/{METRICS}"]
        shown = wait_until(
            lambda: (
                len(got := get(address, "data/plugin/scalars/scalars", run=f"{run.id}/{METRICS}", tag="logged")) > 3
                and got
            )
        )
        assert [(step, value) for _, step, value in shown[:3]] == [(0, 0.0), (10, 1.0), (20, 2.0)]
        (work / "outputs").mkdir(exist_ok=True)
        (work / "outputs" / "stop").touch()
        run.wait_for_completion()
        wait_until(lambda: not board.update())
        mine = board.local_root / run.id / "sub"
        assert [one.value for one in read(mine).Scalars("own")] == list(range(len(read(mine).Scalars("own"))))
        assert len(read(board.local_root / run.id / METRICS).Scalars("logged")) == len(
            run.get_metrics("logged")["logged"]
        )
    finally:
        board.stop()
    assert not board.local_root.exists() and not board.is_alive()


def test_the_logs_of_an_earlier_run_come_from_the_history(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    file = EventFile(tmp_path / "f", 1.0)
    file.scalar("own", 2.0, 5, 1.0)
    file.close()
    name = "logs/deep/events.out.tfevents.1.host"
    run = recorded(found, files={name: (tmp_path / "f").read_bytes(), "logs/stdout.txt": b"said\n"})
    board = Tensorboard([run], tmp_path / "root", use_display_name=True)
    assert not board.update() and not board.update()
    board.stop()
    assert [one.step for one in read(tmp_path / "root" / run.display_name / "deep").Scalars("own")] == [5]
    assert not list((tmp_path / "root").rglob("stdout.txt"))


def test_two_runs_of_one_name_have_two_folders(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    runs = [recorded(found, experiment="one"), recorded(found, experiment="one")]
    again = [Run(Workspace(found.path), run.id) for run in runs]
    board = Tensorboard([*runs, *again], tmp_path / "root", use_display_name=True)
    board.update()
    assert len(list((tmp_path / "root").iterdir())) == 2


def test_a_port_that_is_taken_is_told_with_what_to_do(tmp_path: Path) -> None:
    import socket

    run = recorded(workspace(tmp_path / "a"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        board = Tensorboard(run, port=taken.getsockname()[1])
        with pytest.raises(NoTensorboard, match="did not come up") as caught:
            board.start()
    assert "port=0" in caught.value.next_step and caught.value.output
    assert not board.local_root.exists()


def test_without_tensorboard_there_is_a_word_on_how_to_get_it(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path / "a"))
    program = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from onrecord import Workspace; from onrecord.tensorboard import *\n"
        f"ws = Workspace({str(run.workspace.path)!r}); run = ws.get_run('@last')\n"
        "print(export_to_tensorboard(run, 'tb'))\n"
        "Tensorboard(run, port=0).start()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "events.out.tfevents" in done.stdout
    assert "pip install 'onrecord[tensorboard]'" in done.stderr
