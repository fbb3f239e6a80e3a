"""What can be said of a stretch of events without those before it: hashes, order, seals, and the tree above them.

A ledger is checked in pieces of 16,384 events, each on its own, so that as many processes as there are processors
take one after the other. A process opens the ledger itself and inherits no connection: it is started, not forked.
Everything here only compares; what is wrong with an event that differs is said by `audit_event`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from onrecord.ledger.merkle import Frontier, root_of
from onrecord.ledger.projections import tree

# Small enough that the rows of a batch stay in the processor's cache: 4,096 take a quarter longer to read.
BATCH = 512
HEIGHT = 14
# A whole subtree, so that the nodes in it and its root do not depend on the events before it.
PIECE = 1 << HEIGHT
_ENTRY = struct.Struct(">5sQ16sQq")
SEALED = b"run.sealed"
SEAL = re.compile(rb'\{"count":(0|[1-9][0-9]{0,17}),"root":"([0-9a-f]{64})","v":1\}')


class Reader(Protocol):
    """What is asked of a ledger."""

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]: ...


class Piece(NamedTuple):
    """What was found in one piece; of JSON's own types.

    `suspects`: events, by seq, that have to be looked at again: their hashes are not those of their columns, they
    were erased, or they are a seal that does not fit the leaves of its run before it. `orderly`: whether no event
    is missing, and each is the next one of its run. `wrong_nodes`: the ids of stored nodes that are not those of
    the leaves. `root`: 64 hex digits, of a whole piece.
    """

    suspects: list[int]
    orderly: bool
    wrong_nodes: list[int]
    root: str


def pieces(last: int) -> int:
    """How many pieces the events up to `last` are."""
    return -(-last // PIECE)


def checked(reader: Reader, number: int, last: int) -> Piece:
    """Check the piece `number`, from 0, of a ledger with all events up to `last`."""
    look, start = _looked(reader, number, last), number * PIECE
    end = min(start + PIECE, last)
    orderly = look.orderly and len(look.leaves) == end - start and look.goes_on()
    frontier = Frontier()
    made = frontier.extend(look.leaves)
    return Piece(sorted(look.suspects), orderly, _wrong_nodes(reader, start, end, made), frontier.root().hex())


def suspects(reader: Reader, last: int) -> list[int]:
    """The suspects of a ledger of which events are missing, or have numbers that no event can have."""
    numbers = reader.fetch("SELECT DISTINCT seq - 1 >> ? FROM events WHERE seq <= ? ORDER BY 1", (HEIGHT, last))
    return [seq for (number,) in numbers for seq in sorted(_looked(reader, number, last).suspects)]


def _looked(reader: Reader, number: int, last: int) -> _Look:
    start = number * PIECE
    look = _Look(reader, start)
    after, end = start, min(start + PIECE, last)
    while rows := reader.fetch(
        "SELECT seq, stream, rseq, CAST(type AS BLOB), ts, salt, payload, pcommit, leaf FROM events"
        " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        (after, end, BATCH),
    ):
        look.at(rows)
        after = rows[-1][0]
    return look


class _Look:
    """What is known of a piece after the events so far."""

    def __init__(self, reader: Reader, start: int) -> None:
        self.suspects: set[int] = set()
        self.leaves: list[bytes] = []
        self.orderly = True
        self._reader = reader
        self._start = start
        self._suffixes = _Suffixes()
        # Of each run its first version here, and behind it the leaves from there on.
        self._runs: dict[bytes, list[Any]] = {}

    def at(self, rows: list[tuple[Any, ...]]) -> None:
        """Go on over the next events."""
        before, runs = self._start + len(self.leaves), self._runs
        wrong = _wrong_hashes(rows, self._suffixes)
        self.suspects.update(wrong)
        if wrong and not _is_shaped(rows):
            self.orderly = False
            return
        self.orderly = self.orderly and (rows[0][0], rows[-1][0]) == (before + 1, before + len(rows))
        for seq, stream, version, kind, _, _, payload, _, leaf in rows:
            run = runs.get(stream)
            if run is None:
                run = runs[stream] = [version]
            if version != run[0] + len(run) - 1:
                self.orderly = False
            if kind == SEALED and not self._fits(payload, stream, version):
                self.suspects.add(seq)
            run.append(leaf)
        self.leaves += [row[-1] for row in rows]

    def goes_on(self) -> bool:
        """Whether each run that began before this piece goes on from its last event there."""
        return all(version == 1 or self._follows(stream, version) for stream, (version, *_) in self._runs.items())

    def _follows(self, stream: bytes, version: int) -> bool:
        found = self._reader.fetch("SELECT seq FROM events WHERE stream = ? AND rseq = ?", (stream, version - 1))
        return bool(found) and found[0][0] <= self._start

    def _fits(self, payload: bytes | None, stream: bytes, version: int) -> bool:
        """Whether the seal that is event `version` of a run is, in its usual spelling, over all leaves before it."""
        seal = SEAL.fullmatch(payload or b"")
        if seal is None:
            return False
        first = self._runs[stream][0]
        leaves = self._runs[stream][1 : version - first + 1]
        if first != 1:
            earlier = self._reader.fetch(
                "SELECT leaf FROM events WHERE stream = ? AND rseq < ? ORDER BY rseq", (stream, first)
            )
            leaves = [*(leaf for (leaf,) in earlier), *leaves]
        if {*map(type, leaves)} - {bytes}:
            return False  # An earlier piece tells of a leaf that is no hash.
        return int(seal[1]) == len(leaves) and seal[2].decode() == root_of(leaves).hex()


def _wrong_nodes(reader: Reader, start: int, end: int, made: tree.Made) -> list[int]:
    ids = (start * 64 + 63, end * 64 + 63, HEIGHT)
    stored = reader.fetch("SELECT id, hash FROM tree WHERE id > ? AND id <= ? AND id & 63 <= ?", ids)
    expected = dict(tree.rows(made)) if stored else {}
    return [key for key, node in stored if node != expected.get(key - start * 64)]


def _is_shaped(rows: list[tuple[Any, ...]]) -> bool:
    # Of the fields that are more than hashed.
    kinds = [set(map(type, column)) for column in zip(*rows, strict=True)]
    allowed: dict[int, set[type[Any]]] = {1: {bytes}, 2: {int}, 6: {bytes, type(None)}, 8: {bytes}}
    return all(kinds[place] <= fitting for place, fitting in allowed.items())


class _Suffixes(dict[bytes, bytes]):
    """By type, its bytes in an entry; nothing, which fits no leaf, for what no entry can hold."""

    def __missing__(self, kind: bytes) -> bytes:
        try:
            kind.decode()
            suffix = len(kind).to_bytes(2, "big") + kind
        except (UnicodeDecodeError, OverflowError):
            suffix = b""
        self[kind] = suffix
        return suffix


def _wrong_hashes(rows: list[tuple[Any, ...]], suffixes: _Suffixes) -> list[int]:
    pack = _ENTRY.pack
    try:
        return [
            seq
            for seq, stream, version, kind, at, salt, payload, commitment, leaf in rows
            if (made := sha256(b"RLP\1" + salt + payload).digest()) != commitment
            or sha256(pack(b"\0RLE\1", seq, stream, version, at) + suffixes[kind] + made).digest() != leaf
            or len(stream) != 16
        ]
    except (TypeError, struct.error):
        # An erased payload, or a number that no entry can hold.
        return [row[0] for row in rows if len(rows) == 1 or _wrong_hashes([row], suffixes)]


class Tree:
    """The tree over all events, from the roots of the whole pieces and the leaves behind them.

    `roots`: 64 hex digits each.
    """

    def __init__(self, reader: Reader, roots: Sequence[str]) -> None:
        self._reader = reader
        self._roots = [bytes.fromhex(root) for root in roots]

    def root(self, size: int) -> bytes:
        """The root over the first `size` events, 32 bytes."""
        whole = size >> HEIGHT
        top, low = Frontier(), Frontier()
        top.extend(self._roots[:whole])
        leaves = self._reader.fetch(
            "SELECT leaf FROM events WHERE seq > ? AND seq <= ? ORDER BY seq", (whole * PIECE, size)
        )
        low.extend([leaf for (leaf,) in leaves])
        high = {height + HEIGHT: node for height, node in top.subtrees.items()}
        return Frontier(size, {**low.subtrees, **high}).root()

    def wrong_nodes(self, last: int) -> list[int]:
        """The ids of stored nodes above the pieces that are not those of the events up to `last`."""
        ids = (last * 64 + 63, HEIGHT)
        stored = self._reader.fetch("SELECT id, hash FROM tree WHERE id > 63 AND id <= ? AND id & 63 > ?", ids)
        expected = {
            tree.key(height + HEIGHT, first + place): node
            for height, first, nodes in Frontier().extend(self._roots)
            for place, node in enumerate(nodes)
        }
        return [key for key, node in stored if node != expected.get(key)]
