"""How an interactive run came to its end: what its process said of it, what is known of the process, and the event."""

from __future__ import annotations

import json
import os
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onrecord.ledger.states import CANCELED, COMPLETED, FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onrecord.executors.protocol import Ended
    from onrecord.ledger.events import Event

_MOST_CHARACTERS = 3000
UNSAID = "nobody ended it (run.complete(), or a with block); it ended with its process"


class Ending(NamedTuple):
    """What the process of a run said of its end. `left`: nothing, but the interpreter came to its own end."""

    status: str
    error: dict[str, str] | None = None
    message: str = ""
    exit_code: int | None = None
    left: bool = False
    # Microseconds since the epoch, UTC.
    at: int = 0

    def write(self, path: Path) -> None:
        """Put it where whoever ends the run looks for it. Raises OSError."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(self._replace(at=time.time_ns() // 1000)._asdict()))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Ending | None:
        """What was said, None where nothing was, or nothing whole."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


def of_exception(problem: BaseException) -> Ending:
    """What an exception that nobody caught means for the run: KeyboardInterrupt cancels, SystemExit says its code."""
    if isinstance(problem, KeyboardInterrupt):
        return Ending(CANCELED, message="it was interrupted (KeyboardInterrupt)")
    if isinstance(problem, GeneratorExit):
        return Ending(COMPLETED)
    if isinstance(problem, SystemExit):
        return _of_exit(problem.code)
    said = "".join(traceback.format_exception_only(problem)).strip()
    trace = "".join(traceback.format_exception(problem))
    error = {"code": "ScriptFailed", "message": said[-_MOST_CHARACTERS:], "details": trace[-_MOST_CHARACTERS:]}
    return Ending(FAILED, error=error)


def _of_exit(code: object) -> Ending:
    if code is None:
        return Ending(COMPLETED, exit_code=0)
    # As the interpreter does it: what is no number is printed, and the process ends with 1.
    number = code & 0xFF if isinstance(code, int) else 1
    if number == 0:
        return Ending(COMPLETED, exit_code=0)
    said = "" if isinstance(code, int) else f": {code}"
    error = {"code": "ScriptFailed", "message": f"it ended with exit code {number}{said}"[:_MOST_CHARACTERS]}
    return Ending(FAILED, error=error, exit_code=number)


def last_event(ending: Ending | None, ended: Ended | None, asked: bool, warnings: Sequence[str]) -> Event:
    """The terminal event of a run: what was said of it comes first, then how its process ended, where that is known.

    `asked`: someone had asked for its end.
    """
    if ending is not None and not ending.left:
        return _event(ending, warnings)
    code, signal = (ended.exit_code, ended.signal) if ended is not None else (None, None)
    if asked or (ending is not None and ending.status == CANCELED):
        message = ending.message if ending is not None else ""
        return _event(Ending(CANCELED, message=message, exit_code=code), warnings, signal)
    if code is None and signal is None:
        return _unknown(ending, ended, warnings)
    if code == 0:
        return _event(Ending(COMPLETED, exit_code=0), [*warnings, UNSAID])
    if ending is not None and ending.error and signal is None:
        return _event(ending._replace(exit_code=code), warnings)
    if signal is not None:
        from onrecord.outcome import signal_name

        error = {"code": "KilledBySignal", "message": f"its process was killed by {signal_name(signal)}"}
    else:
        error = {"code": "ScriptFailed", "message": f"its process ended with exit code {code}"}
    return _event(Ending(FAILED, error=error, exit_code=code), warnings, signal)


def _unknown(ending: Ending | None, ended: Ended | None, warnings: Sequence[str]) -> Event:
    if ending is not None:
        # The interpreter came to its end, and what code it gave is not to be learned here.
        unsaid = [UNSAID] if ending.status == COMPLETED else []
        return _event(ending, [*warnings, *unsaid])
    message = ended.message if ended is not None else "its process was killed, or ended without saying how"
    return _event(Ending(FAILED, error={"code": "Lost", "message": message}), warnings)


def _event(ending: Ending, warnings: Sequence[str], signal: int | None = None) -> Event:
    from onrecord.ledger.events import RunCanceled, RunCompleted, RunFailed

    notes = list(warnings)
    if ending.status == COMPLETED:
        notes += [ending.message] if ending.message else []
        return RunCompleted(exit_code=ending.exit_code, warnings=notes)
    if ending.status == CANCELED:
        return RunCanceled(message=ending.message, exit_code=ending.exit_code, signal=signal, warnings=notes)
    error = ending.error or {"code": "UserError", "message": "its own process said that it failed"}
    return RunFailed(error=error, exit_code=ending.exit_code, signal=signal, warnings=notes)
