"""The script's own parent: starts it, waits, ends its whole tree, and writes down how it ended.

A complete program in one file that needs nothing but Python's standard library, so that the same file
can be sent to another machine:

    python -I -S supervisor.py CONTROL_FOLDER [DESCRIPTOR]

The folder holds `launch` (what to run) and receives `starting`/`started` and, last, `exit`. The file
`supervisor.lock` is locked (flock) for as long as this process lives: by the caller already if it passes
an inherited DESCRIPTOR of it, else here. docs/decisions-executors.md says why each unusual step is taken.

The time limit counts on the monotonic clock: neither a stepped wall clock nor the time that a suspended
machine spends asleep brings the end of a script nearer.
"""

import os
import select
import sys
import time

TYPE_CHECKING = False  # the name that type checkers know; importing typing would cost every start 10 ms
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn
else:
    try:
        import _signal as signal  # the same functions without the enums: 10 ms less before the script runs
    except ImportError:
        import signal

VERSION = 1
CLEANUP_SECONDS = 30.0  # for one attempt at the cleanup
CLEANUP_PAUSES = (0.2, 1.0, 5.0)
LEFTOVER_SECONDS = 2.0  # for processes that outlive the script: to end by themselves, then after SIGTERM
FREEZE_ROUNDS = 200
LARGE_PART = 0.5  # of the machine's memory: who held that much may have been killed for it
HELD_ROUNDS = 6  # 1.3 s
EXIT_CODE_REFUSED = 75  # EX_TEMPFAIL of sysexits.h: supervised already, or has run already
IGNORED = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGTTIN", "SIGTTOU", "SIGTSTP")
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class CannotStartError(Exception):
    """The script did not start; the text says what was attempted and why it failed."""


class Order:
    """What to run, as the file `launch` says it: NUL-ended fields `name=value`, `argument=` and
    `environment=` and `cleanup=` repeated. Bytes all through, for neither arguments nor paths need be text."""

    def __init__(self, fields: bytes) -> None:
        self.values: dict[bytes, bytes] = {}
        self.command: list[bytes] = []
        self.environment: dict[bytes, bytes] = {}
        self.cleanup: list[bytes] = []
        for field in fields.split(b"\0"):
            name, _, value = field.partition(b"=")
            if name == b"argument":
                self.command.append(value)
            elif name == b"cleanup":
                self.cleanup.append(value)
            elif name == b"environment":
                key, _, text = value.partition(b"=")
                self.environment[key] = text
            elif name:
                self.values[name] = value

    def path(self, name: bytes) -> bytes:
        return self.values.get(name) or b"/dev/null"

    def seconds(self, name: bytes) -> float | None:
        value = self.values.get(name)
        return float(value) if value else None


