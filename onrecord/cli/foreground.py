"""A run in the foreground: its output passed on, Ctrl-C understood, its exit code ours."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

from onrecord.cli import exit_codes
from onrecord.cli.build_progress import BuildProgress
from onrecord.ledger.query import RunRow
from onrecord.run import Run
from onrecord.script_output import Follower
from onrecord.wording import Style, duration, narrate, printable


def stream(run: Run, *, script_output_to_stderr: bool) -> int:
    """Pass on what the script prints until the run has ended; returns the exit code to end with."""
    stdout = _writer(sys.stderr.buffer if script_output_to_stderr else sys.stdout.buffer)
    build = BuildProgress()
    follower = Follower(
        run,
        stdout,
        _writer(sys.stderr.buffer),
        lambda text: narrate(printable(text)),
        notes=build.note,
        waiting=build.show,
    )
    try:
        follower.follow()
    except KeyboardInterrupt:
        if not _wants_cancel():
            narrate(f"the run goes on; onrecord logs -f {run.id} follows it, onrecord cancel {run.id} ends it")
            return exit_codes.CANCELED
        _cancel(run, follower)
    except BrokenPipeError:
        narrate(f"nobody reads the output any more; the run goes on: onrecord logs -f {run.id}")
        raise
    return conclude(run)


def conclude(run: Run) -> int:
    """Say how a run that has ended did so; returns the exit code to end with."""
    row = run.workspace.query.run(run.id)
    for warning in run.get_warnings():
        narrate(printable(warning))
    _narrate_end(row)
    return _exit_code(row)


def stream_attempts(run: Run, *, script_output_to_stderr: bool) -> tuple[Run, int]:
    """The same for a run and each attempt that follows it; returns the last one, and the exit code to end with."""
    from onrecord.attempts import PROPERTY, next_attempt

    while True:
        code = stream(run, script_output_to_stderr=script_output_to_stderr)
        following = next_attempt(run.workspace, run.id)
        if following is None:
            return run, code
        run = Run(run.workspace, following)
        narrate(f"attempt {run.get_properties()[PROPERTY]}: run {run.id}")


def _writer(stream: BinaryIO) -> Callable[[bytes], None]:
    def write(piece: bytes) -> None:
        stream.write(piece)
        stream.flush()

    return write


def _wants_cancel() -> bool:
    """Whether Ctrl-C means the run; asked on a terminal only, where a second Ctrl-C answers yes."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    try:
        sys.stderr.write("\nonrecord: cancel the run, or leave it running? [C/l] ")
        sys.stderr.flush()
        # An interrupt just before a read would be noticed only when the read is over; the pipe keeps it.
        select.select([sys.stdin, reader], [], [])
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return True
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
    return not answer.strip().lower().startswith("l")


def _cancel(run: Run, follower: Follower) -> None:
    narrate("canceling (its processes have 10 seconds to end by themselves)")
    run.cancel()
    try:
        follower.follow()
    except KeyboardInterrupt:
        narrate(f"the run is being canceled; onrecord show {run.id} tells when it has ended")
        raise


def _narrate_end(row: RunRow) -> None:
    style = Style(sys.stderr)
    seconds = row.duration_seconds
    took = f" in {duration(seconds)}" if seconds is not None else ""
    message = (row.error or {}).get("message", "") if row.status != "Completed" else ""
    reason = f": {printable(message)}" if message else ""
    narrate(f"{style.status(row.status)}{took}{reason}; onrecord show {row.run_id[:10]}")


def _exit_code(row: RunRow) -> int:
    if row.status == "Completed":
        return exit_codes.OK
    if row.status == "Canceled":
        limit = (row.error or {}).get("code") == "time_limit"
        return exit_codes.TIME_LIMIT if limit else exit_codes.CANCELED
    if row.signal is not None:
        return exit_codes.SIGNALED + row.signal
    if row.exit_code:
        return row.exit_code
    started = row.started_at is not None
    return exit_codes.PROBLEM if started else exit_codes.BEFORE_THE_SCRIPT
