"""Stands in for a script that runs in a container: starts it, passes a stop on, and ends as the script ended.

A complete program in one file that needs nothing but Python's standard library; the script's stand-in under the
supervisor, which never sees the container's processes end: with docker they are the daemon's children.

    python -I -S container_keeper.py run PLAN            start the container, and wait for its end
    python -I -S container_keeper.py end ENGINE NAME     end it for certain and remove it: the launch's cleanup

PLAN is a JSON file: `engine` (the words that call it), `name` of the container, `run` (the words after the engine's),
`grace_seconds`, `has_init` (whether container_init.py is the container's first process) and its `report`, `end` (a file
for what is known of the end), `place` (an empty folder to run the engine in).

The name is known before there is a container, so that it can be ended at any moment; an engine writes its cidfile only
afterwards.
"""

# ruff: noqa: PTH105, PTH110, PTH118, PTH123 - importing pathlib would cost every start 10 ms

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The engine failed, the command cannot be run, it is not there (docker's reference, "Exit status").
ENGINE_FAILED, CANNOT_RUN, NOT_THERE = 125, 126, 127
EXIT_UNCLEAN = 1
_PAUSE_SECONDS = 0.1
_LOOK_SECONDS = 1.0
_CALL_SECONDS = 20.0
_WORDS_BYTES = 4000


class Stop:
    """Whether a stop was asked for; `wait` sleeps until something happens."""

    def __init__(self) -> None:
        self.asked = False
        self._reader, writer = os.pipe()
        for fd in (self._reader, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _note(self, number: int, frame: object) -> None:
        self.asked = True

    def wait(self, seconds: float) -> None:
        """Sleep until a signal arrives, at most that long."""
        if select.select([self._reader], [], [], max(seconds, 0.0))[0]:
            os.read(self._reader, 65536)


class Container:
    """The container of one plan, by its name."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.name = str(plan["name"])
        self.was_removed = False

    def ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Call the engine; a call that hangs counts as one that failed."""
        command = [*self.plan["engine"], *words]
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CALL_SECONDS, check=False
            )
        except (subprocess.TimeoutExpired, OSError) as problem:
            return subprocess.CompletedProcess(command, EXIT_UNCLEAN, b"", str(problem).encode())

    def signal(self, name: str) -> bool:
        """Send a signal to its first process; whether it got there."""
        return self.ask("kill", "--signal", name, self.name).returncode == 0

    def is_up(self) -> bool:
        """Whether its first process passes signals on; true where it is the script itself."""
        if not self.plan["has_init"] or os.path.exists(self.plan["report"] + ".up"):
            return True
        # The run's folder was removed: then it can say nothing any more.
        return not os.path.exists(self.plan["place"])

    def state(self) -> dict[str, Any]:
        """What the engine says of it, {} where it knows nothing."""
        asked = self.ask("inspect", "--type", "container", "--format", "{{json .State}}", self.name)
        try:
            found = json.loads(asked.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def remove(self) -> bool:
        """End it and take it away; whether nothing is left."""
        if self.ask("rm", "--volumes", self.name).returncode == 0:
            # It had ended by itself, as most do.
            return True
        # At once: podman's forced `rm` alone would ask first, and wait.
        self.signal("KILL")
        gone = self.ask("rm", "--force", "--volumes", self.name)
        if gone.returncode == 0:
            return True
        left = self.ask("ps", "--all", "--quiet", "--filter", f"name=^{self.name}$")
        return left.returncode == 0 and not left.stdout.strip()


def wait_for(client: subprocess.Popen[bytes], container: Container, stop: Stop, grace: float) -> None:
    """Go with the engine's client to its end; asked to stop, ask the script, and end the container after the grace."""
    deadline: float | None = None
    told = False
    while client.poll() is None:
        if not stop.asked:
            stop.wait(3600.0)
            continue
        if deadline is None:
            deadline = time.monotonic() + grace
        if time.monotonic() >= deadline:
            container.was_removed = True
            container.remove()
            stop.wait(_LOOK_SECONDS)
            continue
        # Until it takes it: the container may just be coming up, and its first process shed what it cannot pass on yet.
        told = told or (container.is_up() and container.signal("TERM"))
        stop.wait(min(deadline - time.monotonic(), _LOOK_SECONDS if told else _PAUSE_SECONDS))


def how_it_ended(container: Container, code: int) -> dict[str, Any]:
    """From what the script's first process reported, or else from what the engine says."""
    try:
        with open(container.plan["report"], encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError):
        report = {}
    if report:
        oom = bool(report.get("oom_kills"))
        ended = {"exit_code": report.get("exit_code"), "signal": report.get("signal"), "oom": oom}
        return {**ended, "not_started": report.get("not_started", ""), "survivors": report.get("survivors", 0)}
    state = container.state()
    started = str(state.get("StartedAt", "")).startswith("0001-01-01") is False and bool(state)
    if not started and code in (ENGINE_FAILED, CANNOT_RUN, NOT_THERE):
        return {
            "exit_code": code,
            "signal": None,
            "oom": False,
            "not_started": last_words() or "the engine says not why",
        }
    if container.was_removed and code == 128 + signal.SIGKILL:
        return {"exit_code": None, "signal": signal.SIGKILL, "oom": False, "not_started": ""}
    # podman's monitor leaves this file where it was started, also where podman itself does not say so.
    oom = state.get("OOMKilled") is True or os.path.exists(os.path.join(container.plan["place"], "oom"))
    # Of what the container's first process was, 137 is what is left of SIGKILL.
    killed = signal.SIGKILL if oom and code == 128 + signal.SIGKILL else None
    return {"exit_code": None if killed else code, "signal": killed, "oom": oom, "not_started": ""}


def last_words() -> str:
    """The last line on standard error by which the engine complains."""
    try:
        size = os.fstat(2).st_size
        with open("/dev/fd/2", "rb") as file:
            file.seek(max(0, size - _WORDS_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ([line for line in lines if line.startswith(("Error", "docker:"))] or lines or [""])[-1]


def write_down(path: str, ended: dict[str, Any]) -> None:
    """For whoever records the run's end; without room for it the exit code says enough."""
    try:
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(ended, file)
        os.replace(path + ".tmp", path)
    except OSError as problem:
        sys.stderr.write(f"onrecord: {problem}\n")


def run(container: Container) -> int:
    """Start the container and end as its script did."""
    stop = Stop()
    # In a session of its own: a stop reaches the script through the engine, once.
    client = subprocess.Popen(
        [*container.plan["engine"], *container.plan["run"]], stdin=subprocess.DEVNULL, start_new_session=True,
        cwd=container.plan["place"],
    )  # fmt: skip
    wait_for(client, container, stop, float(container.plan["grace_seconds"]))
    code = client.returncode
    if code < 0:
        sys.stderr.write(f"onrecord: the container engine's client was killed by signal {-code}\n")
        code = ENGINE_FAILED
    ended = how_it_ended(container, code)
    write_down(container.plan["end"], ended)
    if ended["signal"]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(ended["signal"], signal.SIG_DFL) if ended["signal"] != signal.SIGKILL else None
        os.kill(os.getpid(), ended["signal"])
    return int(ended["exit_code"] if ended["exit_code"] is not None else code)


def end(container: Container) -> int:
    """Leave nothing of the container; 0 when that is so."""
    return 0 if container.remove() else EXIT_UNCLEAN


def main(arguments: list[str]) -> int:
    """`run` a plan, or `end` a container."""
    if arguments[0] == "end":
        # Without the plan: its folder may be gone.
        return end(Container({"engine": [arguments[1]], "name": arguments[2]}))
    with open(arguments[1], encoding="utf-8") as file:
        return run(Container(json.load(file)))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
