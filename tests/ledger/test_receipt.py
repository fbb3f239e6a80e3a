"""Checkpoints, proofs and receipts as files: what they confirm, and that no word of them can be changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings, strategies
from make_ledger import file, finished_run, run_id, submitted, whole_life
from make_vectors import FOLDER, KEY

from onrecord.ledger import note
from onrecord.ledger.checkpoint import Checkpoint, parse_checkpoint, what_became_of
from onrecord.ledger.errors import BadEvidence, EmptyLedger, ProofFailed, RunNotSealed, UnknownRun
from onrecord.ledger.events import RunFailed, RunFinalizing, RunTagged, Unknown
from onrecord.ledger.history import History
from onrecord.ledger.journal import Journal
from onrecord.ledger.merkle import EMPTY
from onrecord.ledger.proof_text import parse_consistency_proof, parse_inclusion_proof
from onrecord.ledger.receipt import check, join
from onrecord.ledger.receipt_text import parse_receipt

VECTORS = json.loads((FOLDER / "receipts.json").read_text())
SHORT, FULL = (each["receipt"] for each in VECTORS["receipts"][:2])
OLD, NEW = VECTORS["checkpoints"]


@pytest.fixture
def history(book: Journal) -> Iterator[History]:
    """A ledger with one run that failed between two others."""
    finished_run(book)
    error = {"code": "ScriptFailed", "message": "no"}
    life = [
        submitted(experiment="ridge", name="third", snapshot_id="5a" * 32),
        *whole_life()[1:-1],
        RunFinalizing(outcome="exited", exit_code=3, ended_at=9),
        RunFailed(error=error),
    ]
    book.append(run_id(7), life, seal=True)
    finished_run(book)
    yield History(book)


def test_a_receipt_confirms_what_was_run_and_how_it_ended(history: History) -> None:
    for full in (False, True):
        confirmed = check(str(history.receipt(run_id(7), full=full)))
        run = confirmed.run
        assert (run.run_id, run.experiment, run.name, run.snapshot_id) == (run_id(7), "ridge", "third", "5a" * 32)
        assert (run.status, run.exit_code, run.error) == ("Failed", 3, '{"code": "ScriptFailed", "message": "no"}')
        assert (run.started_at, run.ended_at, confirmed.events, confirmed.full) == (5, 9, 8, full)
        assert confirmed.checkpoint == history.checkpoint()


def test_a_receipt_is_read_back_as_it_was_written(history: History) -> None:
    for full in (False, True):
        receipt = history.receipt(run_id(7), full=full)
        assert parse_receipt(str(receipt)) == receipt


def test_facts_that_come_after_the_seal_leave_the_receipt_as_it_was(book: Journal, history: History) -> None:
    checkpoint = history.checkpoint()
    before = str(history.receipt(run_id(7), checkpoint))
    book.append(run_id(7), [RunTagged(tags={"late": "1"}), file("late")])
    assert str(history.receipt(run_id(7), checkpoint)) == before


def test_events_of_unknown_types_and_packed_ones_are_in_a_full_receipt(book: Journal) -> None:
    run = run_id()
    strange = [Unknown('odd "type"\n', b"\xff\x00"), Unknown("später", "ü".encode())]
    book.append(run, [*whole_life()[:-1], *strange, whole_life()[-1]], seal=True)
    receipt = History(book).receipt(run, full=True)
    assert parse_receipt(str(receipt)) == receipt
    assert check(str(receipt)).events == 9


def test_an_erased_event_is_still_bound_though_what_it_said_is_gone(book: Journal, history: History) -> None:
    with book.transaction() as connection:
        connection.execute("UPDATE events SET payload = NULL, salt = NULL WHERE seq = 9")
    confirmed = check(str(history.receipt(run_id(7))))
    assert (confirmed.run.experiment, confirmed.run.status) == ("", "Failed")


def test_what_somebody_took_out_of_a_receipt_is_not_confirmed(history: History) -> None:
    receipt = history.receipt(run_id(7))
    assert check(str(receipt)).erased == 0
    events = tuple(one._replace(salt=None, payload=None) if one.version > 1 else one for one in receipt.events)
    confirmed = check(str(attrs.evolve(receipt, events=events)))
    assert confirmed.erased == len(events) - 1
    assert confirmed.run.experiment == "ridge"
    assert confirmed.run.exit_code is None


def changed(text: str) -> Iterator[str]:
    """The text with every line but those about the checkpoint's own signature changed, dropped or doubled."""
    lines = text.split("\n")
    for place, line in enumerate(lines[:-2]):
        yield "\n".join([*lines[:place], *lines[place + 1 :]])
        yield "\n".join([*lines[: place + 1], *lines[place:]])
        if line:
            middle = len(line) // 2
            other = "A" if line[middle] != "A" else "B"
            yield "\n".join([*lines[:place], line[:middle] + other + line[middle + 1 :], *lines[place + 1 :]])


