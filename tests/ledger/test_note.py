"""Signed notes: Go's own example, keys in their written form, and what is refused with its line."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, strategies
from make_vectors import KEY, OTHER_KEY

from onrecord.ledger import note
from onrecord.ledger.errors import BadEvidence, ProofFailed, SigningUnavailable

# The example of Go's package note.
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"  # noqa: S105
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT + "\n— PeterNeumann"
    " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_gos_example_is_read_checked_and_made_again_byte_for_byte() -> None:
    parsed = note.parse_note(GO_NOTE)
    assert parsed.text == GO_TEXT
    public, private = note.parse_public_key(GO_PUBLIC), note.parse_private_key(GO_SECRET)
    assert note.verify(parsed, [public]) == [public]
    assert (str(private.public()), private.secret_text()) == (GO_PUBLIC, GO_SECRET)
    assert note.format_note(note.sign(note.Note(GO_TEXT), private)) == GO_NOTE


def test_a_private_key_does_not_show_its_seed_in_a_traceback() -> None:
    assert repr(KEY.seed) not in repr(KEY)


@given(strategies.text(alphabet=strategies.characters(min_codepoint=32, exclude_categories=["Cs"])).map("{}\n".format))
def test_whatever_text_is_signed_is_read_back_and_holds(text: str) -> None:
    signed = note.sign(note.sign(note.Note(text), KEY), OTHER_KEY)
    assert note.parse_note(note.format_note(signed)) == signed
    keys = [KEY.public(), OTHER_KEY.public()]
    assert note.verify(signed, keys) == keys


def test_signing_again_replaces_the_keys_own_signature_alone() -> None:
    once = note.sign(note.sign(note.Note("a\n"), KEY), OTHER_KEY)
    again = note.sign(once, KEY)
    assert [each.name for each in again.signatures] == [OTHER_KEY.name, KEY.name]


def test_a_changed_text_a_changed_signature_and_a_strangers_key_are_refused() -> None:
    signed = note.sign(note.Note("a\n"), KEY)
    for text in ("b\n", "a\n\n", "a \n"):
        with pytest.raises(ProofFailed, match="not over this text"):
            note.verify(note.Note(text, signed.signatures), [KEY.public()])
    torn = note.Signature(KEY.name, KEY.public().key_id, bytes(64))
    with pytest.raises(ProofFailed, match="not over this text"):
        note.verify(note.Note("a\n", (torn,)), [KEY.public()])
    with pytest.raises(ProofFailed, match="not signed by a key that you trust") as caught:
        note.verify(signed, [OTHER_KEY.public()])
    assert KEY.name in caught.value.why
    with pytest.raises(ProofFailed, match="not signed"):
        note.verify(note.Note("a\n"), [KEY.public()])


def test_the_signature_of_an_unknown_key_is_passed_over_also_when_it_is_nonsense() -> None:
    stranger = note.Signature("stranger", b"1234", b"nonsense")
    signed = note.sign(note.Note("a\n", (stranger,)), KEY)
    assert note.verify(signed, [KEY.public()]) == [KEY.public()]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a", 0),
        ("", 0),
        ("a\r\n", 0),
        ("a\tb\n", 0),
        ("a\n\n", 3),
        ("a\n\nno dash\n", 3),
        ("a\nb\n\n— name !!!!\n", 4),
        ("a\n\n— two words AAAAAAA=\n", 3),
        ("a\n\n— a+b AAAAAAA=\n", 3),
        ("a\n\n— name AAAA\n", 3),
        ("a\n\n— name AAAAAAB=\n", 3),
        ("a\n\n" + "— name AAAAAAA=\n" * 101, 0),
    ],
)
def test_what_is_no_note_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BadEvidence) as caught:
        note.parse_note(text)
    assert (caught.value.kind, caught.value.line) == ("note", line)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+c74f20a3",
        "name+c74f20a3+AAAA",
        GO_PUBLIC.replace("c74f20a3", "c74f20a4"),
        GO_PUBLIC.replace("c74f20a3", "c74f20"),
        GO_PUBLIC.replace("c74f20a3", "c74f20zz"),
        GO_PUBLIC.replace("PeterNeumann", "Peter Neumann"),
        GO_PUBLIC.replace("+AR", "+BR"),
        GO_SECRET,
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(BadEvidence):
        note.parse_public_key(text)


@pytest.mark.parametrize("text", ["", GO_PUBLIC, GO_SECRET.replace("c74f20a3", "c74f20a4"), GO_SECRET[:-4]])
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(BadEvidence):
        note.parse_private_key(text)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    signed = note.parse_note(GO_NOTE)
    for use in (lambda: note.sign(signed, KEY), lambda: note.verify(signed, [note.parse_public_key(GO_PUBLIC)])):
        with pytest.raises(SigningUnavailable, match=r"pip install 'onrecord\[sign\]'"):
            use()
