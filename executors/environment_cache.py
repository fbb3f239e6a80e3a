"""Finished environments by their key: built once, whoever asks, and never taken away from under who runs in them.

ROOT/KEY/lock         flock: shared while something runs in it, exclusive while it is built or removed
ROOT/KEY/.ok          the mark that it is whole (JSON), made last, by rename
ROOT/KEY/PREFIX/      the environment; a new name for each build, so that nothing that a killed one left
                      running can write into the next
ROOT/KEY/build.log    what the build printed
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from onrecord.executors.environment import Tell, python_of
from onrecord.executors.environment_errors import BuildStopped
from onrecord.executors.identity import boot_id

LOCK, OK, LOG = "lock", ".ok", "build.log"
_TRASH = ".removed-"
_PAUSE_SECONDS = 0.05

# In an environment's folder: what is there when it is, unless its mark names something else.
_PROOF = "bin/python"


class Buildable(Protocol):
    """What can be made and found again by its content: an environment, an image."""

    def key(self) -> str:
        """32 hex digits. Raises BadEnvironment."""

    def build_in(self, folder: Path, *, tell: Tell, should_stop: Callable[[], bool], label: str) -> None:
        """Build it in its locked folder and `commit` it. Raises EnvironmentBuildFailed, BuildStopped."""


class Held(NamedTuple):
    """A whole environment, kept from being removed until `fd` is closed. `log`: of its build."""

    key: str
    prefix: Path
    python: Path
    log: Path
    built: bool
    fd: int


class Entry(NamedTuple):
    """What is known of one environment: `ok` is its mark, {} for one that is not whole; times in seconds (UTC)."""

    key: str
    folder: Path
    ok: dict[str, Any]
    used_at: float
    in_use: bool

    @property
    def prefix(self) -> Path:
        """Where it lies."""
        return self.folder / str(self.ok.get("prefix", ""))


class Cache:
    """The environments in one folder, which is made when the first one is built."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def hold(self, key: str) -> Held | None:
        """The environment, held; None where it is not there, not whole, or just being built. About 0.1 ms."""
        folder = self.root / key
        try:
            fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            ok = _read_ok(folder)
            if _is_sound(folder, ok) and _is_the_file(fd, folder / LOCK) and self._survived(folder, ok):
                prefix = folder / ok["prefix"]
                _note_use(folder / LOCK)
                return Held(key, prefix, python_of(prefix), folder / LOG, False, fd)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _survived(self, folder: Path, ok: dict[str, Any]) -> bool:
        """Whether it is as it was built, should the machine have gone down since: its files were not synced."""
        if ok.get("boot_id") == boot_id():
            return True
        from onrecord.executors.environment_inventory import problems_of

        if next(problems_of(folder / ok["prefix"], read=False), None) is not None:
            return False
        try:
            _write_ok(folder, {**ok, "boot_id": boot_id()})
        except OSError:
            # Where nothing can be written it is looked at each time.
            pass
        return True

    def ready(self, recipe: Buildable, *, tell: Tell, should_stop: Callable[[], bool], label: str = "") -> Held:
        """The environment of a recipe, held: the one that is there, or a new one.

        Waits while another process builds it. `tell` is given lines for people; `should_stop` ends the waiting
        and the building. Raises BadEnvironment, EnvironmentBuildFailed, BuildStopped, OSError.
        """
        key = recipe.key()
        built = said = False
        while True:
            held = self.hold(key)
            if held is not None:
                return held._replace(built=built)
            fd = self._claim(key)
            if fd is not None:
                try:
                    built = self._make_whole(key, recipe, tell, should_stop, label) or built
                finally:
                    os.close(fd)
                continue
            if should_stop():
                raise BuildStopped("the wait for the environment was stopped")
            if not said:
                tell("another process builds the same environment; waiting for it")
                said = True
            time.sleep(_PAUSE_SECONDS)

    def _claim(self, key: str) -> int | None:
        """The exclusive lock of a key, or None while others hold it."""
        folder = self.root / key
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            # It is being removed just now.
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_the_file(fd, folder / LOCK):
                return fd
        except BlockingIOError:
            pass
        os.close(fd)
        return None

    def _make_whole(self, key: str, recipe: Buildable, tell: Tell, should_stop: Callable[[], bool], label: str) -> bool:
        """Build it unless someone did so just before; whether it was built."""
        folder = self.root / key
        ok = _read_ok(folder)
        if _is_sound(folder, ok) and self._survived(folder, ok):
            return False
        recipe.build_in(folder, tell=tell, should_stop=should_stop, label=label or key)
        return True

    def entries(self) -> Iterator[Entry]:
        """Every environment, also those that are not whole, by key."""
        if not self.root.is_dir():
            return
        for folder in sorted(self.root.iterdir()):
            lock = folder / LOCK
            if folder.name.startswith(_TRASH) or not lock.is_file():
                continue
            yield Entry(folder.name, folder, _read_ok(folder), lock.stat().st_mtime, _is_locked(lock))

    def remove(self, key: str) -> bool:
        """Remove an environment with everything in it; False where something runs in it or builds it.

        It is gone at once for whoever looks; one that is killed half-way leaves a folder that `clear` removes.
        """
        folder = self.root / key
        try:
            fd = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_the_file(fd, folder / LOCK):
                return False
            from onrecord.executors.environment_steps import end_leftovers

            end_leftovers(folder)
            _remove_image(_read_ok(folder))
            trash = self.root / f"{_TRASH}{key}-{os.urandom(4).hex()}"
            folder.rename(trash)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        _remove_tree(trash)
        return True

    def clear(self) -> int:
        """Remove what removals that were killed have left; returns how many."""
        left = [path for path in self.root.iterdir() if path.name.startswith(_TRASH)] if self.root.is_dir() else []
        for path in left:
            _remove_tree(path)
        return len(left)


