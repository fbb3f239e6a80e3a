"""Reading what is new: the first few files at once, many of them together with helping processes.

A helping process (`intake_process`) reads, hashes, compresses and writes into a pack of its own; this process says what
to read and which of it is new, and reads itself meanwhile. One message is on its way at a time, so that neither
side can block the other.
"""

from __future__ import annotations

import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import blake3

from onrecord.snapshot import processes
from onrecord.snapshot.intake_process import Found, ReadFolder, received, sent
from onrecord.snapshot.layout import Place
from onrecord.snapshot.stable import KindChanged, unreadable
from onrecord.snapshot.stamps import FOLDER, signature
from onrecord.snapshot.store import add_file
from onrecord.snapshot.writer import PrivatePack, Writer

__all__ = ["Found", "HelperLost", "ReadFolder", "Intake"]

# A helping process takes as long to start as this many files to read.
_ALONE = 400
_FILES = 1_000
_OWN_FILES = 60
_PATH_MAX = 3_500
_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from onrecord.snapshot.intake_process import main; main()"

Took = Callable[[ReadFolder, bytes, Found | None], None]
_Work = tuple[ReadFolder, list[bytes]]


class HelperLost(Exception):
    """A helping process has died, and with it what it had written; never leaves this package."""


class Intake:
    """Reads files into a write. A context manager; on leaving it no helping process is left."""

    def __init__(self, writer: Writer, root: int, took: Took, *, alone: bool) -> None:
        """`root`: descriptor of the source. `took` is told of each file. `alone`: without helping processes."""
        self._writer = writer
        self._root = root
        self._took = took
        self._alone = alone
        self._read = 0
        self._queue: deque[_Work] = deque()
        self._helpers: list[_Helper] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for helper in self._helpers or ():
            helper.stop()

    def read(self, folder: ReadFolder, fd: int, names: list[bytes]) -> None:
        """Read files of a folder whose descriptor is `fd`, now or before `finish` has returned."""
        if self._alone or len(folder.path) > _PATH_MAX or self._read < _ALONE:
            self._read_here(folder, fd, names)
            return
        self._queue.append((folder, names))
        if self._helpers is None:
            self._start()
        if self._alone:
            self._work_off()
        else:
            self._attend(0)

    def finish(self) -> None:
        """Read what is left; then everything has been told."""
        while self._queue or any(helper.busy for helper in self._helpers or ()):
            if self._helpers:
                self._attend(None if not self._queue else 0)
            self._work_off(_OWN_FILES)
        for helper in self._helpers or ():
            helper.finish()

    def _start(self) -> None:
        wanted = processes.helpers()
        self._helpers = []
        for _ in range(wanted):
            helper = _Helper.started(self._writer, self._root)
            if helper is not None:
                self._helpers.append(helper)
        self._alone = not self._helpers

    def _attend(self, seconds: float | None) -> None:
        """Take the answers of those who have one, and give work to those who have none."""
        helpers = self._helpers or []
        waiting = [helper for helper in helpers if helper.busy]
        ready = select.select([helper.answers for helper in waiting], [], [], seconds)[0] if waiting else []
        for helper in waiting:
            if helper.answers in ready:
                helper.take(self._took, self._queue)
        for helper in helpers:
            if not helper.busy:
                helper.give(self._next(_FILES))

    def _next(self, files: int) -> list[_Work]:
        work: list[_Work] = []
        while self._queue and files > 0:
            folder, names = self._queue.popleft()
            work.append((folder, names[:files]))
            if len(names) > files:
                self._queue.appendleft((folder, names[files:]))
            files -= len(names)
        return work

    def _work_off(self, files: int = sys.maxsize) -> None:
        for folder, names in self._next(files):
            try:
                fd = os.open(folder.path or b".", FOLDER, dir_fd=self._root)
            except FileNotFoundError:
                self._gone(folder, names)
                continue
            except OSError as error:
                raise unreadable(folder.path[:-1], error) from error
            try:
                status = os.fstat(fd)
                # A link further up may have led elsewhere.
                if (status.st_dev, status.st_ino) == folder.identity:
                    self._read_here(folder, fd, names)
                else:
                    self._gone(folder, names)
            finally:
                os.close(fd)

    def _gone(self, folder: ReadFolder, names: Iterable[bytes]) -> None:
        for name in names:
            self._took(folder, name, None)

    def _read_here(self, folder: ReadFolder, fd: int, names: list[bytes]) -> None:
        self._read += len(names)
        for name in names:
            try:
                digest, size, status = add_file(self._writer, name, fd, folder.path + name)
            except (FileNotFoundError, KindChanged):
                self._took(folder, name, None)
            else:
                self._took(folder, name, (signature(status), digest, size))


class _Helper:
    """One helping process: `busy` while it owes an answer."""

    def __init__(self, writer: Writer, pack: PrivatePack, process: int, requests: int, answers: int) -> None:
        self._writer = writer
        self._pack = pack
        self._process = process
        self._requests = requests
        self.answers = answers
        self.busy = False
        self._work: list[_Work] = []
        self._keep: list[int] = []

    @classmethod
    def started(cls, writer: Writer, root: int) -> _Helper | None:
        """A new one; None where there can be none."""
        pack = writer.new_pack()
        their_requests, requests = os.pipe()
        answers, their_answers = os.pipe()
        paths = [str(Path(module.__file__ or "").parent.parent) for module in (sys.modules["onrecord"], blake3)]
        process = processes.start(["-c", _MAIN, *paths, *sys.path], [root, pack.fd, their_requests, their_answers])
        os.close(their_requests)
        os.close(their_answers)
        if process is None:
            os.close(requests)
            os.close(answers)
            return None
        return cls(writer, pack, process, requests, answers)

    def give(self, work: list[_Work]) -> None:
        """Have it keep what was new of the last work, and read more; nothing when there is neither."""
        if not work and not self._keep:
            return
        self._work = work
        folders = [(folder.path, folder.identity, names) for folder, names in work]
        try:
            sent(self._requests, (self._keep, folders))
        except BrokenPipeError:
            raise HelperLost from None
        self._keep = []
        self.busy = True

    def take(self, took: Took, queue: deque[_Work]) -> None:
        """Take its answer; what it left for us goes to the front of the queue."""
        try:
            places, end, found = received(self.answers)
        except (EOFError, ValueError, TypeError):
            raise HelperLost from None
        self.busy = False
        self._pack.places.update((place[0], Place(*place)) for place in places)
        self._pack.written.end = end
        self._judge([(folder, name) for folder, names in self._work for name in names], found, took, queue)

    def _judge(self, files: list[tuple[ReadFolder, bytes]], found: list[Any], took: Took, queue: deque[_Work]) -> None:
        read = [(at, entry) for at, entry in enumerate(found) if isinstance(entry, tuple)]
        new = self._writer.wanted((digest, size) for _, (_, digest, size) in read)
        for at, (_, digest, _) in read:
            if digest in new:
                new.discard(digest)
                self._keep.append(at)
        for (folder, name), entry in zip(files, found, strict=True):
            if entry is None or isinstance(entry, tuple):
                took(folder, name, entry)
            else:
                queue.appendleft((folder, [name]))

    def finish(self) -> None:
        """Have it write what is still new and take its last word."""
        self.give([])
        if self.busy:
            self.take(lambda *_: None, deque())

    def stop(self) -> None:
        """End the process."""
        os.close(self._requests)
        os.close(self.answers)
        processes.end(self._process)
