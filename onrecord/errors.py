"""The one base of every error that onrecord raises on purpose.

The only module of the face that the engines may import, so that a caller can write one `except`.
"""

from __future__ import annotations

from typing import Any


class OnRecordError(Exception):
    """Something that the caller can act on: what happened, why, and what to type next.

    `values` become attributes of the error, so that a program can read what the text says.

    >>> error = OnRecordError("no run starts with '01k'", next_step="onrecord ls", prefix="01k")
    >>> print(error)
    no run starts with '01k'
      next: onrecord ls
    >>> error.prefix
    '01k'
    """

    def __init__(self, what: str, *, why: str = "", next_step: str = "", **values: Any) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step
        self.values = values
        for name, value in values.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.next_step:
            lines.append(f"  next: {self.next_step}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.why, self.next_step, self.values)


def in_one_line(problem: Exception) -> str:
    """What an error says, for where there is one line only, such as a run's reason: `what: why; next: ...`.

    >>> in_one_line(OnRecordError("no mpirun", why="it is not on the PATH", next_step="pip install mpich"))
    'no mpirun: it is not on the PATH; next: pip install mpich'
    """
    if not isinstance(problem, OnRecordError):
        return " ".join(str(problem).split("\n"))
    told = ": ".join(part for part in (problem.what, problem.why) if part)
    return f"{told}; next: {problem.next_step}" if problem.next_step else told


def _rebuild(kind: type[OnRecordError], what: str, why: str, next_step: str, values: dict[str, Any]) -> OnRecordError:
    return kind(what, why=why, next_step=next_step, **values)
