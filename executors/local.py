"""Run on this machine: a detached supervisor per script, found again through its control folder."""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
import sys
import time
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

from onrecord.executors import durable, lock, records
from onrecord.executors.errors import AlreadyStarted, CannotStop, CannotSupervise, NothingStarted
from onrecord.executors.identity import boot_id, continue_stopped, is_same_process
from onrecord.executors.protocol import Ended, Launch, Progress, Started, Waiting

EXIT_BYTES = 4096  # reserved for the exit file, whose message is cut to 600 characters
STARTED_BYTES = 1024
LOCK_FD = 3
FIRST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.1
CLEANUP_SECONDS = 60.0
HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # until the supervisor can take them

_supervisors: set[int] = set()  # children of this process that nobody else would ever reap


class LocalExecutor:
    """Starts scripts as children of a supervisor of their own; keeps no state but the control folders."""

    def start(self, launch: Launch) -> None:
        """Claim the control folder and start its supervisor; about 2 ms, the script follows on its own."""
        _reap_supervisors()
        try:
            launch.control.mkdir(parents=True, exist_ok=True)
            held = lock.claim(launch.control / records.LOCK)
        except OSError as error:
            raise CannotSupervise.because(launch.control, _reason(error)) from error
        if held is None:
            raise AlreadyStarted.in_folder(launch.control)
        try:
            _prepare(launch)
            _spawn(launch.control, held)
        except OSError as error:
            raise CannotSupervise.because(launch.control, _reason(error)) from error
        finally:
            os.close(held)
        _make_marker_durable(launch.control)

    def poll(self, control: Path) -> Progress:
        """The exit file first, for it outranks everything; then whether the supervisor lives."""
        _reap_supervisors()
        ended = records.read_exit(control)
        if ended is not None:
            return ended
        if _supervised(control):
            return records.read_started(control) or Waiting()
        # It may have written its last word between the two looks.
        ended = records.read_exit(control)
        if ended is not None:
            return ended
        return _lost(control) if records.exists(control / records.LAUNCH) else Waiting()

    def wait(self, control: Path, timeout: float, seen: Progress = Waiting()) -> Progress:  # noqa: B008
        """Sleeps on the supervisor's pidfd once it runs; before that, and elsewhere, looks every 1-100 ms."""
        deadline = time.monotonic() + timeout
        pause = FIRST_PAUSE_SECONDS
        while True:
            progress = self.poll(control)
            remaining = deadline - time.monotonic()
            if progress != seen or isinstance(progress, Ended) or remaining <= 0:
                return progress
            if not (isinstance(progress, Started) and _sleep_beside_supervisor(control, remaining)):
                time.sleep(min(pause, remaining))
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    def stop(self, control: Path) -> None:
        """A file that the supervisor finds if it is not up yet, and a signal if it is."""
        failure: OSError | None = None
        try:
            control.mkdir(parents=True, exist_ok=True)
            os.close(os.open(control / records.STOP, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            failure = error
        if not _signal_supervisor(control) and failure is not None and not records.exists(control / records.EXIT):
            raise CannotStop.because(control, _reason(failure))

    def recover(self, control: Path) -> Progress:
        """End what is left of a lost execution, then write its exit file; safe to race with itself."""
        progress = self.poll(control)
        if not _is_unsettled(progress, control):
            return progress
        held = lock.hold(control / records.LAUNCH)
        try:
            progress = self.poll(control)
            if isinstance(progress, Ended) and _is_unsettled(progress, control):
                return _settle(control, progress)
            return progress
        finally:
            os.close(held)

    def withdraw(self, control: Path) -> bool:
        """A script runs only once `starting` is there, so without it, in this boot, nothing has run."""
        if not _is_unsettled(self.poll(control), control):
            return False
        held = lock.hold(control / records.LAUNCH)
        try:
            return _is_unsettled(self.poll(control), control) and _withdraw(control)
        finally:
            os.close(held)

    def logs(self, launch_or_control: Launch | Path) -> tuple[Path, Path]:
        """Read from the launch; log files that moved along with the control folder are found."""
        if isinstance(launch_or_control, Launch):
            return launch_or_control.stdout, launch_or_control.stderr
        order = records.read_order(launch_or_control)
        if order is None:
            raise NothingStarted.in_folder(launch_or_control)
        return order.stdout, order.stderr


def _reason(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    return f"{error.filename}: {text}" if error.filename else text


# ---- starting ----------------------------------------------------------------------------------------


def _prepare(launch: Launch) -> None:
    """Write everything that the supervisor will need room for; the file `launch` marks the folder taken."""
    now = time.time_ns() // 1000
    content = records.encode_launch(launch, token=os.urandom(16).hex(), boot_id=boot_id(), written_at=now)
    if records.exists(launch.control / records.EXIT):
        raise AlreadyStarted.in_folder(launch.control)
    try:
        durable.create(launch.control / records.LAUNCH, content)
    except FileExistsError:
        raise AlreadyStarted.in_folder(launch.control) from None
    try:
        durable.reserve(launch.control / f"{records.EXIT}.tmp", EXIT_BYTES)
        durable.reserve(launch.control / f"{records.STARTING}.tmp", STARTED_BYTES)
        for log in (launch.stdout, launch.stderr):
            log.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        (launch.control / records.LAUNCH).unlink()
        raise


def _make_marker_durable(control: Path) -> None:
    """So that a power failure cannot make a used folder look new. While the supervisor's interpreter
    starts, for it costs as much as a disk takes; the script is on its way by now, so that a failure here
    must not read as a failure to start."""
    try:
        durable.flush(control / records.LAUNCH)
        durable.flush_folder(control)
    except OSError:
        return


def _spawn(control: Path, held: int) -> None:
    """Start the supervisor in a session of its own, with the lock as its only descriptor besides 0-2."""
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", _program(), os.fspath(control), str(LOCK_FD)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(control / records.LOG), writing, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, held, LOCK_FD),
            ],
            setsid=True,
            setsigmask=HELD_BACK,
            setsigdef={signal.SIGCHLD, signal.SIGPIPE},
        )
    except OSError:
        (control / records.LAUNCH).unlink()
        raise
    _supervisors.add(pid)


def _program() -> str:
    """The supervisor's compiled form if there is a current one: compiling the source costs 15 ms a start."""
    source = os.path.join(os.path.dirname(__file__), "supervisor.py")  # noqa: PTH118, PTH120
    compiled = cache_from_source(source)
    if _is_current(compiled, source):
        return compiled
    if not sys.dont_write_bytecode:
        from onrecord.executors import supervisor  # noqa: F401 - the import system writes the compiled form

        if _is_current(compiled, source):
            return compiled
    return source


def _is_current(compiled: str, source: str) -> bool:
    """Whether it was compiled from just this source, for this interpreter (PEP 552: magic number, flags
    0, then the source's modification time and size, each 32 bits)."""
    try:
        with open(compiled, "rb") as file:  # noqa: PTH123
            header = file.read(16)
        status = os.stat(source)  # noqa: PTH116
    except OSError:
        return False
    stamp = struct.pack("<4sIII", MAGIC_NUMBER, 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return header == stamp


def _reap_supervisors() -> None:
    for pid in list(_supervisors):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:  # after a fork: the parent's child, not ours
            pass
        _supervisors.discard(pid)


# ---- watching ----------------------------------------------------------------------------------------


def _supervised(control: Path) -> bool:
    """Whether a supervisor lives: by its lock, or by its identity where the lock cannot be asked."""
    held = lock.is_held(control / records.LOCK)
    if held is not None:
        return held
    found = records.read_supervisor(control)
    return found is not None and is_same_process(found.pid, found.start_ticks, found.boot_id)


def _sleep_beside_supervisor(control: Path, seconds: float) -> bool:
    """Sleep until the supervisor ends, at most that long; False where that cannot be waited for."""
    found = records.read_supervisor(control)
    if found is None or not hasattr(os, "pidfd_open"):
        return False
    try:
        fd = os.pidfd_open(found.pid)
    except OSError:
        return False
    try:
        if not is_same_process(found.pid, found.start_ticks, found.boot_id):
            return False
        # Stopped, it would keep no time limit and never say how the script ended.
        continue_stopped(found.pid, found.start_ticks, found.boot_id)
        watched = select.poll()
        watched.register(fd, select.POLLIN)
        watched.poll(min(seconds, 1e6) * 1000)
        return True
    finally:
        os.close(fd)


def _signal_supervisor(control: Path) -> bool:
    """Wake the supervisor; False when none is up, or none any more."""
    found = records.read_supervisor(control)
    if found is None or not is_same_process(found.pid, found.start_ticks, found.boot_id):
        return False
    try:
        os.kill(found.pid, signal.SIGTERM)
        os.kill(found.pid, signal.SIGCONT)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise CannotStop.because(control, _reason(error)) from error
    return True


# ---- what is lost ------------------------------------------------------------------------------------


def _is_unsettled(progress: Progress, control: Path) -> bool:
    """Lost, and not yet written down as such."""
    return isinstance(progress, Ended) and progress.reason == "lost" and records.read_exit(control) is None


def _lost(control: Path) -> Ended:
    """What can still be said when the supervisor is gone and has left no exit file."""
    started = records.read_started(control) or records.read_started(control, records.STARTING)
    supervisor = records.read_supervisor(control)
    order = records.read_order(control)
    last = started or supervisor
    known = last or order
    if known is not None and known.boot_id not in ("", boot_id()):
        why = "the machine restarted"
    elif supervisor is None:
        why = "its supervisor never came up, so the script was not started"
    elif started is None:
        why = "its supervisor was killed before it started the script"
    else:
        why = "its supervisor was killed"
    at = last.at if last else (order.written_at if order else 0)
    message = f"nobody could learn how it ended: {why}" + _last_words(control)
    return Ended("lost", None, None, message, started, at)


def _clean_up(order: records.Order) -> str:
    """What the supervisor would have done at the end; what to say where it cannot be done."""
    import subprocess

    try:
        subprocess.run(
            order.cleanup, env=dict(order.environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=CLEANUP_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as problem:
        said = getattr(problem, "stderr", b"") or str(problem).encode()
        return f"; what it kept elsewhere could not be ended: {said.decode('utf-8', 'replace').strip()[-300:]}"
    return ""


def _withdraw(control: Path) -> bool:
    """Remove the launch where it is certain that its script never ran and that nobody is about to start it."""
    order = records.read_order(control)
    if order is None or order.boot_id != boot_id() or _is_copy(control, order) or _last_words(control):
        return False
    # Without its lock file, the folder is being removed: then what is not there says nothing.
    if not records.exists(control / records.LOCK):
        return False
    claimed = lock.claim(control / records.LOCK)
    if claimed is None:
        return False
    try:
        if any(records.exists(control / name) for name in (records.STARTING, records.STARTED, records.EXIT)):
            return False
        from onrecord.executors import tree

        if tree.members(tree.Seed(None, order.token, (order.stdout, order.stderr))):
            return False
        # What a supervisor wrote there before it was killed is not who supervises next.
        os.pwrite(claimed, lock.RESERVED, 0)
        (control / records.LAUNCH).unlink()
    finally:
        os.close(claimed)
    return True


def _is_copy(control: Path, order: records.Order) -> bool:
    # A folder that was moved or renamed keeps its inode; a copy of it has another. 0: of an earlier version.
    try:
        return order.folder not in (0, control.stat().st_ino)
    except OSError:
        return False


def _last_words(control: Path) -> str:
    """The last line of the supervisor's own log, should it have failed."""
    lines = (records.read_bytes(control / records.LOG) or b"").decode("utf-8", "replace").split("\n")
    words = [line.strip() for line in lines if line.strip()]
    return f" ({words[-1][:300]})" if words else ""


def _settle(control: Path, lost: Ended) -> Ended:
    """End the leftovers and record the end; on a disk that refuses the record, raise rather than forget."""
    from onrecord.executors import control_group, tree

    order = records.read_order(control)
    seed = tree.Seed(
        script=lost.started,
        token=order.token if order else "",
        outputs=(order.stdout, order.stderr) if order else (),
    )
    text, ended_count = lost.message, 0
    if order is not None and _is_copy(control, order):
        # Its processes are the original's, which goes on.
        text = "nobody could learn how it ended: it ran in another folder, of which this is a copy made meanwhile"
    else:
        ended_count = tree.end_tree(seed)
        group = records.read_group(control)
        # With whatever gave up all that a member is known by.
        ended_count += control_group.kill(group, tree.GIVE_UP_SECONDS) if group is not None else 0
        if order is not None and order.cleanup:
            text += _clean_up(order)
    if ended_count:
        text += f"; processes of it that had to be ended: {ended_count}"
    now = time.time_ns() // 1000
    settled = Ended("lost", None, None, text, lost.started, now, survivors_killed=ended_count)
    try:
        durable.replace(control / records.EXIT, records.encode_exit(settled))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise CannotSupervise.because(control, _reason(error)) from error
    return settled