@pytest.mark.parametrize("text", [SHORT, FULL])
def test_no_line_of_a_receipt_can_be_changed_dropped_or_doubled(text: str) -> None:
    key = note.parse_public_key(VECTORS["key"])
    assert check(text, keys=[key]).run.status == "Completed"
    for wrong in changed(text):
        with pytest.raises((BadEvidence, ProofFailed)):
            check(wrong, keys=[key])


@pytest.mark.parametrize("text", [SHORT, FULL])
def test_no_number_of_a_receipt_can_be_another(text: str) -> None:
    for found in re.finditer(r"[0-9]+", text[: text.index("\n— ")]):
        wrong = text[: found.start()] + str(int(found[0]) + 1) + text[found.end() :]
        with pytest.raises((BadEvidence, ProofFailed)):
            check(wrong, keys=[KEY.public()])


def test_two_events_of_a_receipt_that_changed_places_are_refused() -> None:
    for text in (SHORT, FULL):
        head, first, second, *rest = text.split("\n\n")
        with pytest.raises(ProofFailed):
            check("\n\n".join([head, second, first, *rest]))


def test_a_receipt_that_hides_how_the_run_ended_is_refused() -> None:
    parts = SHORT.split("\n\n")
    assert "run.completed" in parts[4]
    with pytest.raises(ProofFailed, match=r"(?s)how the run began and ended"):
        check("\n\n".join([*parts[:4], *parts[5:]]))


def test_the_seal_of_another_run_cannot_be_put_under_a_receipt() -> None:
    other = VECTORS["receipts"][2]["receipt"].split("\n\n")
    mine = SHORT.split("\n\n")
    with pytest.raises(ProofFailed):
        check("\n\n".join([*mine[:5], *other[5:]]))
    with pytest.raises(ProofFailed, match="another event"):
        check("\n\n".join([*mine[:6], other[6], *mine[7:]]))


@given(strategies.text(max_size=300), strategies.integers(0, len(SHORT)), strategies.integers(0, len(SHORT)))
@settings(max_examples=200)
def test_whatever_is_put_in_the_place_of_whatever_it_is_refused_or_nothing_was_changed(
    piece: str, start: int, end: int
) -> None:
    start, end = sorted((start, end))
    text = SHORT[:start] + piece + SHORT[end:]
    for read in (check, parse_consistency_proof, parse_inclusion_proof, parse_checkpoint, note.parse_note):
        try:
            found = read(text)
        except (BadEvidence, ProofFailed):
            continue
        if read is check:
            assert found.run.values == check(SHORT).run.values  # type: ignore[attr-defined]


def test_a_receipt_is_joined_to_an_older_and_a_newer_checkpoint_of_its_holder() -> None:
    proof = parse_consistency_proof(VECTORS["proof"])
    old, new = parse_checkpoint(OLD), parse_checkpoint(NEW)
    assert check(SHORT, checkpoint=old, proof=proof).known == old
    assert check(SHORT, checkpoint=new).known == new
    with pytest.raises(ProofFailed, match="without a proof"):
        check(SHORT, checkpoint=old)
    with pytest.raises(ProofFailed, match="of other checkpoints"):
        join(Checkpoint(old.origin, 5, old.root), new, proof)
    with pytest.raises(ProofFailed, match="two different ledgers"):
        check(SHORT, checkpoint=Checkpoint("onrecord/other", old.size, old.root), proof=proof)
    with pytest.raises(ProofFailed, match="rewritten"):
        check(SHORT, checkpoint=Checkpoint(new.origin, new.size, bytes(32)))