def commit(folder: Path, mark: dict[str, Any]) -> None:
    """Declare the environment in `folder` whole."""
    _write_ok(folder, mark)


def start_over(folder: Path) -> Path:
    """Clear what an earlier build left in `folder`, and name the place of the next one. The lock must be held."""
    from onrecord.executors.environment_steps import end_leftovers

    end_leftovers(folder)
    for path in folder.iterdir():
        if path.name != LOCK:
            _remove_tree(path)
    return folder / os.urandom(4).hex()


def clear_failed(folder: Path) -> None:
    """Leave nothing of a build but its log and the lock."""
    for path in folder.iterdir():
        if path.name not in (LOCK, LOG):
            _remove_tree(path)


def forget(folder: Path) -> None:
    """Take the mark off: what it stands for is not there any more."""
    (folder / OK).unlink(missing_ok=True)


def _remove_image(ok: dict[str, Any]) -> None:
    image = ok.get("image")
    if image:
        from onrecord.executors.container_engine import remove_image
        from onrecord.executors.container_errors import EngineFailed

        try:
            remove_image(str(ok.get("engine", "")), str(ok.get("tool", "")), str(image))
        except EngineFailed:
            # The engine is gone, and its images with it.
            pass


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # It would be half of what a cached environment adds to the start of a run.
        import shutil

        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            # A package may come with folders that cannot be written.
            for folder, _, _ in os.walk(path):
                os.chmod(folder, 0o700)  # noqa: PTH101 - ours, and about to go
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read_ok(folder: Path) -> dict[str, Any]:
    try:
        ok = json.loads((folder / OK).read_bytes())
    except (OSError, ValueError):
        return {}
    return ok if isinstance(ok, dict) else {}


def _write_ok(folder: Path, mark: dict[str, Any]) -> None:
    draft = folder / f"{OK}.{os.getpid()}"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(mark, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / OK)


def _is_sound(folder: Path, ok: dict[str, Any]) -> bool:
    """Whether it is there, its interpreter too, and at the place that its files name, where they name one."""
    name = ok.get("prefix")
    if not name:
        return False
    prefix = folder / str(name)
    return (prefix / ok.get("proof", _PROOF)).exists() and (
        bool(ok.get("relocatable")) or ok.get("path") == str(prefix)
    )


def _is_the_file(fd: int, path: Path) -> bool:
    """Whether the open lock is the one that others will find, and not that of a folder that was removed."""
    try:
        found = path.stat()
    except OSError:
        return False
    mine = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _note_use(lock: Path) -> None:
    try:
        os.utime(lock)
    except OSError:
        # Another user's, or a read-only disk: it will look unused for longer than it is.
        pass


def _is_locked(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
