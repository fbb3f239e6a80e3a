"""Where things lie in a workspace's folder."""

from __future__ import annotations

from pathlib import Path

FOLDER = ".onrecord"


class Layout:
    """Paths in the `.onrecord` folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = root / "ledger.db"
        self.objects = root / "objects"
        self.runs = root / "runs"
        self.caches = root / "cache"
        self.environments = root / "envs"
        # Erasures that are under way, and those that were cut off.
        self.erasing = root / "erasing"
        # Held while somebody decides which runs may start.
        self.queue_lock = root / "queue.lock"
        self.config = root / "config.toml"

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.runs / run_id)


class RunFolder:
    """Paths of one run; what lies here while it runs is in the ledger and the objects when it has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Held by the run's conductor for as long as it lives.
        self.lock = path / "conductor.lock"
        self.narration = path / "conductor.log"
        self.cancel = path / "cancel"
        # There while its conductor is to look for runs that can be started.
        self.wake = path / "wake"
        self.work = path / "work"
        self.logs = path / "logs"
        self.stdout = path / "logs" / "stdout.txt"
        self.stderr = path / "logs" / "stderr.txt"
        self.spool = path / "spool"
        # The outputs of the run that this one goes on from; only while it runs.
        self.resumed = path / "resume-from"
        self.records = path / "records"
        # What is being done before the script starts, for whoever waits; only where an environment may be built.
        self.notes = path / "notes"
        self.build_log = path / "records" / "environment-build.log"
        # Of an interactive run: held by its process for as long as that lives, what it said of its end, and the
        # files that were in its folders before it began.
        self.process_lock = path / "process.lock"
        self.ending = path / "ending.json"
        self.before = path / "before.json"
