"""The contenders of the snapshot benchmark: each takes a folder whole, again, and gives it back.

A contender that is not installed is left out with a line that says so; `available` yields the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

TAKE = """
import sys; from pathlib import Path
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
store = Store(Path(sys.argv[2]))
take_snapshot(Path(sys.argv[1]), store, cache=Path(sys.argv[3]))
"""


def command(*words: object, cwd: Path | None = None, **environment: str) -> None:
    """Run a command to its end; CalledProcessError when it fails."""
    subprocess.run(list(map(str, words)), cwd=cwd, check=True, capture_output=True, env={**os.environ, **environment})


class Peer:
    """A contender in a folder of its own; `again` is False where a second time is not its business."""

    name = ""
    program = ""
    again = True
    gives_back = True

    def __init__(self, base: Path, source: Path) -> None:
        self.base, self.source, self.out = base, source, base / "out"
        base.mkdir(parents=True)
        self.prepare()

    def prepare(self) -> None:
        """Whatever comes before the first time and is not timed."""

    def take(self) -> None:
        """Take the source as it is now."""
        raise NotImplementedError

    def restore(self) -> None:
        """Give back what was taken into an empty folder."""
        raise NotImplementedError


class OnRecord(Peer):
    """Ours, called as a library in a warm process; durable."""

    name = "onrecord"

    def prepare(self) -> None:
        self.store, self.cache = Store(self.base / "objects"), self.base / "cache"
        self.store.put_bytes(b"the store is there")

    def take(self) -> None:
        self.taken = take_snapshot(self.source, self.store, cache=self.cache)

    def restore(self) -> None:
        restore_snapshot(self.store, self.taken.snapshot_id, self.out)


class Process(Peer):
    """Ours, as a process that starts, takes the snapshot and ends."""

    name = "onrecord, whole process"
    gives_back = False

    def take(self) -> None:
        command(sys.executable, "-c", TAKE, self.source, self.base / "objects", self.base / "cache")


class Git(Peer):
    name, program = "git", "git"

    def prepare(self) -> None:
        self.words = ("git", f"--git-dir={self.base}/git", f"--work-tree={self.source}")
        command("git", "init", "-q", "--bare", self.base / "git")

    def take(self) -> None:
        command(*self.words, "add", "-A")
        command(*self.words, "write-tree")

    def restore(self) -> None:
        command(*self.words, "checkout-index", "-a", f"--prefix={self.out}/")


class Restic(Peer):
    name, program = "restic", "restic"

    def prepare(self) -> None:
        self.words: tuple[object, ...] = (
            "restic",
            "-q",
            "-r",
            self.base / "repository",
            f"--cache-dir={self.base}/cache",
        )
        (self.base / "password").write_text("x")
        self.words += ("--password-file", self.base / "password")
        command(*self.words, "init")

    def take(self) -> None:
        command(*self.words, "backup", self.source)

    def restore(self) -> None:
        command(*self.words, "restore", "latest", "--target", self.out)


class Borg(Peer):
    name, program = "borg", "borg"

    def prepare(self) -> None:
        self.count = 0
        self.borg("init", "-e", "none", self.base / "repository")

    def borg(self, *words: object, cwd: Path | None = None) -> None:
        """Run borg with its cache in our folder."""
        command("borg", *words, cwd=cwd, BORG_BASE_DIR=str(self.base), BORG_RELOCATED_REPO_ACCESS_IS_OK="yes")

    def take(self) -> None:
        self.count += 1
        self.borg("create", f"{self.base}/repository::{self.count}", ".", cwd=self.source)

    def restore(self) -> None:
        self.out.mkdir()
        self.borg("extract", f"{self.base}/repository::{self.count}", cwd=self.out)


class Dvc(Peer):
    """DVC keeps what it takes beside the source, so it takes a copy that only it sees."""

    name, program = "dvc", "dvc"
    gives_back = False

    def prepare(self) -> None:
        self.work = self.base / "work"
        self.work.mkdir()
        command("cp", "-a", self.source, self.work / "source")
        # As the others' source is, not younger than a tick of the clock.
        self.source = self.work / "source"
        command(self.program, "init", "-q", "--no-scm", cwd=self.work, DVC_NO_ANALYTICS="1")

    def take(self) -> None:
        command(self.program, "add", "-q", "source", cwd=self.work, DVC_NO_ANALYTICS="1")


class Rsync(Peer):
    name, program = "rsync", "rsync"

    def take(self) -> None:
        command("rsync", "-a", "--delete", f"{self.source}/", self.base / "copy")

    def restore(self) -> None:
        command("rsync", "-a", f"{self.base}/copy/", self.out)


class Copy(Peer):
    name, program = "cp -a", "cp"
    again = False

    def take(self) -> None:
        command("cp", "-a", self.source, self.base / "copy")

    def restore(self) -> None:
        command("cp", "-a", self.base / "copy", self.out)


class CopyFlushed(Copy):
    """A copy that is on the disk when it counts as made."""

    name = "cp -a and fsync"
    gives_back = False

    def take(self) -> None:
        super().take()
        files = [path for path in (self.base / "copy").rglob("*") if path.is_file()]
        for start in range(0, len(files), 1000):
            command("sync", *files[start : start + 1000])


class B3sum(Peer):
    """Hashing alone, of every file."""

    name, program = "b3sum", "b3sum"
    gives_back = False

    def take(self) -> None:
        command("sh", "-c", 'find "$1" -type f -print0 | xargs -0 b3sum > "$2"', "sh", self.source, self.base / "sums")


PEERS: tuple[type[Peer], ...] = (OnRecord, Process, Git, Restic, Borg, Dvc, Rsync, Copy, CopyFlushed, B3sum)


def available(only: set[str] | None) -> Iterator[type[Peer]]:
    """The contenders that can run here; a line says which cannot. `only`: their names."""
    for peer in PEERS:
        if only is not None and peer.name not in only and peer is not OnRecord:
            continue
        if peer.program and shutil.which(peer.program) is None:
            print(json.dumps({"skipped": peer.name, "why": f"{peer.program} is not installed"}), flush=True)
            continue
        yield peer
