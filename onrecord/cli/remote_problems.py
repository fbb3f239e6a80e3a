"""What `push` and `pull` say in the end: what travelled, and what is wrong at the other side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onrecord.cli import exit_codes
from onrecord.cli.common import print_json
from onrecord.wording import counted, narrate, printable, size

if TYPE_CHECKING:
    from onrecord.snapshot.errors import RemoteError
    from onrecord.snapshot.transfer import Moved

_MOST_NAMED = 10
_WHERE = {"sent": "to", "received": "from", "found right": "in"}


class RemoteProblems:
    """Collects what is lacking or damaged at a remote."""

    def __init__(self, remote: str, as_json: bool) -> None:
        self._remote = remote
        self._as_json = as_json
        self._found: list[RemoteError] = []

    def tell(self, problem: RemoteError) -> None:
        """Take note of one."""
        self._found.append(problem)

    def report(self, moved: Mapping[str, Moved]) -> int:
        """Print what was done, by what it is called; returns the exit code."""
        if self._as_json:
            print_json(self._document(moved))
        else:
            self._print(moved)
        return exit_codes.PROBLEM if self._found else exit_codes.OK

    def _document(self, moved: Mapping[str, Moved]) -> dict[str, Any]:
        first, *rest = moved.values()
        checked = {"checked": rest[0]._asdict()} if rest else {}
        return {"remote": self._remote, **first._asdict(), **checked, "problems": [one.what for one in self._found]}

    def _print(self, moved: Mapping[str, Moved]) -> None:
        for what, done in moved.items():
            count = f"{counted(done.objects, 'object')} ({size(done.bytes)})"
            narrate(printable(f"{what} {count} {_WHERE[what]} {self._remote}"))
        for problem in self._found[:_MOST_NAMED]:
            narrate(printable(f"problem: {problem.what}"))
        if len(self._found) > _MOST_NAMED:
            narrate(f"and {len(self._found) - _MOST_NAMED} more; --json names them all")
        for step in dict.fromkeys(problem.next_step for problem in self._found):
            narrate(printable(f"  next: {step}"))
