"""What every executor is given, what it says, and the five things it can do."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

from onrecord.executors.errors import InvalidLaunch

# Values are named tuples, not attrs classes: whoever starts a script then imports no attrs, whose import and
# classes were a third of the time from submit to the script's first line.

REASONS = frozenset({"exited", "time_limit", "stopped", "not_started", "lost"})


class _LaunchFields(NamedTuple):
    command: tuple[str, ...]
    working_directory: Path
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path
    control: Path
    time_limit_seconds: float | None
    grace_seconds: float
    cleanup: tuple[str, ...]


class Launch(_LaunchFields):
    """One process to start: the whole of what a target needs to know.

    - `command`: at least one item; the first is looked up on the PATH of `environment` when it has no
      slash, and relative to `working_directory` when it has one but is not absolute.
    - `environment`: the whole environment; `PWD` and `ONRECORD_EXECUTION` are set by the executor.
    - `stdout`, `stderr`: files, appended to and made (with their folders) if absent; may be the same.
    - `control`: a folder of this launch alone, made if absent.
    - `time_limit_seconds`: seconds > 0 on the monotonic clock from the script's start, None for no limit.
    - `grace_seconds`: seconds between SIGTERM and SIGKILL.
    - `cleanup`: a command that ends what the first process keeps outside of its tree (a container), none where it
      keeps nothing. It is run, in the launch's environment, when the first process has ended, however it ended, and
      again if it fails. Then a stop asks the first process only, which passes it on.

    Paths are made absolute. Raises `InvalidLaunch`.
    """

    __slots__ = ()

    def __new__(
        cls,
        command: Iterable[str],
        working_directory: Path | str,
        environment: Mapping[str, str],
        stdout: Path | str,
        stderr: Path | str,
        control: Path | str,
        time_limit_seconds: float | None = None,
        grace_seconds: float = 10.0,
        cleanup: Iterable[str] = (),
    ) -> Self:
        launch = super().__new__(
            cls,
            tuple(command),
            _absolute(working_directory),
            MappingProxyType(dict(environment)),
            _absolute(stdout),
            _absolute(stderr),
            _absolute(control),
            time_limit_seconds,
            grace_seconds,
            tuple(cleanup),
        )
        launch._check()
        return launch

    def _check(self) -> None:
        if not self.command or not self.command[0]:
            raise InvalidLaunch.because("command", self.command, "its first item names the program")
        for item in (*self.command, *self.cleanup):
            if "\0" in item:
                raise InvalidLaunch.because("argument", item, "an argument cannot hold a NUL character")
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name + value:
                raise InvalidLaunch.because("environment variable", name, "no name may be empty or hold '='")
        for path in (self.working_directory, self.stdout, self.stderr, self.control):
            if "\0" in str(path):
                raise InvalidLaunch.because("path", str(path), "a path cannot hold a NUL character")
        limit = self.time_limit_seconds
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise InvalidLaunch.because("time_limit_seconds", limit, "it is a number of seconds above 0")
        if not (self.grace_seconds >= 0 and math.isfinite(self.grace_seconds)):
            raise InvalidLaunch.because("grace_seconds", self.grace_seconds, "it is 0 seconds or more")


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute() keeps `..`, resolve() follows links


class Waiting:
    """Nothing has been started in this control folder yet, or the supervisor is just about to."""

    # No named tuple: one without fields would be false, where everything else that `poll` says is true.
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Waiting)

    def __hash__(self) -> int:
        return hash(Waiting)

    def __repr__(self) -> str:
        return "Waiting()"


class Started(NamedTuple):
    """The script runs: who it is, so that any later process can recognise it.

    `pid`; `start_ticks`: field 22 of /proc/PID/stat, 0 where there is none; `boot_id`: of the machine's
    boot, see `identity.boot_id`; `at`: microseconds since the epoch, UTC.
    """

    pid: int
    start_ticks: int
    boot_id: str
    at: int


class Ended(NamedTuple):
    """How it ended; nothing of its process tree is left, except possibly for `lost` before `recover`.

    - `reason`: `exited` by itself (also killed by a signal that we did not send), `time_limit`,
      `stopped` on request, `not_started` (the command could not be executed), `lost` (the supervisor was
      killed or the machine restarted, so that nobody could learn the exit code).
    - `exit_code`: 0 to 255, None when a signal ended it or it is unknown.
    - `signal`: the signal's number, None when none ended it or it is unknown.
    - `message`: one line for people.
    - `started`: None when the script never ran.
    - `at`: microseconds since the epoch, UTC; for an unrecovered `lost` the time of the last sign of life.
    - `survivors_killed`: processes besides the script's own that did not end by themselves.
    - `cpu_seconds`, `max_rss_bytes`: user and system time, and the largest resident size of any one
      process, of all processes of the tree that were waited for; None when unknown (getrusage(2)).
    """

    reason: str
    exit_code: int | None
    signal: int | None
    message: str
    started: Started | None
    at: int
    survivors_killed: int = 0
    core_dumped: bool = False
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None


Progress = Waiting | Started | Ended


class Capabilities(NamedTuple):
    """What an executor can do, for whoever uses or tests it; one that says nothing can do all of it.

    - `start`: `start` returns while the script runs, and runs any program; else it returns at the script's end and
      runs Python scripts only.
    - `poll`: any process that sees the control folder may ask.
    - `stop`: a stop and the time limit reach the script, and where `start` is true they end its whole tree, whatever
      that does; so does the script's own end.
    - `logs`: all that the script and its children write is in the two files, byte for byte.
    - `resources`: the pid of `Started` is of this machine and its tree can be looked at.
    - `survive`: the script goes on when the process that called `start` ends.
    - `adopt`: `recover` settles an execution that nobody supervises any more.
    """

    start: bool = True
    poll: bool = True
    stop: bool = True
    logs: bool = True
    resources: bool = True
    survive: bool = True
    adopt: bool = True


def capabilities_of(executor: object) -> Capabilities:
    """Its `capabilities`, or all of them where it does not say."""
    found = getattr(executor, "capabilities", None)
    return found if isinstance(found, Capabilities) else Capabilities()


class Executor(Protocol):
    """A place where scripts run. All state lies in the control folder: any process may ask at any time."""

    def start(self, launch: Launch) -> None:
        """Set the launch on its way; it goes on when the caller ends.

        Returns once the control folder is claimed, not once the script runs. Raises `AlreadyStarted`,
        or `CannotSupervise` when nothing could be run.
        """

    def poll(self, control: Path) -> Progress:
        """What is known now; changes nothing and raises nothing, whatever lies in the folder."""

    def wait(self, control: Path, timeout: float, seen: Progress = ...) -> Progress:
        """Sleep until `poll` would differ from `seen`, at most `timeout` seconds, and return it.

        An `Ended` that was seen is returned at once.
        """

    def stop(self, control: Path) -> None:
        """Ask for the end of the whole tree and return at once; asking again changes nothing.

        Before the start it prevents it. Raises `CannotStop`.
        """

    def recover(self, control: Path) -> Progress:
        """Settle an execution whose supervisor is gone: end what is left of its tree, record `lost`.

        Whoever is responsible for a run calls this when it sees `lost`. Everything else is returned as
        `poll` says it, untouched.
        """

    def withdraw(self, control: Path) -> bool:
        """Free the folder of a launch of which it is certain that it started nothing; whether it is free now.

        For whoever takes over from a starter that was killed. False for everything else, untouched.
        """

    def logs(self, launch_or_control: Launch | Path) -> tuple[Path, Path]:
        """Where stdout and stderr go. Raises `NothingStarted` for a folder without a launch."""
