"""From how a process ended to what the run's last event says."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from onrecord.executors.protocol import Ended
from onrecord.ledger.events import Event, RunCanceled, RunCompleted, RunFailed

_NAMES_A_RANK = re.compile(r"(rank|parameter server) \d+ of \d+ was killed")
_EXPLAINED = re.compile(r"(?:killed by [^:;]+|exited with code \d+)(: [^;]+)")
_TAIL_BYTES = 64 * 1024
_MOST_CHARACTERS = 3000


def last_event(
    ended: Ended,
    stderr: Path,
    time_limit: float | None,
    warnings: Sequence[str],
    noted: dict[str, str] | None = None,
) -> Event:
    """The terminal event that tells the truth about `ended`; `noted`: the failure that the script said itself."""
    notes = list(warnings)
    if noted is not None and ended.reason in ("time_limit", "stopped"):
        notes.append(f"the script had said that it failed: {noted.get('message', '')}")
    if ended.reason == "time_limit":
        message = f"it ran longer than its time limit of {time_limit or 0:g} s and was ended"
        return RunCanceled(
            reason="time_limit", message=message, exit_code=ended.exit_code, signal=ended.signal, warnings=notes
        )
    if ended.reason == "stopped":
        return RunCanceled(exit_code=ended.exit_code, signal=ended.signal, message=ended.message, warnings=notes)
    if ended.reason == "exited" and ended.exit_code == 0:
        return RunCompleted(warnings=notes) if noted is None else RunFailed(error=noted, exit_code=0, warnings=notes)
    error = _error(ended, stderr)
    if noted is not None:
        error = {**error, **noted, "message": f"{_how(ended)}: {noted.get('message', '')}"}
    return RunFailed(error=error, exit_code=ended.exit_code, signal=ended.signal, warnings=notes)


def _error(ended: Ended, stderr: Path) -> dict[str, str]:
    if ended.reason == "not_started":
        return {"code": "StartFailed", "message": ended.message}
    if ended.reason == "lost":
        return {"code": "Lost", "message": ended.message}
    tail = last_words(stderr)
    said = _last_line(tail)
    message = _how(ended)
    if ended.signal is not None:
        # Its parent knows more of it than the number: who sent it, what it held.
        known = ended.message if ended.message.startswith("killed by ") else f"killed by {signal_name(ended.signal)}"
        message = f"the script was {known}"
        # Of a script that was killed the last line means nothing, unless it names one of several processes.
        error = {"code": "KilledBySignal", "message": f"{message}: {said}" if _NAMES_A_RANK.match(said) else message}
    else:
        error = {"code": "ScriptFailed", "message": f"{message}: {said}" if said else message}
    if tail:
        error["details"] = tail
    return error


def _how(ended: Ended) -> str:
    # Memory that ran out, a container that was ended from outside.
    explained = _EXPLAINED.match(ended.message)
    why = explained[1] if explained else ""
    if ended.signal is not None:
        return f"the script was killed by {signal_name(ended.signal)}{why}"
    return f"the script ended with exit code {ended.exit_code}{why}" if ended.reason == "exited" else ended.message


def last_words(stderr: Path) -> str:
    """The end of what the script wrote to stderr: from its last traceback on, or the last lines."""
    try:
        with stderr.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    start = text.rfind("Traceback (most recent call last)")
    words = text[start:] if start >= 0 else "\n".join(text.splitlines()[-20:])
    return words.strip()[-_MOST_CHARACTERS:]


def signal_name(number: int) -> str:
    """SIGSEGV for 11; `signal 70` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
