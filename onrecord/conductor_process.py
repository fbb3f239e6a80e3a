"""Start the detached process that conducts a run, and know whether it lives.

The proof of life is a lock that is taken before the process starts and inherited by it: the kernel
lets go of it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.layout import Layout
from onrecord.script_variables import RUN_ID

if TYPE_CHECKING:
    import subprocess

FIRST = "first"
FIRST_IN_BUILT = "first-in-built"
NEXT = "next"

_SIGNATURE_BYTES = 96

# The child imports what this process can import, and skips the interpreter's own search for it.
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).splitlines();"
    " from onrecord.conductor import main; sys.exit(main(sys.argv[1:]))"
)


def take_lock(path: Path) -> int | None:
    """A descriptor that holds the run's lock, or None while a conductor lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def is_conducted(path: Path) -> bool:
    """Whether a conductor holds the run's lock. Works on a read-only folder."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def sign(lock: int) -> None:
    """Write into the lock that this process holds who that is, so that others can see that it is stopped."""
    from onrecord.executors.identity import boot_id, start_ticks

    pid = os.getpid()
    try:
        os.pwrite(lock, f"{pid} {start_ticks(pid)} {boot_id()}\n".ljust(_SIGNATURE_BYTES).encode(), 0)
    except OSError:
        # A full disk: then nobody can see it.
        return


def let_go_on(path: Path) -> bool:
    """Let the conductor that holds a run's lock go on where a SIGSTOP holds it; whether that was so."""
    from onrecord.executors.identity import continue_stopped

    try:
        pid, ticks, boot = path.read_text("ascii").split()
        return continue_stopped(int(pid), int(ticks), boot)
    except (OSError, ValueError):
        return False


class ConductorProcess:
    """A conductor that waits for its word: `go()`, or `dismiss()` when there is no run after all.

    Should this process die before either, the conductor looks in the ledger: a run that was submitted
    is conducted. `place`: FIRST of the run's conductors, whose submitter has put `run.preparing` on record
    for it, FIRST_IN_BUILT, the same in an environment that is built, or NEXT, after one that may have died anywhere.
    """

    def __init__(self, layout: Layout, run_id: str, place: str, lock: int, *more: int) -> None:
        """`more`: other descriptors that are handed over with the lock, and closed here with it."""
        with ExitStack() as handed_over, ExitStack() as kept:
            for fd in (lock, *more):
                handed_over.callback(os.close, fd)
            word, self._speak = os.pipe()
            handed_over.callback(os.close, word)
            kept.callback(os.close, self._speak)
            self._hear, answer = os.pipe()
            handed_over.callback(os.close, answer)
            kept.callback(os.close, self._hear)
            self._process = _start(layout, run_id, place, word, answer, lock, *more)
            kept.pop_all()

    def go(self) -> None:
        """The run is in the ledger: conduct it."""
        self._say_go()
        self._let_go()

    def go_on(self) -> int:
        """The same, and go on being told: the descriptor that each further byte is written to, without waiting."""
        self._say_go()
        speak = os.dup(self._speak)
        os.set_blocking(speak, False)
        self._let_go()
        return speak

    def dismiss(self) -> None:
        """There is no run: end."""
        self._process.kill()
        self._process.wait()
        os.close(self._speak)
        os.close(self._hear)

    def wait_for_truth(self, seconds: float) -> bool:
        """Wait until the ledger says what is true of the run; False when that took longer than `seconds`."""
        import select

        self._say_go()
        ready, _, _ = select.select([self._hear], [], [], seconds)
        self._let_go()
        return bool(ready)

    def _say_go(self) -> None:
        try:
            os.write(self._speak, b"g")
        except BrokenPipeError:
            # It was killed; whoever looks at the run next starts another.
            pass

    def _let_go(self) -> None:
        os.close(self._speak)
        os.close(self._hear)
        # Python warns of a child that nobody waited for; this one is meant to outlive its parent.
        self._process.returncode = 0
        _left_running.append(self._process.pid)
        _reap()


def _start(layout: Layout, run_id: str, place: str, *descriptors: int) -> subprocess.Popen[bytes]:
    # Imported here, where it is needed: half of what this module would cost.
    import subprocess

    narration = _narration(layout.run(run_id).narration)
    try:
        return subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-c", _START, _search_path()),
                *(str(layout.root), run_id, place, *map(str, descriptors)),
            ],
            # A conductor belongs to no script, not even where one asked for it.
            env={name: value for name, value in os.environ.items() if name != RUN_ID},
            stdin=subprocess.DEVNULL,
            stdout=narration,
            stderr=narration,
            cwd=layout.root,
            pass_fds=descriptors,
            start_new_session=True,
        )
    finally:
        os.close(narration)


def _narration(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError:
        # A run is worth more than what its conductor has to tell of it.
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


_left_running: list[int] = []


def _reap() -> None:
    """Collect conductors that have ended, so that a long-lived submitter gathers no zombies."""
    for pid in list(_left_running):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _left_running.remove(pid)


def _search_path() -> str:
    here = str(Path(__file__).parent.parent)
    known = [path for path in sys.path if path and Path(path).is_absolute() and Path(path).exists()]
    return "\n".join(known if here in known else [*known, here])
