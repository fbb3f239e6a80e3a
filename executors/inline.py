"""Run a Python script inside of this process: for tests and for debuggers, never for work that must not be lost.

`start` returns when the script has ended. The control folder says what it says elsewhere: this process holds its lock
in place of a supervisor, so any other process can watch, ask for the end, and see whether this one has died.
The script is the module `__main__` with its own arguments, folder, environment and modules, which are taken back
afterwards. What it cannot have: another interpreter, a certain end (Python code that ignores the request goes on), and
an end of the process by `os._exit` or a crash, which takes this process along and reads as `lost`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from onrecord.executors import durable, lock, records
from onrecord.executors.errors import AlreadyStarted, CannotStop, CannotSupervise
from onrecord.executors.identity import boot_id, start_ticks
from onrecord.executors.inline_script import Outcome, run_script
from onrecord.executors.inline_stop import StopWatch
from onrecord.executors.local import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LocalExecutor
from onrecord.executors.protocol import Capabilities, Ended, Launch, Progress, Started, Waiting

_one_at_a_time = threading.Lock()  # standard output, the working directory and the environment are the process's own


class InlineExecutor(LocalExecutor):
    """`begun` is called once the script is about to run and the control folder says so."""

    capabilities = Capabilities(start=False, logs=False, resources=False, survive=False)

    def __init__(self, begun: Callable[[], object] | None = None) -> None:
        self._begun = begun

    def start(self, launch: Launch) -> None:
        """Run the script to its end. Raises KeyboardInterrupt after Ctrl-C, once the end is on record.

        Raises AlreadyStarted, also where this process runs another script inline; CannotSupervise.
        """
        if not _one_at_a_time.acquire(blocking=False):
            raise CannotSupervise.because(launch.control, "this process is running another script inline")
        try:
            try:
                launch.control.mkdir(parents=True, exist_ok=True)
                held = lock.claim(launch.control / records.LOCK)
            except OSError as error:
                raise CannotSupervise.because(launch.control, str(error)) from error
            if held is None:
                raise AlreadyStarted.in_folder(launch.control)
            try:
                outcome = self._run(launch, held)
            finally:
                os.close(held)
        finally:
            _one_at_a_time.release()
        _pass_on(outcome)

    def wait(self, control: Path, timeout: float, seen: Progress = Waiting()) -> Progress:  # noqa: B008
        """Looks every 1-100 ms: the process that runs the script goes on when the script has ended."""
        deadline, pause = time.monotonic() + timeout, FIRST_PAUSE_SECONDS
        while True:
            progress = self.poll(control)
            remaining = deadline - time.monotonic()
            if progress != seen or isinstance(progress, Ended) or remaining <= 0:
                return progress
            time.sleep(min(pause, remaining))
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    def stop(self, control: Path) -> None:
        """Ask: a file that the running process looks for ten times a second."""
        try:
            control.mkdir(parents=True, exist_ok=True)
            os.close(os.open(control / records.STOP, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise CannotStop.because(control, str(error)) from error

    def recover(self, control: Path) -> Progress:
        """End the processes that the script left when the one that ran it died, and write so down."""
        progress = self.poll(control)
        if not isinstance(progress, Ended) or progress.reason != "lost" or records.read_exit(control) is not None:
            return progress
        from onrecord.executors import tree

        held = lock.hold(control / records.LAUNCH)
        try:
            order = records.read_order(control)
            # Not by the session: that was the session of whoever ran it.
            seed = tree.Seed(None, order.token, (order.stdout, order.stderr)) if order is not None else None
            ended = tree.end_tree(seed) if seed is not None else 0
            message = "nobody could learn how it ended: the process that ran it inline ended before it"
            now = time.time_ns() // 1000
            settled = Ended("lost", None, None, message, progress.started, now, survivors_killed=ended)
            durable.replace(control / records.EXIT, records.encode_exit(settled))
            return settled
        except OSError as error:
            raise CannotSupervise.because(control, str(error)) from error
        finally:
            os.close(held)

    def _run(self, launch: Launch, held: int) -> Outcome | None:
        token, now = os.urandom(16).hex(), time.time_ns() // 1000
        if records.exists(launch.control / records.EXIT):
            raise AlreadyStarted.in_folder(launch.control)
        me = Started(os.getpid(), start_ticks(os.getpid()), boot_id(), now)
        identity = records.encode_identity(me)
        os.pwrite(held, identity.ljust(256), 0)
        try:
            durable.create(
                launch.control / records.LAUNCH,
                records.encode_launch(launch, token=token, boot_id=boot_id(), written_at=now),
            )
        except FileExistsError:
            raise AlreadyStarted.in_folder(launch.control) from None
        if records.exists(launch.control / records.STOP):
            self._end(launch, Ended("stopped", None, None, "stopped before it was started", None, now))
            return None
        problem = _why_not(launch)
        if problem:
            self._end(launch, Ended("not_started", None, None, problem, None, now))
            return None
        durable.replace(launch.control / records.STARTED, identity)
        if self._begun is not None:
            self._begun()
        watch = StopWatch(launch.control / records.STOP, launch.time_limit_seconds, launch.grace_seconds)
        used = os.times()
        outcome = run_script(launch, token, watch)
        self._end(launch, _ended(outcome, watch, launch, me, sum(os.times()[:4]) - sum(used[:4])))
        return outcome

    def _end(self, launch: Launch, ended: Ended) -> None:
        try:
            durable.replace(launch.control / records.EXIT, records.encode_exit(ended))
        except OSError as error:
            raise CannotSupervise.because(launch.control, str(error)) from error


def _why_not(launch: Launch) -> str:
    """Why the script cannot be run here, "" where it can."""
    if len(launch.command) < 2 or launch.command[1].startswith("-"):
        return f"cannot start {launch.command[0]}: inline runs Python scripts only"
    if not launch.working_directory.is_dir():
        return f"cannot enter the working directory {launch.working_directory}: No such file or directory"
    if not (launch.working_directory / launch.command[1]).is_file():
        return f"cannot start {launch.command[1]}: No such file or directory"
    return ""


def _ended(outcome: Outcome, watch: StopWatch, launch: Launch, started: Started, cpu_seconds: float) -> Ended:
    reason = watch.reason or ("stopped" if outcome.signal == signal.SIGINT else "exited")
    if reason == "time_limit":
        message = f"ran past its time limit of {launch.time_limit_seconds:g} s"
    elif watch.reason:
        message = "stopped on request"
    elif reason == "stopped":
        message = "interrupted from the keyboard"
    elif outcome.signal is not None:
        message = f"killed by {signal.Signals(outcome.signal).name}"
    else:
        message = f"exited with code {outcome.exit_code}"
    if outcome.survivors:
        message += f"; other processes that had to be ended: {outcome.survivors}"
    at = time.time_ns() // 1000
    return Ended(
        reason, outcome.exit_code, outcome.signal, message, started, at, outcome.survivors, cpu_seconds=cpu_seconds
    )


def _pass_on(outcome: Outcome | None) -> None:
    """What was meant for this process and met the script: Ctrl-C, and a signal that asked for the end."""
    if outcome is None or outcome.was_asked:
        return
    if outcome.signal == signal.SIGINT:
        raise KeyboardInterrupt
    if outcome.signal is not None:
        sys.stdout.flush()
        signal.raise_signal(signal.Signals(outcome.signal))
