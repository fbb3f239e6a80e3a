"""Models: named, numbered references to files of a run, or copies of files of this machine."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from face_make import project, run_to_end
from recorded_make import recorded, workspace

from onrecord import Model, Run, Workspace
from onrecord.collecting import collect
from onrecord.copying import pull, push
from onrecord.downloading import BadDestination
from onrecord.file_names import BadFileName
from onrecord.ledger.errors import UnknownRun
from onrecord.ledger.events import RunTagged
from onrecord.ledger.models import STREAM
from onrecord.ledger.references import references_in
from onrecord.model_registry import BadModelName, ModelPathNotFound, UnknownModel
from onrecord.run_errors import PropertyExists, RunHasModels, TooLong
from onrecord.verification import verify

FILES = {"outputs/model.pkl": b"m" * 3000, "outputs/net/a.bin": b"a", "outputs/net/b/c.bin": b"c"}


def trained(folder: Path) -> Run:
    return recorded(workspace(folder), files=FILES)


def test_a_model_is_a_file_of_a_run_under_a_name_and_a_number(tmp_path: Path) -> None:
    run = trained(tmp_path)
    first = run.register_model(
        "ridge", "outputs/model.pkl", tags={"stage": "test"}, properties={"alpha": 0.4}, description="the best",
        model_framework="ScikitLearn", model_framework_version="1.5", datasets=[("training", None)],
    )  # fmt: skip
    again = run.register_model("ridge", "outputs/model.pkl")
    assert (first.name, first.version, first.id, first.run_id) == ("ridge", 1, "ridge:1", run.id)
    assert again.version == 2
    assert (first.tags, first.properties, first.description) == ({"stage": "test"}, {"alpha": "0.4"}, "the best")
    assert (first.model_framework, first.model_framework_version) == ("ScikitLearn", "1.5")
    assert first.run == run
    assert (first.size, first.get_file_names()) == (3000, ["model.pkl"])
    found = run.workspace
    assert Model(found, "ridge") == again
    assert Model(found, "ridge", version="1") == Model(found, id="ridge:1") == first
    assert found.models == {"ridge": again}
    path = first.download(tmp_path / "to")
    assert path == tmp_path / "to" / "model.pkl"
    assert path.read_bytes() == FILES["outputs/model.pkl"]
    with pytest.raises(BadDestination, match="is there already"):
        again.download(tmp_path / "to")
    path.write_bytes(b"mine")
    assert again.download(tmp_path / "to", exist_ok=True).read_bytes() == FILES["outputs/model.pkl"]
    assert again.download(tmp_path / "to", exists_ok=True) == path
    assert verify(found).findings == []


def test_a_folder_becomes_a_model_as_a_whole(tmp_path: Path) -> None:
    run = trained(tmp_path)
    model = run.register_model("net", "outputs/net/")
    assert model.get_file_names() == ["net/a.bin", "net/b/c.bin"]
    assert model.download(tmp_path / "to") == tmp_path / "to" / "net"
    assert (tmp_path / "to/net/b/c.bin").read_bytes() == b"c"


def test_a_later_version_of_the_file_changes_no_model(tmp_path: Path) -> None:
    run = trained(tmp_path)
    model = run.register_model("m", "outputs/model.pkl")
    run.upload_file("outputs/model.pkl", io.BytesIO(b"newer"))
    assert model.download(tmp_path / "to").read_bytes() == FILES["outputs/model.pkl"]
    assert run.register_model("m", "outputs/model.pkl").download(tmp_path / "new").read_bytes() == b"newer"


def test_the_path_is_the_name_where_none_is_given_and_a_missing_one_names_near_files(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.upload_file("plain", io.BytesIO(b"p"))
    assert run.register_model("plain").path == "plain"
    with pytest.raises(ModelPathNotFound, match=r"near ones: outputs/model\.pkl") as missing:
        run.register_model("m", "output/model.pkl")
    assert missing.value.candidates[0] == "outputs/model.pkl"
    with pytest.raises(ModelPathNotFound, match="neither a file nor a folder 'm'"):
        run.register_model("m")
    with pytest.raises(BadFileName):
        run.register_model("m", "../m")
    for name in ("", "a b", "-a", "a:1", "x" * 256, "é", None):
        with pytest.raises(BadModelName):
            run.register_model(name, "outputs/model.pkl")  # type: ignore[arg-type]
    with pytest.raises(TooLong):
        run.register_model("m", "plain", description="x" * 1_000_001)
    assert len(Model.list(run.workspace)) == 1


def test_a_script_registers_what_it_has_just_written(tmp_path: Path) -> None:
    run = run_to_end(
        tmp_path,
        """
