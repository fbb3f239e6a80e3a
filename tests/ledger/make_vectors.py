"""Test vectors that other implementations can check: python tests/ledger/make_vectors.py writes them anew.

Everything in them is fixed: times, salts, ids and keys come from the code below.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from make_ledger import finished_run, run_id, submitted, whole_life

from onrecord.ledger import merkle, note, proofs
from onrecord.ledger.checkpoint import parse_checkpoint
from onrecord.ledger.history import History
from onrecord.ledger.journal import Journal

FOLDER = Path(__file__).parent / "vectors"
KEY = note.PrivateKey("example.org/ada", hashlib.sha256(b"a seed for tests").digest())
OTHER_KEY = note.PrivateKey("witness.example", hashlib.sha256(b"another one").digest())
SIZES = (1, 2, 3, 4, 7, 8, 13, 16, 21)


def tree_vectors() -> dict[str, Any]:
    """Leaves and the roots, inclusion and consistency proofs of trees over the first of them."""
    leaves = [hashlib.sha256(b"\x00leaf %d" % number).digest() for number in range(SIZES[-1])]
    node = proofs.nodes_of(leaves)
    inclusion = [(index, size) for size in SIZES for index in range(size)]
    consistency = [(old, new) for new in SIZES for old in SIZES if old <= new]
    return {
        "leaves": [leaf.hex() for leaf in leaves],
        "roots": [merkle.root_of(leaves[:size]).hex() for size in range(len(leaves) + 1)],
        "inclusion": [
            {"index": index, "size": size, "proof": _hex(proofs.inclusion_proof(index, size, node))}
            for index, size in inclusion
        ],
        "consistency": [
            {"old": old, "new": new, "proof": _hex(proofs.consistency_proof(old, new, node))}
            for old, new in consistency
        ],
    }


def note_vectors() -> list[dict[str, Any]]:
    """Notes with one and with two signatures, and the keys."""
    text = "onrecord/00112233445566778899aabbccddeeff\n3\n" + "A" * 43 + "=\n"
    once = note.sign(note.Note(text), KEY)
    twice = note.sign(once, OTHER_KEY)
    free = note.sign(note.Note("Non ci sono più le mezze stagioni,\n\nsigned all the same.\n"), KEY)
    return [
        {"text": each.text, "note": note.format_note(each), "keys": [str(key.public()) for key in keys]}
        for each, keys in ((once, [KEY]), (twice, [KEY, OTHER_KEY]), (free, [KEY]))
    ]


def receipt_vectors(folder: Path) -> dict[str, Any]:
    """Receipts of the runs of one ledger, short and full, and the proofs between its checkpoints."""
    ticks, salts = itertools.count(1_767_225_600_000_000, 1_000), itertools.count()
    with Journal(
        folder / "ledger.db",
        clock=lambda: next(ticks),
        entropy=lambda count: hashlib.sha256(b"salt %d" % next(salts)).digest()[:count],
    ) as book:
        book.append(run_id(1), whole_life(), seal=True)
        history = History(book)
        old = history.checkpoint()
        finished_run(book, 2)
        book.append(run_id(3), [submitted(experiment="unfinished")])
        signed = note.format_note(note.sign(history.checkpoint().as_note(), KEY))
        new = parse_checkpoint(signed)
        receipts = [
            {"run_id": run_id(number), "full": full, "receipt": str(history.receipt(run_id(number), new, full=full)),
             "leaf": book.fetch("SELECT leaf FROM events WHERE seq = ?", (number * 8,))[0][0].hex()}
            for number in (1, 2) for full in (False, True)
        ]  # fmt: skip
        return {
            "key": str(KEY.public()),
            "checkpoints": [str(old), str(new)],
            "proof": str(history.consistency(old, new)),
            "receipts": receipts,
        }


def vectors() -> dict[str, Any]:
    """All of them, by the name of their file."""
    with tempfile.TemporaryDirectory() as folder:
        return {"tree": tree_vectors(), "notes": note_vectors(), "receipts": receipt_vectors(Path(folder))}


def _hex(hashes: list[bytes]) -> list[str]:
    return [each.hex() for each in hashes]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in vectors().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")
