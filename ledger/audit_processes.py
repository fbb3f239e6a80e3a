"""The pieces of a ledger checked beside what the caller does meanwhile, and SQLite's check of its file.

The processes that help take one piece after the other from a pipe, as this one does when it comes to ask for the
answer: whoever is free takes the next, and nobody waits for another.
"""

from __future__ import annotations

import gc
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from onrecord.ledger.audit_pieces import PIECE, Piece, Reader, Tree, checked, pieces, suspects

# A process takes as long to start as some ten thousand events take to check.
_WORTH_A_PROCESS = 30_000
_MOST_PROCESSES = 3
# All turns fit into any pipe at once, so that putting them there waits for nobody.
_MOST_TURNS = 512
_TURN = struct.Struct("<I")
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).splitlines();"
    " from onrecord.ledger.audit_processes import main; sys.exit(main(sys.argv[1:]))"
)


class Answer(NamedTuple):
    """What was found in all pieces (see `Piece`), the tree over them, and what SQLite finds wrong with its file."""

    suspects: list[int]
    orderly: bool
    wrong_nodes: list[int]
    tree: Tree
    faults: list[str]


class Checks:
    """The check of all pieces up to the event `last`; a context manager.

    `beside`: so many processes help (default: as many as there are processors for, where there are events enough).
    """

    def __init__(self, reader: Reader, path: Path, last: int, *, beside: int | None = None) -> None:
        self._reader = reader
        self._last = last
        self._whole = False
        self._turns, self._to_do = os.pipe()
        if beside is None:
            beside = min(_processors() - 1, _MOST_PROCESSES, last // _WORTH_A_PROCESS)
        # The first of them checks the file too.
        self.processes = [_start(path, last, self._turns, checks_file=not number) for number in range(beside)]

    def begin(self, whole: bool) -> None:
        """Hand the pieces out; nothing where the ledger is not `whole`, with all events from 1 to the last."""
        self._whole = whole
        with open(self._to_do, "wb") as turns:  # noqa: PTH123 - a descriptor
            self._to_do = -1
            for first in range(0, pieces(self._last) if whole else 0, _step(self._last)):
                turns.write(_TURN.pack(first))

    def __enter__(self) -> Checks:
        return self

    def __exit__(self, *_: object) -> None:
        for process in filter(None, self.processes):
            process.kill()
            process.communicate()
        for descriptor in (self._turns, self._to_do):
            if descriptor >= 0:
                os.close(descriptor)
        self._turns = self._to_do = -1

    def answer(self) -> Answer:
        """Help with what is left, and put everything together; what a process took and did not answer is done here."""
        done = {number: checked(self._reader, number, self._last) for number in _taken(self._turns, self._last)}
        faults: list[str] | None = None
        while self.processes:
            process = self.processes.pop()
            answer = process.communicate()[0] if process else b""
            if process and process.returncode == 0:
                found, its_faults = json.loads(answer)
                done |= {number: Piece(*piece) for number, piece in found}
                faults = faults if its_faults is None else its_faults
        if faults is None:
            faults = file_faults(self._reader)
        if not self._whole:
            return Answer(suspects(self._reader, self._last), False, [], Tree(self._reader, []), faults)
        return self._together(done, faults)

    def _together(self, done: dict[int, Piece], faults: list[str]) -> Answer:
        every = [done.get(number) or checked(self._reader, number, self._last) for number in range(pieces(self._last))]
        tree = Tree(self._reader, [piece.root for piece in every][: self._last // PIECE])
        return Answer(
            [seq for piece in every for seq in piece.suspects],
            all(piece.orderly for piece in every),
            [key for piece in every for key in piece.wrong_nodes] + tree.wrong_nodes(self._last),
            tree,
            faults,
        )


def file_faults(reader: Reader) -> list[str]:
    """What SQLite's own check says, nothing of a sound file."""
    # Not quick_check: an index that has lost an entry hides an event from whoever reads its run.
    return [str(problem) for (problem,) in reader.fetch("PRAGMA integrity_check") if problem != "ok"]


def main(arguments: Sequence[str]) -> int:
    """A process that helps. Arguments: the ledger's file, the last seq, the turns' descriptor, 1 to check the file."""
    from onrecord.ledger.journal import Journal

    path, last, turns, checks_file = Path(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3] == "1"
    # Nothing here makes cycles, and the collector would look for them in every batch.
    gc.disable()
    faults: list[list[str]] = []
    # SQLite lets go of the interpreter's lock while it checks its file.
    checking = Thread(target=lambda: faults.append(_file_faults_of(path)))
    if checks_file:
        checking.start()
    with Journal(path) as journal:
        _read_once(journal)
        found = [(number, checked(journal, number, last)) for number in _taken(turns, last)]
    if checks_file:
        checking.join()
        if not faults:
            return 1  # It could not be checked; whoever asked does so itself, and says why.
    sys.stdout.write(json.dumps([found, faults[0] if faults else None]))
    return 0


def _taken(turns: int, last: int) -> Iterator[int]:
    """The pieces whose turn it is, until nothing is left for anybody."""
    while len(turn := os.read(turns, _TURN.size)) == _TURN.size:
        (first,) = _TURN.unpack(turn)
        yield from range(first, min(first + _step(last), pieces(last)))


def _step(last: int) -> int:
    return -(-pieces(last) // _MOST_TURNS) or 1


def _processors() -> int:
    # Fewer than the machine has, where this process is kept to some of them.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(path: Path, last: int, turns: int, *, checks_file: bool) -> subprocess.Popen[bytes] | None:
    # The child imports what this process can import, also where an editable install is found by other means.
    search = "\n".join([*sys.path, str(Path(sys.modules["onrecord"].__path__[0]).parent)])
    arguments = [search, str(path), str(last), str(turns), str(int(checks_file))]
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[turns],
        )
    return None


def _file_faults_of(path: Path) -> list[str]:
    from onrecord.ledger.journal import Journal

    with Journal(path) as journal:
        _read_once(journal)
        return file_faults(journal)


def _read_once(reader: Reader) -> None:
    # No page is asked for again: a large cache would only keep them out of the processor's own.
    reader.fetch("PRAGMA cache_size = -2000")
