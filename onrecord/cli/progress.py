"""How far a long command has come: a bar on a terminal, after two seconds, and nothing anywhere else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onrecord.wording import counted, size

if TYPE_CHECKING:
    from rich.progress import Progress, Task

PATIENCE_SECONDS = 2.0

Tell = Callable[[int, int], None]


@contextmanager
def progress_of(what: str, unit: str = "byte") -> Iterator[Tell | None]:
    """What is to be told what is done and what there is in all (0 where that is not known), in bytes or a `unit`.

    None where stderr is no terminal. The bar shows the rate, and the time that is left where the whole is known.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with _Bar(what, unit) as bar:
        yield bar.tell


@contextmanager
def files_progress_of(what: str, files: int = 0, total_bytes: int = 0) -> Iterator[Tell | None]:
    """The same for files: what is to be told the files and the bytes done so far. `files`, `total_bytes`: in all."""
    if not sys.stderr.isatty():
        yield None
        return
    # Where there is hardly a byte in the files, they are what counts.
    with _Bar(what, "byte" if total_bytes or not files else "file", files) as bar:
        if bar.unit == "file":
            yield lambda seen, _: bar.tell(seen, files)
        else:
            yield lambda seen, done: bar.tell(done, total_bytes, seen)


class _Bar:
    """A bar that appears when the work has taken two seconds, whether or not anything was told by then."""

    def __init__(self, what: str, unit: str, files: int = 0) -> None:
        self.unit = unit
        self._what = what
        self._all_files = files
        self._done, self._total, self._files = 0, 0, 0
        self._bar: Progress | None = None
        self._ended = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE_SECONDS, self._appear)
        self._timer.daemon = True

    def __enter__(self) -> _Bar:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._bar is not None:
                self._bar.stop()

    def tell(self, done: int, total: int, files: int = 0) -> None:
        """How far it is now; cheap, for it may be called for every file."""
        self._done, self._total, self._files = done, total, files
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total or None)

    def _appear(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
        from rich.text import Text

        class Words(ProgressColumn):
            def __init__(self, words: Callable[[Task], str]) -> None:
                super().__init__()
                self._words = words

            def render(self, task: Task) -> Text:
                return Text(self._words(task))

        columns = (TextColumn(f"onrecord: {self._what}"), BarColumn(24), Words(self._amount), Words(self._pace))
        with self._lock:
            if self._ended:
                return
            bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
            bar.add_task(self._what, total=self._total or None, completed=self._done)
            bar.start()
            self._bar = bar

    def _amount(self, task: Task) -> str:
        done, total = int(task.completed), task.total
        if self.unit != "byte":
            return f"{done:,} of {counted(int(total), self.unit)}" if total else counted(done, self.unit)
        amount = f"{size(done)} of {size(int(total))}" if total else size(done)
        if not self._files:
            return amount
        files = (
            f"{self._files:,} of {counted(self._all_files, 'file')}"
            if self._all_files
            else counted(self._files, "file")
        )
        return f"{files}, {amount}"

    def _pace(self, task: Task) -> str:
        speed = task.finished_speed or task.speed
        if not speed:
            return ""
        rate = f"{size(int(speed))}/s" if self.unit == "byte" else f"{speed:,.0f}/s"
        left = task.time_remaining
        return rate if left is None or not task.total else f"{rate}, {_span(left)} left"


def _span(seconds: float) -> str:
    """A time that is left, no finer than it is known."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