import pathlib
from onrecord import Run
run = Run.get_context()
for step in range(3):
    pathlib.Path("outputs/model.bin").write_bytes(b"%d" % step)
    run.register_model("steps", "outputs/model.bin", tags={"step": step})
""",
    )
    assert run.status == "Completed", run.get_details()
    found = Model.list(run.workspace, "steps")
    assert [model.version for model in found] == [3, 2, 1]
    for model in found:
        assert model.download(tmp_path / str(model.version)).read_bytes() == model.tags["step"].encode()


def test_files_of_this_machine_become_a_model_of_no_run(tmp_path: Path) -> None:
    found = workspace(tmp_path / "ws")
    project(tmp_path / "net", {"config.json": "{}", "weights/w.bin": "w"})
    model = Model.register(found, tmp_path / "net", "net", tags={"from": "elsewhere"}, description="a copy")
    assert (model.run_id, model.run, model.version) == (None, None, 1)
    assert Model.register(workspace=found, model_path=str(tmp_path / "net/config.json"), model_name="net").version == 2
    (tmp_path / "net/weights/w.bin").unlink()
    assert (model.download(tmp_path / "to") / "weights/w.bin").read_text() == "w"
    with pytest.raises(ModelPathNotFound, match="there is nothing at"):
        Model.register(found, tmp_path / "nowhere", "net")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelPathNotFound, match="is empty"):
        Model.register(found, tmp_path / "empty", "net")
    assert verify(found).findings == []


def test_models_are_found_by_what_is_said_of_them(tmp_path: Path) -> None:
    run = trained(tmp_path)
    found, path = run.workspace, "outputs/model.pkl"
    one = run.register_model("a", path, tags={"x": 1, "y": 2}, properties={"p": "q"})
    two = run.register_model("a", path, tags={"x": 2})
    other = run.register_model("b", path)
    assert Model.list(found) == [other, two, one]
    assert Model.list(found, latest=True) == [other, two]
    assert Model.list(found, "a") == [two, one]
    assert Model.list(found, tags="x") == [two, one]
    assert Model.list(found, tags={"x": "1"}) == Model.list(found, tags=[["x", "1"], "y"]) == [one]
    assert Model.list(found, properties=["p"]) == [one]
    assert Model.list(found, run_id=run.id) == [other, two, one]
    assert Model.list(found, run_id="another") == []


def test_what_is_said_of_a_model_changes_and_its_properties_do_not(tmp_path: Path) -> None:
    model = trained(tmp_path).register_model("m", "outputs/model.pkl", tags={"a": 1, "b": 2}, properties={"p": 1})
    model.add_tags({"b": 3, "c": None})
    model.remove_tags(["a", "no such"])
    model.add_properties({"q": 2})
    with pytest.raises(PropertyExists, match="its value stays '1'") as refused:
        model.add_properties({"r": 1, "p": 5})
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)  # noqa: S301
    fresh = Model(model.workspace, "m")
    assert (fresh.tags, fresh.properties) == ({"b": "3", "c": ""}, {"p": "1", "q": "2"})
    fresh.update(tags={"only": 1}, description="said later")
    fresh = Model(model.workspace, "m")
    assert (fresh.tags, fresh.description) == ({"only": "1"}, "said later")


def test_a_deleted_version_is_not_to_be_had_and_its_number_not_given_again(tmp_path: Path) -> None:
    run = trained(tmp_path)
    first, second = (run.register_model("m", "outputs/model.pkl") for _ in range(2))
    second.delete()
    found = run.workspace
    assert Model(found, "m") == first
    for wrong, says in ((2, "version 2 of the model m was deleted"), (7, "has no version 7")):
        with pytest.raises(UnknownModel, match=says):
            Model(found, "m", version=wrong)
    with pytest.raises(UnknownModel, match="was deleted"):
        second.delete()
    with pytest.raises(UnknownModel, match="was deleted"):
        second.add_tags({"a": 1})
    assert run.register_model("m", "outputs/model.pkl").version == 3
    for model in Model.list(found):
        model.delete()
    assert found.models == {}
    with pytest.raises(UnknownModel, match="every version of the model m was deleted"):
        Model(found, "m")
    with pytest.raises(UnknownModel, match="there is no model mm"):
        Model(found, "mm")
    assert run.read_file("outputs/model.pkl") == FILES["outputs/model.pkl"]
    assert verify(found).findings == []


def test_nothing_but_models_goes_into_their_stream(tmp_path: Path) -> None:
    run = trained(tmp_path)
    run.register_model("m", "outputs/model.pkl")
    with pytest.raises(UnknownRun):
        run.workspace.journal.append(STREAM, [RunTagged(tags={"a": "b"})])
    live = Model.list(run.workspace)
    run.workspace.journal.rebuild()
    assert Model.list(run.workspace) == live


# ---- what keeps their files -----------------------------------------------------------------------------


def test_files_of_a_model_stay_as_long_as_it_is_there(tmp_path: Path) -> None:
    found = workspace(tmp_path / "ws")
    large = os.urandom(5 << 20)
    (tmp_path / "w.bin").write_bytes(large)
    model = Model.register(found, tmp_path / "w.bin", "m")
    assert collect(found, grace_seconds=0).removed_objects == 0
    assert model.download(tmp_path / "to").read_bytes() == large
    push(found, str(tmp_path / "remote"))
    model.delete()
    assert references_in(found.journal).files == set()
    assert collect(found, grace_seconds=0).removed_objects == 1
    # What is gone belongs to nothing any more.
    assert verify(found).findings == []


def test_files_of_a_model_go_to_a_remote_and_come_back(tmp_path: Path) -> None:
    found = workspace(tmp_path / "ws")
    (tmp_path / "w.bin").write_bytes(b"w" * 5000)
    model = Model.register(found, tmp_path / "w.bin", "m")
    push(found, str(tmp_path / "remote"))
    with found.store.in_use(alone=True):
        found.store.remove(references_in(found.journal).files)
    pull(found, str(tmp_path / "remote"))
    assert model.download(tmp_path / "to").read_bytes() == b"w" * 5000


def test_a_run_whose_files_a_model_needs_is_not_erased_with_them(tmp_path: Path) -> None:
    run = trained(tmp_path)
    other = recorded(run.workspace)
    model = run.register_model("m", "outputs/model.pkl")
    before = run.workspace.journal.size()
    for way in (lambda: run.erase(files=True), run.delete):
        with pytest.raises(RunHasModels, match="models are made of them") as refused:
            way()
        assert refused.value.models == ["m:1"]
        assert "onrecord models delete m:1" in refused.value.next_step
    assert run.workspace.journal.size() == before
    other.delete()
    # What is known of the run can be erased without them: the model is what it was.
    run.erase()
    assert model.download(tmp_path / "to").read_bytes() == FILES["outputs/model.pkl"]
    model.delete()
    run.delete()
    assert verify(run.workspace).findings == []
    assert references_in(run.workspace.journal).files == set()


def register_ten(folder: Path, run_id: str) -> None:
    run = Workspace(folder).get_run(run_id)
    for _ in range(10):
        run.register_model("m", "outputs/model.pkl")


def test_two_that_register_at_once_make_one_version_each(tmp_path: Path) -> None:
    run = trained(tmp_path)
    several = multiprocessing.get_context("spawn")
    processes: list[Any] = [several.Process(target=register_ten, args=(tmp_path, run.id)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(model.version for model in Model.list(run.workspace)) == list(range(1, 21))
