"""Every hash that an event makes alone or with its run, and SQLite's check of its file: half of an audit.

In a second process where it pays. That process opens the ledger itself and inherits no connection: it is
started, not forked.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from onrecord.ledger.merkle import root_of

# Small enough that the rows of a batch stay in the processor's cache: 4,096 take a quarter longer to read.
BATCH = 512
# A process takes as long to start as some ten thousand events take to hash.
_WORTH_A_PROCESS = 30_000
_ENTRY = struct.Struct(">5sQ16sQq")
_SEALED = b"run.sealed"
_SEAL = re.compile(rb'\{"count":([0-9]{1,18}),"root":"([0-9a-f]{64})","v":1\}')
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).splitlines();"
    " from onrecord.ledger.audit_hashes import main; sys.exit(main(sys.argv[1:]))"
)


class Reader(Protocol):
    """What is asked of a ledger."""

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]: ...


def suspects(reader: Reader, last: int) -> list[int]:
    """Events up to `last`, by seq, that have to be looked at again.

    Their hashes are not those of their columns, they were erased, or they are a seal that does not fit the leaves
    of its run before it. Holds those leaves: 70 bytes an event, 32 once its run is sealed.
    """
    after, suffixes, runs, found = -(2**63), dict[bytes, bytes](), dict[bytes, list[bytes]](), set[int]()
    while True:
        rows = reader.fetch(
            "SELECT seq, stream, rseq, CAST(type AS BLOB), ts, salt, payload, pcommit, leaf FROM events"
            " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (after, last, BATCH),
        )
        if not rows:
            return sorted(found)
        after = rows[-1][0]
        if not _all_right(rows, suffixes):
            found.update(row[0] for row in rows if not _all_right([row], suffixes))
        for seq, stream, _, kind, _, _, payload, _, leaf in rows:
            leaves = runs.get(stream)
            if leaves is None:
                leaves = runs[stream] = []
            if kind == _SEALED:
                if not _fits(payload, leaves):
                    found.add(seq)
                leaves[:] = [b"".join(leaves)]
            leaves.append(leaf)


def _fits(payload: bytes | None, leaves: list[bytes]) -> bool:
    """Whether a seal in its usual spelling is over these leaves, each in a piece of its own or together with others."""
    seal = _SEAL.fullmatch(payload or b"")
    if seal is None:
        return False
    whole = b"".join(leaves)
    root = root_of([whole[at : at + 32] for at in range(0, len(whole), 32)])
    return int(seal[1]) * 32 == len(whole) and seal[2].decode() == root.hex()


def _all_right(rows: Sequence[tuple[Any, ...]], suffixes: dict[bytes, bytes]) -> bool:
    seqs, streams, versions, kinds, times, salts, payloads, commitments, leaves = zip(*rows, strict=True)
    pack = _ENTRY.pack
    for kind in {*kinds} - suffixes.keys():
        suffixes[kind] = _suffix(kind)
    try:
        made = [sha256(b"RLP\1" + salt + payload).digest() for salt, payload in zip(salts, payloads, strict=True)]
        if made != list(commitments) or {*map(len, streams)} != {16}:
            return False
        entries = zip(seqs, streams, versions, times, kinds, made, strict=True)
        again = [
            sha256(pack(b"\0RLE\1", seq, stream, version, at) + suffixes[kind] + commitment).digest()
            for seq, stream, version, at, kind, commitment in entries
        ]
    except (TypeError, struct.error):
        # An erased payload, or a number that no entry can hold.
        return False
    return again == list(leaves)


def _suffix(kind: bytes) -> bytes:
    """A type's bytes in an entry; nothing, which fits no leaf, for what no entry can hold."""
    try:
        kind.decode()
        return len(kind).to_bytes(2, "big") + kind
    except (UnicodeDecodeError, OverflowError):
        return b""


class HashCheck:
    """The suspects of a whole ledger, looked for beside what the caller does meanwhile; a context manager.

    `beside`: in a second process (default: where there are events enough, and processors).
    """

    def __init__(self, reader: Reader, path: Path, last: int, *, beside: bool | None = None) -> None:
        self._reader = reader
        self._last = last
        if beside is None:
            beside = last >= _WORTH_A_PROCESS and (os.cpu_count() or 1) > 1
        self.process = _start(path, last) if beside else None

    def __enter__(self) -> HashCheck:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def answer(self) -> tuple[list[int], list[str]]:
        """The suspects, and what SQLite finds wrong with its file; found here where the other process gave none."""
        process, self.process = self.process, None
        if process is not None:
            answer, _ = process.communicate()
            if process.returncode == 0:
                suspected, faults = json.loads(answer)
                return suspected, faults
        return suspects(self._reader, self._last), file_faults(self._reader)


def file_faults(reader: Reader) -> list[str]:
    """What SQLite's own check says, nothing of a sound file."""
    # Not quick_check: an index that has lost an entry hides an event from whoever reads its run.
    return [str(problem) for (problem,) in reader.fetch("PRAGMA integrity_check") if problem != "ok"]


def _start(path: Path, last: int) -> subprocess.Popen[bytes] | None:
    # The child imports what this process can import, also where an editable install is found by other means.
    search = "\n".join([*sys.path, str(Path(sys.modules["onrecord"].__path__[0]).parent)])
    command = [sys.executable, "-I", "-S", "-c", _START, search, str(path), str(last)]
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True
        )
    except OSError:
        return None


def main(arguments: Sequence[str]) -> int:
    """The other process. Arguments: the ledger's file and the last seq."""
    from onrecord.ledger.journal import Journal

    path, last = arguments
    faults: list[list[str]] = []
    # SQLite lets go of the interpreter's lock while it checks its file.
    checking = Thread(target=lambda: faults.append(_file_faults_of(Path(path))))
    with Journal(Path(path)) as journal:
        checking.start()
        found = suspects(journal, int(last))
    checking.join()
    if not faults:
        return 1  # It could not be checked; whoever asked does so itself, and says why.
    sys.stdout.write(json.dumps([found, faults[0]]))
    return 0


def _file_faults_of(path: Path) -> list[str]:
    from onrecord.ledger.journal import Journal

    with Journal(path) as journal:
        return file_faults(journal)
