"""What people say of a run, and which runs lists leave out."""

from __future__ import annotations

import getpass
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_make import recorded, workspace

from onrecord import Experiment, Run, Workspace
from onrecord.deleting import UnknownExperiment
from onrecord.errors import OnRecordError
from onrecord.ledger.errors import BadFilter, RunNotEnded, UnknownRun
from onrecord.ledger.read_models import differences
from onrecord.run_errors import TooLong
from onrecord.tag_names import BadText
from onrecord.verification import verify


def found(folder: Workspace, text: str) -> list[str]:
    return [run.id for run in folder.runs(text)]


def test_a_run_is_renamed_described_and_noted_also_after_its_end(tmp_path: Path) -> None:
    run = recorded(workspace(tmp_path))
    assert (run.display_name, run.description, run.notes) == ("exp_1", "", [])
    before = time.time_ns() // 1000
    run.display_name = " the  good\none "
    run.description = "first\nthought"
    run.description = "learning rate too high"
    run.add_note("forgot the warm-up")
    run.add_note("zweite Notiz: größer")
    assert run.display_name == "the good one"
    assert run.description == "learning rate too high"
    assert [note.text for note in run.notes] == ["forgot the warm-up", "zweite Notiz: größer"]
    assert {note.author for note in run.notes} == {getpass.getuser()}
    assert before <= run.notes[0].at <= run.notes[1].at
    assert run.get_details()["description"] == "learning rate too high"
    run.display_name = ""
    assert run.display_name == "exp_1"
    run.description = ""
    assert run.description == ""