class Control:
    """The control folder, held open by descriptor: it may be moved or renamed while a script runs."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def has(self, name: str) -> bool:
        return name in os.listdir(self.fd)  # noqa: PTH208 - pathlib knows no descriptors

    def read(self, name: str) -> bytes:
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=self.fd), "rb") as file:
            return file.read()

    def write(self, name: str, text: bytes) -> int:
        """Overwrite in place first and cut to length afterwards, so that a file which was made large
        enough beforehand can be written on a full disk. Returns the open descriptor."""
        fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=self.fd)
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))
        return fd

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def publish(self, fd: int, old: str, new: str) -> None:
        """Make a written file durable, then visible under its name, then the name durable."""
        os.fsync(fd)
        self.rename(old, new)
        os.fsync(self.fd)

    def record_exit(self, text: bytes) -> None:
        """Write `exit`, trying until it can be written; only a deleted folder ends the attempts."""
        pause = 0.05
        while True:
            try:
                fd = self.write("exit.tmp", text)
                try:
                    return self.publish(fd, "exit.tmp", "exit")
                finally:
                    os.close(fd)
            except OSError:
                if os.fstat(self.fd).st_nlink == 0:
                    return None
                time.sleep(pause)
                pause = min(pause * 2, 5.0)


class Signals:
    """Wakes the one loop: every signal that matters becomes a byte in a pipe that `wait` sleeps on."""

    def __init__(self) -> None:
        self.stop_asked = False
        self.reader, self.writer = os.pipe()
        for fd in (self.reader, self.writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        for name in IGNORED:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, self._note)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _note(self, number: int, frame: object) -> None:
        """SIGCHLD needs no more than the byte in the pipe."""

    def _stop(self, number: int, frame: object) -> None:
        self.stop_asked = True

    def wait(self, seconds: float | None) -> None:
        """Sleep until a signal arrives or the seconds are over (None: no limit)."""
        if seconds is not None:
            seconds = min(max(seconds, 0.0), 1e6)
        if select.select([self.reader], [], [], seconds)[0]:
            os.read(self.reader, 65536)


class Script:
    """The started script, and whatever became of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.group = ""  # the folder of its control group, "" for none
        self.status: int | None = None  # as waitpid(2) gives it
        self.cpu_seconds = 0.0
        self.max_rss = 0
        self.begun = time.monotonic()

    def reap(self) -> bool:
        """Collect every dead child, the one place that does; whether living ones are left.

        As a subreaper this process inherits all orphans of the script, so no child left means nothing
        of the script's tree is left.
        """
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid and self.status is None:
                self.status = status
            self.cpu_seconds += usage.ru_utime + usage.ru_stime
            self.max_rss = max(self.max_rss, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


# ---- starting ----------------------------------------------------------------------------------------


def become_subreaper() -> bool:
    """Make orphaned descendants children of this process (Linux, prctl(2)); whether that worked."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import _ctypes  # what lies under ctypes, 5 ms cheaper to import

        program: Any = None  # what dlopen(3) calls the running program itself
        prctl = _ctypes.dlsym(_ctypes.dlopen(program, 0), "prctl")
        return bool(_ctypes.call_function(prctl, (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        pass
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def default_signals() -> None:
    """Give the script what it would have in a fresh login: exec keeps ignored signals and the mask."""
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):  # SIGKILL, SIGSTOP and the C library's own
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def explain(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def open_output(path: bytes) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise CannotStartError(f"cannot write to {os.fsdecode(path)}: {explain(error)}") from None


def missing_interpreter(path: bytes) -> str:
    """Why a file that exists cannot be found by exec: the interpreter that its first line names."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 10 ms here
            first = file.readline(256)
    except OSError:
        return ""
    if not first.startswith(b"#!"):
        return ""
    return f" (its interpreter {os.fsdecode(first[2:].strip())!r} does not exist)"


def execute(order: Order) -> "NoReturn":
    """Replace this process by the script; the first item is looked up on the script's own PATH."""
    name = order.command[0]
    folders = order.environment.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    places = [name] if b"/" in name else [(folder or b".") + b"/" + name for folder in folders]
    first = None
    for place in places:
        try:
            os.execve(place, order.command, order.environment)  # noqa: S606 - that is its purpose
        except OSError as error:
            if first is None or (isinstance(first, FileNotFoundError) and not _absent(error)):
                first = error
    reason = explain(first) if first is not None else "not found"
    if b"/" in name and isinstance(first, FileNotFoundError):
        reason += missing_interpreter(name)
    elif isinstance(first, FileNotFoundError):
        reason = "not found on PATH"
    raise CannotStartError(f"cannot start {os.fsdecode(name)}: {reason}")


def _absent(error: OSError) -> bool:
    return isinstance(error, (FileNotFoundError, NotADirectoryError))


def become_script(order: Order, go: int, report: int) -> None:
    """The forked child: all that is left to do before exec, and a word to the parent if it fails."""
    try:
        os.setsid()
        outputs = [open_output(order.path(b"stdout")), open_output(order.path(b"stderr"))]
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        folder = order.path(b"working_directory")
        try:
            os.chdir(folder)
        except OSError as error:
            raise CannotStartError(
                f"cannot enter the working directory {os.fsdecode(folder)}: {explain(error)}"
            ) from None
        default_signals()
        if os.read(go, 1):
            execute(order)
    except CannotStartError as error:
        os.write(report, str(error).encode("utf-8", "surrogateescape"))
    except Exception as error:
        os.write(report, f"cannot start the script: {error!r}".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(127)


def make_group(token: bytes) -> str:
    """A control group of the script's own below this process's, "" where none can be had.

    Version 2 of the kernel's interface, cgroups(7), with `cgroup.kill` (Linux 5.14): on its own or beside version 1,
    where this process may make groups, as root may and a user on whom systemd has conferred them.
    """
    for line in read_text("/proc/self/cgroup").splitlines():
        if not line.startswith("0::") or ".." in line:
            continue
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            group = f"{root}{line[3:].rstrip('/')}/onrecord-{os.fsdecode(token)}"
            try:
                os.mkdir(group)  # noqa: PTH102 - pathlib costs 10 ms here
            except OSError:
                continue
            if os.path.exists(f"{group}/cgroup.kill"):  # noqa: PTH110
                return group
            os.rmdir(group)  # noqa: PTH106
    return ""


def write_text(path: str, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(fd, text.encode()) > 0
    except OSError:
        return False
    finally:
        os.close(fd)


def remove_group(group: str) -> None:
    """Remove the script's group with those that the script has made in it."""
    for folder, _, _ in os.walk(group, topdown=False) if group else ():
        try:
            os.rmdir(folder)  # noqa: PTH106
        except OSError:  # someone else has put something into it
            continue


def start_script(order: Order, control: Control, boot: str) -> tuple[Script, dict[str, object]]:
    """Fork, put the child's identity on record, and only then let it become the script.

    So there is no moment at which the script runs and nothing says so; a supervisor killed in between
    closes the pipe that the child waits on, and the child ends without having run anything.
    """
    go_reader, go_writer = os.pipe()
    report_reader, report_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_writer)
        become_script(order, go_reader, report_writer)
    os.close(go_reader)
    os.close(report_writer)
    script = Script(pid)
    group = make_group(order.values.get(b"token", b""))
    if group and not write_text(f"{group}/cgroup.procs", str(pid)):
        remove_group(group)
        group = ""
    script.group = group
    started = {**identity(pid, boot), "supervisor": identity(os.getpid(), boot), "group": group}
    fd = control.write("starting.tmp", dumps(started) + b"\n")
    control.rename("starting.tmp", "starting")
    try:
        os.write(go_writer, b"!")
    except BrokenPipeError:
        pass  # it failed before it was let go; the report says why
    os.close(go_writer)
    with os.fdopen(report_reader, "rb") as report:
        failure = report.read()
    if failure:
        os.close(fd)
        os.waitpid(pid, 0)
        remove_group(group)
        raise CannotStartError(failure.decode("utf-8", "surrogateescape"))
    control.publish(fd, "starting", "started")
    os.close(fd)
    return script, started


def identity(pid: int, boot: str) -> dict[str, object]:
    """pid, start ticks (field 22 of /proc/PID/stat, 0 where there is none), boot id and the time now."""
    fields = stat_fields(pid)
    return {
        "version": VERSION,
        "pid": pid,
        "start_ticks": int(fields[19]) if fields else 0,
        "boot_id": boot,
        "at": time.time_ns() // 1000,
    }


def read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib costs 10 ms here
            return file.read()
    except OSError:
        return ""


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: a command's name may hold spaces and brackets."""
    return read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()


# ---- ending ------------------------------------------------------------------------------------------


def processes() -> list[tuple[int, int, int, str]]:
    """Every process of this machine as (pid, parent, session or group, state letter)."""
    table = []
    if os.path.exists("/proc/self/stat"):  # noqa: PTH110 - pathlib costs 10 ms here
        for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs 10 ms here
            if name.isdigit():
                fields = stat_fields(int(name))
                if len(fields) > 3:
                    table.append((int(name), int(fields[1]), int(fields[3]), fields[0]))
        return table
    import subprocess  # only where there is no /proc

    with subprocess.Popen(["ps", "-axo", "pid=,ppid=,pgid=,stat="], stdout=subprocess.PIPE) as ps:
        lines = ps.stdout.read().split(b"\n") if ps.stdout else []
    for line in lines:
        columns = line.decode().split()
        if len(columns) == 4 and int(columns[0]) != ps.pid:
            table.append((int(columns[0]), int(columns[1]), int(columns[2]), columns[3][0]))
    return table


class Tree:
    """All processes that the script has started, by whatever way, and the ways to end them."""

    def __init__(self, script: Script, subreaper: bool, signals: Signals, passes_on: bool) -> None:
        self.script = script
        self.passes_on = passes_on  # the script asks the others to stop itself
        self.subreaper = subreaper
        self.signals = signals
        self.refused: set[int] = set()  # of another user: not ours to end
        self.ended: set[int] = set()  # processes besides the script that did not end by themselves

    def members(self) -> dict[int, str]:
        """Living descendants by pid with their state letter; without a subreaper the script's session too."""
        me = os.getpid()
        table = processes()
        found = {}
        if not self.subreaper:
            found = {pid: state for pid, _, session, state in table if session == self.script.pid}
        inside = {me, *found}
        if self.script.group:
            joined = self.group_pids()
            found.update((pid, state) for pid, _, _, state in table if pid in joined)
            inside.update(found)
        grown = True
        while grown:
            new = {pid: state for pid, parent, _, state in table if parent in inside and pid not in inside}
            grown = bool(new)
            found.update(new)
            inside.update(new)
        found.pop(me, None)
        return {pid: state for pid, state in found.items() if state not in "ZX" and pid not in self.refused}

    def group_pids(self) -> set[int]:
        """Whoever is in the script's control group or in one below it."""
        folders = [folder for folder, _, _ in os.walk(self.script.group)]
        return {int(pid) for folder in folders for pid in read_text(f"{folder}/cgroup.procs").split()}

    def alive(self) -> bool:
        left = self.script.reap()
        if left or not self.subreaper:
            return bool(self.members()) if self.refused or not self.subreaper else True
        return False

    def unlisted(self) -> set[int]:
        """Stands for what is left besides the script and was in no listing."""
        return {0} if self.script.status is not None and not self.ended else set()

    def signal(self, pids: "dict[int, str]", *numbers: int) -> None:
        for pid in pids:
            try:
                for number in numbers:
                    os.kill(pid, number)
            except ProcessLookupError:
                continue
            except PermissionError:
                if not self.script.group:
                    self.refused.add(pid)

    def wait(self, seconds: float) -> bool:
        """Sleep until nothing is left or the seconds are over; whether anything is left."""
        deadline = time.monotonic() + seconds
        while self.alive():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return True
            self.signals.wait(remaining if self.subreaper else min(remaining, 0.1))
        return False

    def wait_after_asking(self, grace: float) -> bool:
        """The grace is the script's; what it leaves behind has no more than LEFTOVER_SECONDS of it."""
        deadline = time.monotonic() + grace
        while self.alive():
            remaining = deadline - time.monotonic()
            if self.script.status is not None:
                return self.wait(min(remaining, LEFTOVER_SECONDS))
            if remaining <= 0:
                return True
            self.signals.wait(remaining if self.subreaper else min(remaining, 0.1))
        return False

    def freeze(self) -> dict[int, str]:
        """Stop every process, again until no new one appears: what is stopped cannot fork, so nothing
        slips between the listing and the killing."""
        stopped: dict[int, str] = {}
        for _ in range(FREEZE_ROUNDS):
            members = self.members()
            running = {pid: state for pid, state in members.items() if state not in "Tt"}
            if not running and stopped.keys() >= members.keys():
                return members
            self.signal(running, signal.SIGSTOP)
            stopped = members
            self.script.reap()
            time.sleep(0.0005)
        return self.members()

    def end(self, grace: float) -> None:
        """SIGTERM to all, the grace, then SIGSTOP and SIGKILL to whatever is left until nothing is."""
        asked = self.members()
        if self.script.status is not None:
            self.ended.update(asked)
        elif self.passes_on:
            asked = {pid: state for pid, state in asked.items() if pid == self.script.pid}
        # Continued as well, for a stopped process keeps SIGTERM pending for ever.
        self.signal(asked, signal.SIGTERM, signal.SIGCONT)
        pause = 0.02
        left, rounds = self.wait_after_asking(grace), 0
        while left and rounds < HELD_ROUNDS:
            if self.script.group:
                # All of it at once, also what forks faster than anyone can list it and what is another user's.
                # One at least: a process that forks and ends all the time is in no listing, and is there.
                self.ended.update({pid for pid in self.members() if pid != self.script.pid} or self.unlisted())
                write_text(f"{self.script.group}/cgroup.kill", "1")
            members = self.freeze()
            # Dead, and not to be collected: a debugger has hold of it, for as long as that likes.
            rounds = 0 if members else rounds + 1
            self.ended.update(pid for pid in members if pid != self.script.pid)
            self.signal(members, signal.SIGKILL)
            left = self.wait(pause)
            pause = min(pause * 2, 1.0)


def clean_up(order: Order, signals: Signals) -> str:
    """End what the script kept outside of its tree; what to say where that cannot be done."""
    for pause in CLEANUP_PAUSES if order.cleanup else ():
        try:
            pid = os.posix_spawn(order.cleanup[0], order.cleanup, order.environment)
        except OSError:
            break
        deadline = time.monotonic() + CLEANUP_SECONDS
        ended, status = os.waitpid(pid, os.WNOHANG)
        while not ended:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            signals.wait(1.0)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if status == 0:
            return ""
        time.sleep(pause)
    return "; what it kept elsewhere could not be ended" if order.cleanup else ""


# ---- the record --------------------------------------------------------------------------------------


def dumps(value: object) -> bytes:
    """JSON in UTF-8 of what this file writes: importing json would cost 15 ms and 2 MB."""
    if isinstance(value, dict):
        return b"{" + b", ".join(dumps(k) + b": " + dumps(v) for k, v in value.items()) + b"}"
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return repr(value).encode()
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    text = "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in text)
    return b'"' + text.encode("utf-8", "replace") + b'"'


def oom_kills() -> "tuple[int, int]":
    """How many processes the kernel has killed for want of memory: in this control group, on the whole machine.

    0 where it does not say.
    """
    total = 0
    for line in read_text("/proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            places = [f"/sys/fs/cgroup{path}/memory.events", f"/sys/fs/cgroup/unified{path}/memory.events"]
        elif "memory" in controllers.split(","):
            places = [f"/sys/fs/cgroup/memory{path}/memory.oom_control"]
        else:
            continue
        for place in places:
            for field in read_text(place).splitlines():
                if field.startswith("oom_kill "):
                    total += int(field.split()[1])
    machine = [int(line.split()[1]) for line in read_text("/proc/vmstat").splitlines() if line.startswith("oom_kill ")]
    return total, sum(machine)


def kernel_says_out_of_memory(pid: int, since: float) -> bool:
    """Whether the kernel's log, where it can be read, tells of this process's end for want of memory.

    `since`: seconds on the monotonic clock, which are those of the log.
    """
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    wanted = b"Killed process %d (" % pid
    try:
        while True:
            try:
                head, _, text = os.read(fd, 8192).partition(b";")
            except BrokenPipeError:  # overwritten while it was read
                continue
            fields = head.split(b",")
            if wanted in text and len(fields) > 2 and int(fields[2]) >= (since - 1.0) * 1e6:
                return True
    except (OSError, ValueError):  # BlockingIOError at the end
        return False
    finally:
        os.close(fd)


def why_killed(script: Script, before: "tuple[int, int]") -> str:
    """What is known, and what is only likely, of a SIGKILL that was not ours."""
    in_group, on_machine = (now - then for now, then in zip(oom_kills(), before, strict=True))
    held = f"it held {script.max_rss / 1e9:.1f} GB at most"
    if kernel_says_out_of_memory(script.pid, script.begun) or in_group > 0:
        return f": the machine or its memory limit ran out of memory (the kernel's out-of-memory killer; {held})"
    if on_machine > 0:
        return f", which nobody here sent; the kernel ended processes for want of memory, this one too? ({held})"
    words = read_text("/proc/meminfo").split()
    total = int(words[1]) * 1024 if len(words) > 1 else 0
    if total and script.max_rss > total * LARGE_PART:
        return f", which nobody here sent; the machine ran out of memory? ({held})"
    return ", which nobody here sent"


def signal_name(number: int) -> str:
    for name, value in vars(signal).items():
        if name.startswith("SIG") and name[3] != "_" and value == number:
            return name
    return f"signal {number}"


def ending(reason: str, message: str, script: Script | None, started: object, killed: int) -> bytes:
    status = script.status if script is not None else None
    by_signal = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
    record = {
        "version": VERSION,
        "reason": reason,
        "exit_code": os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
        "signal": by_signal,
        "core_dumped": status is not None and by_signal is not None and os.WCOREDUMP(status),
        "message": message[:600],
        "survivors_killed": killed,
        "cpu_seconds": round(script.cpu_seconds, 6) if script is not None else None,
        "max_rss_bytes": script.max_rss if script is not None else None,
        "started": started,
        "at": time.time_ns() // 1000,
    }
    return dumps(record) + b"\n"


def describe(reason: str, script: Script, limit: float | None, memory_kills: "tuple[int, int]", tree: Tree) -> str:
    status = script.status or 0
    if reason == "time_limit":
        text = f"ran past its time limit of {limit:g} s"
    elif reason == "stopped":
        text = "stopped on request"
    elif os.WIFSIGNALED(status):
        text = f"killed by {signal_name(os.WTERMSIG(status))}"
        if os.WTERMSIG(status) == signal.SIGKILL:
            text += why_killed(script, memory_kills)
        elif os.WCOREDUMP(status):
            text += " (core dumped)"
    else:
        text = f"exited with code {os.WEXITSTATUS(status)}"
    if script.status is None:
        text += "; a debugger held it, so that its exit code is not known"
    if tree.ended:
        text += f"; other processes that had to be ended: {len(tree.ended)}"
    if tree.refused:
        text += f"; processes of another user that could not be ended: {len(tree.refused)}"
    return text


# ---- the life of a supervisor ------------------------------------------------------------------------


def keep_lock(control: Control, inherited: int | None, boot: str) -> bool:
    """Hold the lock, never passed on, with our identity in the file; False: another process has it."""
    if inherited is None:
        fd = os.open("supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=control.fd)
        if not take_lock(fd):
            return False
    else:
        fd = inherited
        os.set_inheritable(fd, False)
    line = dumps(identity(os.getpid(), boot)) + b"\n"
    os.pwrite(fd, line + b" " * (255 - len(line)), 0)
    return True


def take_lock(fd: int) -> bool:
    import fcntl  # only when the caller has not locked: saves 0.3 ms

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def close_inherited(kept: set[int | None]) -> None:
    """Whatever the caller's libraries left inheritable is neither ours nor the script's."""
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208 - pathlib costs 10 ms here
    except OSError:
        return
    for name in names:
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the listing's own descriptor
                continue


def watch(script: Script, signals: Signals, limit: float | None) -> str:
    """Sleep until the script ends, a stop is asked for or the time is over; which it was."""
    deadline = None if limit is None else time.monotonic() + limit
    while True:
        script.reap()
        if script.status is not None:
            return "exited"
        if signals.stop_asked:
            return "stopped"
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            return "time_limit"
        signals.wait(remaining)


def supervise(control: Control, order: Order, signals: Signals, boot: str) -> None:
    if control.has("stop") or signals.stop_asked:
        return control.record_exit(ending("stopped", "stopped before it was started", None, None, 0))
    subreaper = become_subreaper()
    memory_kills = oom_kills()
    try:
        script, started = start_script(order, control, boot)
    except (CannotStartError, OSError) as error:
        return control.record_exit(ending("not_started", str(error), None, None, 0))
    tree = Tree(script, subreaper, signals, passes_on=bool(order.cleanup))
    limit, grace = order.seconds(b"time_limit_seconds"), order.seconds(b"grace_seconds") or 0.0
    try:
        reason = watch(script, signals, limit)
        if reason != "exited":
            tree.end(grace)
        unclean = clean_up(order, signals)
        if tree.wait(LEFTOVER_SECONDS):
            tree.end(min(grace, LEFTOVER_SECONDS))
        message = describe(reason, script, limit, memory_kills, tree) + unclean
        remove_group(script.group)
    except Exception as error:
        try:
            tree.end(grace)
            clean_up(order, signals)
        finally:
            message = f"the supervisor failed: {error!r}"
            control.record_exit(ending("lost", message, script, started, len(tree.ended)))
        raise
    return control.record_exit(ending(reason, message, script, started, len(tree.ended)))


def main(arguments: list[str]) -> int:
    """Supervise what the control folder orders; 0, or 75 when that has been supervised already."""
    inherited = int(arguments[1]) if len(arguments) > 1 else None
    close_inherited({0, 1, 2, inherited})
    control = Control(arguments[0])
    signals = Signals()
    order = Order(control.read("launch"))
    boot = read_text("/proc/sys/kernel/random/boot_id").strip() or order.values.get(b"boot_id", b"").decode()
    if not keep_lock(control, inherited, boot):
        return EXIT_CODE_REFUSED
    if any(control.has(name) for name in ("starting", "started", "exit")):
        return EXIT_CODE_REFUSED
    os.chdir("/")
    supervise(control, order, signals, boot)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # the interpreter's own tidying up would only delay whoever waits for this process
