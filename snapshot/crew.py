"""A few threads that do jobs, for work that mostly waits for the kernel or runs outside of Python's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Job = Callable[[], None]
_TICK_SECONDS = 0.1
_MOST = 8


class GivenUp(Exception):
    """Raised inside a job whose crew has been given up; never leaves this package."""


class Crew:
    """A context manager. The first error of a job is raised by `put` or `finish`; what was not begun is dropped then.

    `meanwhile` is called by the thread that puts and waits, some ten times a second and after every job.
    """

    def __init__(self, threads: int, meanwhile: Callable[[], None]) -> None:
        """With 0 `threads` a job is done where it is put."""
        self._meanwhile = meanwhile
        self._running = 0
        self._given_up = False
        self._threads: list[threading.Thread] = []
        if threads:
            self._start(threads)

    def _start(self, threads: int) -> None:
        from queue import SimpleQueue

        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        for _ in range(threads):
            thread = threading.Thread(target=self._work, name="onrecord-restore", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No more threads are to be had: fewer do it too, or none.
                break
            self._threads.append(thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Drop what was not begun, give up what was, and wait until no thread is left."""
        self._given_up = True
        for _ in self._threads:
            self._jobs.put(None)
        while self._threads:
            self._threads.pop().join()

    def put(self, job: Job) -> None:
        """Have a job done, after those put before it."""
        if not self._threads:
            job()
            self._meanwhile()
            return
        self._jobs.put(job)
        self._running += 1

    def wait_for_room(self) -> None:
        """Wait until a thread has nothing to do."""
        while self._running >= len(self._threads) > 0:
            self._wait()

    def finish(self) -> None:
        """Wait until every job is done."""
        while self._running:
            self._wait()

    def go_on(self) -> None:
        """For a long job to call now and then; raises GivenUp when nobody waits for it any more."""
        if self._given_up:
            raise GivenUp

    def _wait(self) -> None:
        from queue import Empty

        try:
            problem = self._done.get(timeout=_TICK_SECONDS)
            self._running -= 1
        except Empty:
            problem = None
        if problem is not None:
            raise problem
        self._meanwhile()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            problem: BaseException | None = None
            try:
                if not self._given_up:
                    job()
            except BaseException as error:  # handed to the thread that waits
                problem = error
            # What a job holds, such as open folders, is let go before anyone hears that it is done.
            del job
            self._done.put(problem)


def useful_threads() -> int:
    """How many threads are worth having: one for each core that this process may use, up to 8."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return min(cores, _MOST)
