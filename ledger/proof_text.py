"""Proofs as text files: of one event (https://c2sp.org/tlog-proof), and that one history extends another.

    c2sp.org/tlog-proof@v1          onrecord/consistency-proof@v1
    index 73894                     old 1200 CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
    gSKyXoYZUgZ6jduWYrkDOAR…        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
    (more hashes)                   (more hashes)
                                    (an empty line in both)
    onrecord/… (the checkpoint)     onrecord/… (the newer checkpoint)

The body of the second is that of https://c2sp.org/tlog-witness, with the older root beside the older size.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import attrs

from onrecord.ledger import proofs
from onrecord.ledger.checkpoint import Checkpoint, parse_checkpoint
from onrecord.ledger.errors import BadEvidence, ProofFailed
from onrecord.ledger.note import decode_base64

TLOG_PROOF = "c2sp.org/tlog-proof@v1"
CONSISTENCY_PROOF = "onrecord/consistency-proof@v1"
_NUMBER = "(0|[1-9][0-9]{0,18})"
_INDEX = re.compile(f"index {_NUMBER}")
_OLD = re.compile(f"old {_NUMBER} (.*)")
# A tree of 2**63 leaves needs no more.
_MOST_HASHES = 64


@attrs.frozen
class InclusionProof:
    """Leaf `index` (from 0) is in the tree that `checkpoint` names; `extra` is whatever its maker put beside it."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {base64.b64encode(self.extra).decode()}"]
        return _text([TLOG_PROOF, *extra, f"index {self.index}"], self.hashes, self.checkpoint)

    def check(self, leaf: bytes) -> None:
        """Refuse a leaf that this proof does not lead to the checkpoint's root. Raises ProofFailed."""
        size = self.checkpoint.size
        if proofs.root_from_inclusion(leaf, self.index, size, self.hashes) != self.checkpoint.root:
            raise ProofFailed(
                f"event {self.index + 1} is not in the history that the checkpoint names",
                why=f"its proof does not lead to the root {self.checkpoint.root.hex()} of {size} events",
                kind="tlog-proof",
            )


@attrs.frozen
class ConsistencyProof:
    """The history that `new` names begins with the `old_size` events whose root is `old_root`."""

    old_size: int
    old_root: bytes
    hashes: tuple[bytes, ...]
    new: Checkpoint

    def __str__(self) -> str:
        old = f"old {self.old_size} {base64.b64encode(self.old_root).decode()}"
        return _text([CONSISTENCY_PROOF, old], self.hashes, self.new)

    def check(self) -> None:
        """Refuse a proof whose hashes do not lead to both roots. Raises ProofFailed."""
        new = self.new
        if not proofs.is_consistent(self.old_size, self.old_root, new.size, new.root, self.hashes):
            raise ProofFailed(
                f"the history of {new.size} events does not extend that of {self.old_size}",
                why=f"the proof does not lead from the root {self.old_root.hex()} to {new.root.hex()}",
                kind="consistency-proof",
            )

    def joins(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Whether this is about these two checkpoints, in either order."""
        ends = {(self.old_size, self.old_root), (self.new.size, self.new.root)}
        return (
            ends == {(one.size, one.root), (other.size, other.root)} and one.origin == other.origin == self.new.origin
        )


def parse_inclusion_proof(text: str, *, line: int = 1) -> InclusionProof:
    """The proof behind a text in tlog-proof form; `line` is where it starts in its file. Raises BadEvidence."""
    head, checkpoint = _split(text, "tlog-proof", line)
    if head.pop(0) != TLOG_PROOF:
        raise _bad("tlog-proof", f"it starts with {TLOG_PROOF}", line)
    at, extra = line + 1, None
    if head and head[0].startswith("extra "):
        extra = decode_base64(head.pop(0).removeprefix("extra "))
        if extra is None:
            raise _bad("tlog-proof", "the extra data is base64", at)
        at += 1
    found = _INDEX.fullmatch(head[0]) if head else None
    if found is None:
        raise _bad("tlog-proof", "here stands: index NUMBER", at)
    return InclusionProof(int(found[1]), _hashes(head[1:], "tlog-proof", at + 1), checkpoint, extra)


def parse_consistency_proof(text: str) -> ConsistencyProof:
    """The proof behind a text. Raises BadEvidence."""
    head, new = _split(text, "consistency-proof", 1)
    if head[0] != CONSISTENCY_PROOF:
        raise _bad("consistency-proof", f"it starts with {CONSISTENCY_PROOF}", 1)
    found = _OLD.fullmatch(head[1]) if len(head) > 1 else None
    root = decode_base64(found[2]) if found else None
    if found is None or root is None or len(root) != 32:
        raise _bad("consistency-proof", "here stands: old NUMBER-OF-EVENTS ROOT-IN-BASE64", 2)
    return ConsistencyProof(int(found[1]), root, _hashes(head[2:], "consistency-proof", 3), new)


def hash_lines(hashes: Sequence[bytes]) -> list[str]:
    """Each hash in base64."""
    return [base64.b64encode(each).decode() for each in hashes]


def _text(head: Sequence[str], hashes: Sequence[bytes], checkpoint: Checkpoint) -> str:
    return "".join(f"{line}\n" for line in [*head, *hash_lines(hashes), ""]) + str(checkpoint)


def _split(text: str, kind: str, line: int) -> tuple[list[str], Checkpoint]:
    head, blank, rest = text.partition("\n\n")
    if not blank:
        raise _bad(kind, "an empty line and a checkpoint are missing", line)
    lines = head.split("\n")
    return lines, parse_checkpoint(rest, line=line + len(lines) + 1)


def _hashes(lines: Sequence[str], kind: str, first: int) -> tuple[bytes, ...]:
    if len(lines) > _MOST_HASHES:
        raise _bad(kind, f"no such proof has more than {_MOST_HASHES} hashes", first)
    found = []
    for number, line in enumerate(lines, first):
        value = decode_base64(line)
        if value is None or len(value) != 32:
            raise _bad(kind, "a hash is 32 bytes in base64", number)
        found.append(value)
    return tuple(found)


def _bad(kind: str, why: str, line: int) -> BadEvidence:
    return BadEvidence(f"line {line} of this {kind} cannot be read", why=why, kind=kind, line=line)
