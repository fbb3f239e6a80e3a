"""A project with a workspace and one run in it, the processes that belong to the run, and what must hold of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from onrecord import Run, Workspace
from onrecord.executors import records
from onrecord.ledger.events import RunMetrics
from onrecord.ledger.states import TERMINAL
from onrecord.verification import verify

HERE = Path(__file__).parent
PATIENCE_SECONDS = 30.0
ENDS = {"run.completed", "run.failed", "run.canceled"}
ENDED_BY_ITSELF = 7
ENDED_BY_SIGTERM = 9


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.01) -> None:
    """Wait for it; fail with `what` when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(pause)


class Scene:
    """One run, submitted by a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.outside = folder / "outside"
        for path in (self.source, self.outside):
            path.mkdir(parents=True)
        for script in ("worker.py", "evil_tree.py"):
            shutil.copy(HERE / script, self.source)
        self.workspace = Workspace.create(folder)
        self.submitter: subprocess.Popen[str] | None = None
        self.run_id = ""
        self._known_conductor = 0

    # ---- making it happen ----------------------------------------------------------------------

    def grow_source(self, files: int) -> None:
        """A tree that takes its time to be snapshotted and restored."""
        for number in range(files):
            place = self.source / f"folder_{number % 20}"
            place.mkdir(exist_ok=True)
            (place / f"{number}.txt").write_text(f"{number}\n" * 20)

    def begin(self, *arguments: object, script: str = "worker.py") -> None:
        """Start the submitter; the run is not there yet."""
        words = [str(word) for word in (self.workspace.path, self.source, script, *arguments)]
        self.submitter = subprocess.Popen(
            [sys.executable, str(HERE / "submitter.py"), *words], stdout=subprocess.PIPE, text=True
        )

    def begin_worker(self, seconds: float, files: int = 3) -> None:
        """Start the submitter of a run that sleeps for `seconds` and ends with its own exit code."""
        self.begin(self.outside, seconds, files, ENDED_BY_ITSELF)

    def submitted(self) -> str:
        """Wait until submit() has returned; the run's id."""
        assert self.submitter is not None
        assert self.submitter.stdout is not None
        self.run_id = self.submitter.stdout.readline().strip()
        assert self.run_id, "submit() failed"
        return self.run_id

    def appeared(self) -> str:
        """Wait until the run has a folder, which is before it is on record; the run's id."""
        until(lambda: any(self.workspace.layout.runs.iterdir()), "no folder of a run appears", pause=0.0005)
        self.run_id = next(self.workspace.layout.runs.iterdir()).name
        return self.run_id

    def reach(self, status: str) -> None:
        """Wait until the ledger says so, or says that it is past that."""
        until(lambda: self.status() in (status, *TERMINAL), f"the run never is {status}", pause=0.001)

    def ready(self) -> None:
        """Wait until the script has written all its outputs."""
        until((self.outside / "ready").exists, "the script does not come so far")

    def close(self) -> None:
        """End the submitter, and whatever a failed test has left."""
        if self.submitter is not None:
            self.submitter.kill()
            self.submitter.wait()
            assert self.submitter.stdout is not None
            self.submitter.stdout.close()
        if self.run_id:
            for pid in (*self.conductors(), *self.supervisors(), *self.processes()):
                kill(pid)
        self.workspace.close()

    # ---- looking -------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        return Run(self.workspace, self.run_id)

    @property
    def control(self) -> Path:
        return self.workspace.layout.run(self.run_id).path

    def status(self) -> str:
        return self.workspace.query.run(self.run_id).status

    def conductors(self) -> list[int]:
        return [
            pid for pid, words in command_lines() if self.run_id in words and "onrecord.conductor" in " ".join(words)
        ]

    def conductor_is_known(self) -> None:
        """Look for the conductor now, so that it can be killed later without a search that costs time."""
        until(self.conductors, "no conductor comes up", pause=0.001)
        self._known_conductor = self.conductors()[0]

    def known_conductors(self) -> list[int]:
        """The conductor that was known before, while it lives; else those that are found."""
        return [self._known_conductor] if is_alive(self._known_conductor) else self.conductors()

    def supervisors(self) -> list[int]:
        return [pid for pid, words in command_lines() if str(self.control) in words and "supervisor" in " ".join(words)]

    def scripts(self) -> list[int]:
        return [int(line) for line in self.said("starts") if is_alive(int(line))]

    def processes(self) -> list[int]:
        """Everything that carries the run's mark in its environment."""
        mark = f"ONRECORD_RUN_ID={self.run_id}".encode()
        return [pid for pid in living() if mark in read(pid, "environ").split(b"\0")]

    def said(self, name: str) -> list[str]:
        """What the script has written outside."""
        try:
            lines = (self.outside / name).read_text().split("\n")
        except FileNotFoundError:
            return []
        # The last line is whole only when it is followed by something.
        return lines[:-1]

    # ---- what must hold ------------------------------------------------------------------------

    def recover(self) -> None:
        """What the next command does, whoever types it: one look, from a workspace just opened."""
        workspace = Workspace(self.workspace.path)
        workspace.recover()
        workspace.close()

    def ended(self) -> None:
        """Wait for the end and for the last process of the run."""
        until(self.run.has_ended, f"run {self.run_id} is stuck in {self.status()}: {self.narration()}")
        until(lambda: not self.processes(), "processes of the run live on", pause=0.1)
        until(lambda: not self.supervisors() and not self.conductors(), "a conductor or supervisor lives on", pause=0.1)

    def narration(self) -> str:
        try:
            return (self.control / "conductor.log").read_text()[-3000:]
        except OSError:
            return "(no narration)"

    def is_sound(self) -> None:
        """The history is whole, the run ended once and is sealed, its script ran at most once, its outputs are kept."""
        assert verify(self.workspace).findings == []
        events = list(self.workspace.journal.read(self.run_id))
        assert events[0].type == "run.submitted"
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        ends = [event.type for event in events if event.type in ENDS]
        assert len(ends) == 1, ends
        seals = [event.version for event in events if event.type == "run.sealed"]
        assert len(seals) == 1, [event.type for event in events]
        late = {event.type for event in events if event.version > seals[0]}
        assert late <= {RunMetrics.type}, late
        assert len(self.said("starts")) <= 1, "the script ran twice"

    def outputs_are_kept(self) -> None:
        """Every output that the script had finished is in the history, byte by byte."""
        files = {row.name: row.digest for row in self.workspace.query.files(self.run_id)}
        for name in self.said("written"):
            assert name in files, f"{name} was written and is not in the history: {self.narration()}"
            number = name.removeprefix("outputs/file_").removesuffix(".txt")
            assert self.workspace.store.read(files[name]).decode() == f"output {number} of {self.run_id}\n" * 50
        if self.said("ready"):
            assert self.run.read_file("logs/stdout.txt") == b"all is written\n"

    def replace_boot_id(self, other: str) -> None:
        """What the run's folder looks like after a restart of the machine."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        for name in (records.LOCK, records.LAUNCH, records.STARTED):
            path = self.control / name
            content = path.read_bytes()
            assert boot in content
            path.write_bytes(content.replace(boot, other.encode()))


# ---- processes ---------------------------------------------------------------------------------------


def kill(pid: int) -> None:
    """SIGKILL, and wait until the kernel has carried it out; a zombie counts as dead."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    # Its first thread may be gone while another still holds its files, and so its locks.
    until(lambda: not is_alive(pid) and threads(pid) < 2, f"process {pid} does not die", pause=0.001)


def is_alive(pid: int) -> bool:
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return bool(fields) and fields[0] not in (b"Z", b"X")


def threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0


def living() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and is_alive(int(entry.name)):
            yield int(entry.name)


def command_lines() -> Iterator[tuple[int, list[str]]]:
    for pid in living():
        words = os.fsdecode(read(pid, "cmdline")).split("\0")
        if len(words) > 1:
            yield pid, words


def read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
