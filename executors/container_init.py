"""The first process of a container: starts the script, passes signals on, and writes down how it ended.

A complete program in one file for the image's own Python, from 3.6 on, with nothing but its standard library:

    python -I -S container_init.py REPORT COMMAND [ARGUMENT]...

Without it the script itself would be the first process, which the kernel shields from every signal that it does not
handle (pid_namespaces(7)) and which has to collect all orphans. It also sees what nobody outside can tell apart: a
script that was killed, and one that ended with 128 plus that number; and whether memory ran out (on control groups of
version 1 engines do not say so, and the group is gone with the container).

REPORT.up says that signals are passed on by now. REPORT is a JSON file: `exit_code` or `signal` or `not_started` (why),
`oom_kills`, `survivors`.
"""

# ruff: noqa: PTH104, PTH123, PTH208 - importing pathlib would cost every start 10 ms

import json
import os
import signal
import sys
import time

LEFTOVER_SECONDS = 2.0  # for processes that outlive the script: to end by themselves, then after SIGTERM
EXIT_CANNOT_START = 127
PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
MEMORY = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for want of memory (0: unknown)."""
    for place in MEMORY:
        try:
            with open(place) as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return 0


def start(command: "list[str]") -> "tuple[int, str]":
    """The script's process, and why it could not be started ("" where it was)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for name in PASSED_ON:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(command[0], command)  # noqa: S606 - that is its purpose
        except OSError as error:
            os.write(writer, os.fsencode(error.strerror or str(error)))
        finally:
            os._exit(EXIT_CANNOT_START)
    os.close(writer)
    with os.fdopen(reader, "rb") as report:
        return pid, os.fsdecode(report.read())


def pass_on_to(pid: int) -> None:
    """Send every signal that asks for something to the script instead."""

    def forward(number: int, frame: object) -> None:
        try:
            os.kill(pid, number)
        except OSError:
            pass  # it has just ended

    for name in PASSED_ON:
        signal.signal(getattr(signal, name), forward)


def wait_for(pid: int) -> int:
    """Collect whatever ends until the script does; its status as waitpid(2) gives it."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return status


def others_left(seconds: float) -> bool:
    """Wait for everybody else, at most that long; whether somebody is left."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return False
        if time.monotonic() > deadline:
            return True
        time.sleep(0.02)


def end_others() -> int:
    """Let what the script has left behind end, or end it; how many had to be."""
    if not others_left(LEFTOVER_SECONDS):
        return 0
    left = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    if os.getpid() == 1:
        os.kill(-1, signal.SIGTERM)
        others_left(LEFTOVER_SECONDS)
    return len(left)  # those that still do not end, the kernel ends with this process


def write_report(path: str, report: "dict[str, object]") -> None:
    """Make the report visible as a whole; a disk without room must not change the script's exit code."""
    try:
        with open(path + ".tmp", "w") as file:
            json.dump(report, file)
        os.rename(path + ".tmp", path)
    except OSError as error:
        sys.stderr.write(f"onrecord: {error}\n")


def say_up(path: str) -> None:
    """Let whoever wants to send a signal know that it will arrive."""
    try:
        with open(path + ".up", "w"):
            pass
    except OSError:
        pass  # then it is sent a little later


def main(path: str, command: "list[str]") -> int:
    """Run the command to its end; its exit code, 128 plus the number of the signal that ended it, or 127."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # What arrives before there is a script waits until it can be passed on.
    signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, name) for name in PASSED_ON])
    before = oom_kills()
    pid, failure = start(command)
    if failure:
        write_report(path, {"not_started": f"cannot start {command[0]}: {failure}"})
        return EXIT_CANNOT_START
    pass_on_to(pid)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    say_up(path)
    status = wait_for(pid)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    report = {"signal": killed} if killed else {"exit_code": os.WEXITSTATUS(status)}  # type: dict[str, object]
    report["oom_kills"] = oom_kills() - before
    report["survivors"] = end_others()
    write_report(path, report)
    return 128 + killed if killed else os.WEXITSTATUS(status)


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2:])
    sys.stderr.flush()
    os._exit(code)