def test_words_of_people_are_found_by_a_filter(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    run, other = recorded(folder), recorded(folder)
    run.display_name = "golden retriever"
    run.description = "the loss explodes"
    run.add_note("see the gradient norm")
    for wanted in (
        'text "golden"', "~explodes", 'text "gradient norm"', 'description contains "LOSS"',
        'notes contains "gradient"', 'name = "golden retriever"', "description exists",
    ):  # fmt: skip
        assert found(folder, wanted) == [run.id], wanted
    assert found(folder, "description is null") == [other.id]
    run.description = "tamed"
    assert found(folder, "~explodes") == []
    run.erase()
    assert found(folder, 'text "gradient" or ~tamed or ~golden') == []
    assert (run.description, run.notes) == ("", [])


@pytest.mark.parametrize("full_text", [True, False])
def test_labels_replay_to_the_same_tables_and_are_proven(
    tmp_path: Path, full_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not full_text:
        from onrecord.ledger.projections import search

        monkeypatch.setattr(search, "SCHEMA", search.PLAIN)
    folder = workspace(tmp_path)
    run = recorded(folder)
    for name in ("one", "two"):
        run.display_name = name
        run.description = f"{name}!"
        run.add_note(f"note {name}")
        assert found(folder, f'text "note {name}"') == [run.id]
    run.archive()
    assert list(differences(folder.journal)) == []
    live = (folder.query.run(run.id), run.notes, run.description)
    folder.journal.rebuild()
    assert (folder.query.run(run.id), run.notes, run.description) == live
    if full_text:
        assert verify(folder).findings == []
    # As it was: after the events that the run was made of.
    then = folder.query.at(7)
    assert (then.run(run.id).display_name, then.notes([run.id])[run.id]) == ("exp_1", [])


@pytest.mark.parametrize(
    ("say", "error"),
    [
        (lambda run: setattr(run, "display_name", "x" * 1001), TooLong),
        (lambda run: setattr(run, "description", "é" * 500_001), TooLong),
        (lambda run: run.add_note("n" * 1_000_001), TooLong),
        (lambda run: run.add_note("  \n"), BadText),
        (lambda run: run.add_note(None), BadText),
        (lambda run: setattr(run, "display_name", 7), BadText),
        (lambda run: run.tag("k" * 1001), TooLong),
        (lambda run: run.tag("k", "v" * 100_001), TooLong),
    ],
)
def test_what_is_too_long_or_no_text_is_refused_and_nothing_recorded(
    tmp_path: Path, say: Callable[[Any], None], error: type[OnRecordError]
) -> None:
    run = recorded(workspace(tmp_path))
    before = run.workspace.journal.size()
    with pytest.raises(error) as refused:
        say(run)
    assert run.workspace.journal.size() == before
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)  # noqa: S301


# ---- archived -----------------------------------------------------------------------------------------


def test_an_archived_run_is_in_no_list_that_does_not_ask_for_it(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    old, new = recorded(folder), recorded(folder)
    new.archive()
    new.archive()
    events = folder.journal.size()
    assert new.archived
    assert found(folder, "") == [old.id]
    assert found(folder, "status = completed") == [old.id]
    assert found(folder, "archived = true") == [new.id]
    assert found(folder, "not archived = false") == [new.id]
    assert found(folder, "archived in (true, false)") == [new.id, old.id]
    assert folder.query.find("@last") == old.id
    assert folder.query.find("@best:loss") == old.id
    # It is there as ever for whoever names it, and for who counts.
    assert folder.get_run(new.id[:20]).status == "Completed"
    assert len(folder.query.search("").rows) == 2
    old.archive()
    with pytest.raises(UnknownRun, match="every run is archived"):
        folder.query.find("@last")
    new.reactivate()
    new.reactivate()
    assert found(folder, "") == [new.id]
    assert folder.journal.size() == events + 2
    with pytest.raises(BadFilter, match="neither true nor false"):
        found(folder, "archived = maybe")
    with pytest.raises(BadFilter):
        found(folder, "archived > true")


def test_an_archived_experiment_hides_its_runs_until_it_has_a_new_one(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    hidden, other = recorded(folder), recorded(folder, experiment="other")
    experiment = Experiment(folder, "exp")
    experiment.archive()
    experiment.archive()
    assert experiment.archived_time is not None
    assert found(folder, "") == [other.id]
    assert found(folder, "archived = true") == [hidden.id]
    assert [run.id for run in experiment.get_runs()] == [hidden.id]
    assert verify(folder).findings == []
    new = recorded(folder)
    # Nothing can be recorded where no list shows it.
    assert experiment.archived_time is None
    assert found(folder, 'experiment = "exp"') == [new.id, hidden.id]
    experiment.archive()
    assert found(folder, "") == [other.id]
    experiment.reactivate()
    assert found(folder, "") == [new.id, other.id, hidden.id]
    with pytest.raises(OnRecordError, match="cannot become 'another'"):
        experiment.reactivate(new_name="another")
    assert list(differences(folder.journal)) == []


def test_an_experiment_has_tags_before_and_after_its_first_run(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    experiment = Experiment(folder, "exp")
    experiment.tag("team", "a")
    experiment.set_tags({"x": 1, "y": None})
    recorded(folder)
    experiment.remove_tags(["x", "no such"])
    assert experiment.tags == {"team": "a", "y": ""}
    assert Experiment(folder, "other").get_tags() == {}
    folder.journal.rebuild()
    assert experiment.tags == {"team": "a", "y": ""}


# ---- deleted ------------------------------------------------------------------------------------------


def test_a_deleted_run_loses_its_files_and_leaves_the_lists_but_not_the_proof(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    run, other = recorded(folder), recorded(folder)
    run.add_note("secret")
    run.delete(reason="by mistake")
    row = folder.query.run(run.id)
    assert (row.erased, run.archived, run.status) == (True, True, "Completed")
    assert run.get_file_names() == []
    assert found(folder, "") == [other.id]
    assert verify(folder).findings == []
    assert other.read_file("outputs/m.bin") == b"\x00\xff" * 500
    events = folder.journal.size()
    run.delete()
    assert folder.journal.size() == events
    folder.journal.rebuild()
    assert run.archived


def test_a_run_that_goes_on_is_not_deleted_nor_hidden(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    ended, living = recorded(folder), recorded(folder, end=False)
    with pytest.raises(RunNotEnded):
        living.delete()
    with pytest.raises(RunNotEnded):
        Experiment.delete(folder, "exp")
    assert not living.archived
    assert not folder.query.run(ended.id).erased
    assert found(folder, "") == [living.id, ended.id]


def test_an_experiment_is_deleted_with_all_its_runs(tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    runs = [recorded(folder), recorded(folder)]
    other = recorded(folder, experiment="other")
    assert Experiment.delete(folder, "exp") == 2
    assert all(folder.query.run(run.id).erased for run in runs)
    assert found(folder, "") == [other.id]
    with pytest.raises(UnknownExperiment, match="near ones: other") as unknown:
        Experiment.delete(folder, "othr")
    assert unknown.value.candidates == ["other"]


def test_what_is_said_of_a_run_travels_with_it(tmp_path: Path) -> None:
    from onrecord.exporting import export_runs
    from onrecord.importing import import_bundle

    run = recorded(workspace(tmp_path / "here"))
    run.display_name, run.description = "a name", "a description"
    run.add_note("a note")
    run.archive()
    export_runs(run.workspace, [run.id], tmp_path / "run.tar")
    there = workspace(tmp_path / "there")
    import_bundle(there, tmp_path / "run.tar")
    brought = Run(there, run.id)
    assert (brought.display_name, brought.description, brought.archived) == ("a name", "a description", True)
    assert [note.text for note in brought.notes] == ["a note"]