def test_no_line_of_a_consistency_proof_can_be_changed_dropped_or_doubled() -> None:
    old, new = parse_checkpoint(OLD), parse_checkpoint(NEW)
    for wrong in changed(VECTORS["proof"]):
        with pytest.raises((BadEvidence, ProofFailed)):
            found = parse_consistency_proof(wrong)
            found.check()
            join(old, new, found)
            note.verify(found.new.as_note(), [KEY.public()])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 0),
        ("onrecord/a\n", 1),
        ("onrecord/a\n1\n", 1),
        ("\n1\nAAAA\n", 0),
        ("onrecord/a\n01\nAAAA\n", 2),
        ("onrecord/a\n-1\nAAAA\n", 2),
        ("onrecord/a\n1\nAAAA\n", 3),
        ("onrecord/a\n0\n" + "A" * 43 + "=\n", 3),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BadEvidence) as caught:
        parse_checkpoint(text)
    assert caught.value.line == line or not text.strip() or text.startswith("\n")


def test_a_checkpoint_of_another_log_keeps_its_extension_lines() -> None:
    text = "example.org/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nmore\n"
    parsed = parse_checkpoint(text)
    assert (parsed.root, parsed.extensions, str(parsed)) == (EMPTY, ("more",), text)


def test_extra_data_of_a_tlog_proof_is_kept_and_its_index_has_one_spelling() -> None:
    text = "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 0\n\n" + OLD
    parsed = parse_inclusion_proof(text)
    assert (parsed.extra, str(parsed)) == (b"\0\0\0", text)
    for wrong in ("index 00", "index", "index -1", "index 1 "):
        with pytest.raises(BadEvidence):
            parse_inclusion_proof(text.replace("index 0", wrong))
    with pytest.raises(BadEvidence):
        parse_inclusion_proof(text.replace("AAAA", "AAA"))


def test_what_became_of_a_checkpoint_is_said_in_words() -> None:
    old = Checkpoint("onrecord/a", 3, b"r" * 32)
    assert what_became_of(old, "onrecord/a", 5, lambda _: b"r" * 32) is None
    assert "truncated" in str(what_became_of(old, "onrecord/a", 2, lambda _: b"r" * 32))
    assert "truncated" in str(what_became_of(old, "", 0, lambda _: None))
    assert "rewritten" in str(what_became_of(old, "onrecord/a", 5, lambda _: b"x" * 32))
    assert "replaced" in str(what_became_of(old, "onrecord/b", 5, lambda _: b"r" * 32))


def test_there_is_no_receipt_of_a_run_that_goes_on_and_none_of_one_that_is_not_there(book: Journal) -> None:
    history = History(book)
    with pytest.raises(EmptyLedger):
        history.checkpoint()
    book.append(run_id(1), whole_life()[:-1])
    with pytest.raises(RunNotSealed, match="when it has ended"):
        history.receipt(run_id(1))
    with pytest.raises(UnknownRun):
        history.receipt(run_id(2))


def test_a_receipt_needs_nothing_of_the_ledger_or_of_the_disk(tmp_path: Path) -> None:
    from make_ledger import output, python

    code = (
        "import sys; before = set(sys.modules)\n"
        "from onrecord.ledger.receipt import check\n"
        "print(check(sys.stdin.read()).run.status)\n"
        "print([name for name in ('sqlite3', 'onrecord.ledger.journal', 'cryptography') if name in sys.modules])\n"
    )
    (tmp_path / "receipt").write_text(SHORT)
    with (tmp_path / "receipt").open("rb") as stdin:
        assert output(python(code, stdin=stdin)) == "Completed\n[]\n"
