"""The committed test vectors: what they were made of gives them still, and other implementations accept them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from make_vectors import FOLDER, vectors

from onrecord.ledger import merkle, note, proofs
from onrecord.ledger.checkpoint import parse_checkpoint
from onrecord.ledger.proof_text import parse_consistency_proof
from onrecord.ledger.receipt import check, join

GO_PATH = Path(os.environ.get("GOPATH") or "/usr/share/gocode")


def committed(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["tree", "notes"])
def test_the_vectors_are_made_again_byte_for_byte(name: str) -> None:
    # Not the receipts: an event may get another field, and those that were handed out must hold all the same.
    assert vectors()[name] == committed(name)


def test_receipts_of_today_have_the_form_of_those_that_are_committed() -> None:
    today, then = vectors()["receipts"], committed("receipts")
    assert today.keys() == then.keys()
    forms = [
        [line.split(" ")[0] for line in each["receipt"].split("\n\n")[1].split("\n")] for each in today["receipts"]
    ]
    assert forms[0] == ["event", "salt", "payload", "proof", "proof", "proof"]
    assert forms[1] == ["event", "salt", "payload"]


def test_every_proof_of_the_vectors_leads_to_its_root() -> None:
    tree = committed("tree")
    leaves, roots = ([bytes.fromhex(each) for each in tree[name]] for name in ("leaves", "roots"))
    assert roots == [merkle.root_of(leaves[:size]) for size in range(len(leaves) + 1)]
    for each in tree["inclusion"]:
        proof = [bytes.fromhex(part) for part in each["proof"]]
        root = proofs.root_from_inclusion(leaves[each["index"]], each["index"], each["size"], proof)
        assert root == roots[each["size"]]
    for each in tree["consistency"]:
        proof = [bytes.fromhex(part) for part in each["proof"]]
        assert proofs.is_consistent(each["old"], roots[each["old"]], each["new"], roots[each["new"]], proof)


def test_every_note_of_the_vectors_is_signed_by_its_keys() -> None:
    for each in committed("notes"):
        parsed = note.parse_note(each["note"])
        assert parsed.text == each["text"]
        assert [str(key) for key in note.verify(parsed, map(note.parse_public_key, each["keys"]))] == each["keys"]


def test_every_receipt_of_the_vectors_confirms_its_run_and_joins_both_checkpoints() -> None:
    content = committed("receipts")
    key = note.parse_public_key(content["key"])
    old, new = map(parse_checkpoint, content["checkpoints"])
    proof = parse_consistency_proof(content["proof"])
    proof.check()
    join(old, new, proof)
    for each in content["receipts"]:
        confirmed = check(each["receipt"], keys=[key], checkpoint=old, proof=proof)
        assert (confirmed.run.run_id, confirmed.full, confirmed.checkpoint) == (each["run_id"], each["full"], new)
        assert (confirmed.run.experiment, confirmed.run.status, confirmed.events) == ("exp", "Completed", 7)


@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go here")
@pytest.mark.skipif(
    not (GO_PATH / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="golang.org/x/mod is not here (on Debian: apt-get install golang-golang-x-mod-dev)",
)
def test_gos_own_transparency_log_and_signed_notes_accept_every_vector(tmp_path: Path) -> None:
    settings = {"GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOCACHE": str(tmp_path), "CGO_ENABLED": "0"}
    program = Path(__file__).parent / "go" / "check.go"
    said = subprocess.run(
        ["go", "run", str(program), str(FOLDER)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.endswith("vectors hold\n")
