"""Compression in a few threads, beside the thread that reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from onrecord.snapshot.encoding import encode

if TYPE_CHECKING:
    from queue import SimpleQueue

_THREADS = 4
_INLINE_BYTES = 256 << 10
# On average smaller, objects cost more in turns between threads than a second core gives.
_SMALL = 32 << 10
_JOB_BYTES = 1 << 20
_JOBS_AHEAD = 8


class Encoded(NamedTuple):
    """An object ready to be written: `size` is its own, `kept` the bytes to write."""

    digest: bytes
    encoding: int
    kept: bytes
    size: int


Job = list[tuple[bytes, bytes]]


def encode_all(job: Job) -> list[Encoded]:
    """Encode objects (address, bytes) here and now."""
    return [Encoded(digest, *encode(data), len(data)) for digest, data in job]


class _Pool:
    """Running threads, fed and emptied through two queues."""

    def __init__(self) -> None:
        import threading
        from queue import SimpleQueue

        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.done: SimpleQueue[list[Encoded] | Exception] = SimpleQueue()
        self.running = 0
        self._threads = min(_THREADS, os.cpu_count() or 1)
        for _ in range(self._threads):
            threading.Thread(target=self._work, name="onrecord-encode", daemon=True).start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            try:
                self.done.put(encode_all(job))
            except Exception as error:  # handed to the thread that waits
                self.done.put(error)

    def submit(self, job: Job) -> None:
        self.jobs.put(job)
        self.running += 1

    def take(self) -> list[Encoded]:
        result = self.done.get()
        self.running -= 1
        if isinstance(result, Exception):
            raise result
        return result

    def stop(self) -> None:
        for _ in range(self._threads):
            self.jobs.put(None)


class Encoders:
    """Threads that the first large batch starts; results come back in no particular order."""

    def __init__(self) -> None:
        self._pool: _Pool | None = None

    def put(self, objects: Job) -> list[Encoded]:
        """Hand in objects (address, bytes); returns whatever has been finished so far."""
        size = sum(len(data) for _, data in objects)
        if size < _INLINE_BYTES or size < _SMALL * len(objects):
            return encode_all(objects)
        pool = self._pool = self._pool or _Pool()
        finished: list[Encoded] = []
        for job in _jobs(objects):
            pool.submit(job)
            while pool.running > _JOBS_AHEAD or (pool.running and not pool.done.empty()):
                finished += pool.take()
        return finished

    def finish(self) -> list[Encoded]:
        """Wait for everything handed in and end the threads."""
        finished: list[Encoded] = []
        try:
            while self._pool is not None and self._pool.running:
                finished += self._pool.take()
        finally:
            self.stop()
        return finished

    def stop(self) -> None:
        """End the threads; what they had not finished is dropped."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()


def _jobs(objects: Job) -> Iterator[Job]:
    job: Job = []
    size = 0
    for entry in objects:
        job.append(entry)
        size += len(entry[1])
        if size >= _JOB_BYTES:
            yield job
            job, size = [], 0
    if job:
        yield job
