"""The last checkpoint of each workspace, kept outside of it: in the user's state directory.

    $XDG_STATE_HOME/onrecord/ (default ~/.local/state/onrecord/)
        checkpoints/<32 hex digits>     the last checkpoint of the ledger of that origin
        workspaces/<32 hex digits>      the origin of the ledger that was last seen in a folder, and the folder

The first finds a ledger that was moved, the second one that was replaced by another from its first event on.
Whoever can write the workspace but not the user's own directory cannot rewrite history unseen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.errors import OnRecordError

if TYPE_CHECKING:
    from onrecord.ledger.checkpoint import Checkpoint
    from onrecord.workspace import Workspace


_IS_DIGITS = re.compile(r"[0-9a-f]{32}\Z").match


class HistoryChanged(OnRecordError):
    """The ledger does not go on from its last checkpoint. Attribute: `path`, the workspace's folder."""

    @classmethod
    def of(cls, workspace: Workspace, problem: str) -> HistoryChanged:
        """The error for what `move_on` or `problem_at_a_glance` found."""
        return cls(
            problem,
            why=f"the last checkpoint is in {state_folder()}; it or the ledger was changed, replaced or restored since",
            next_step="onrecord verify   (if you restored it yourself: onrecord checkpoint --accept)",
            path=workspace.path,
        )


class NotKept(OnRecordError):
    """The last checkpoint cannot be kept outside of the workspace."""

    @classmethod
    def in_state_directory(cls) -> NotKept:
        """The error for a state directory that cannot be written."""
        try:
            folder = str(state_folder())
        except RuntimeError:
            folder = "the state directory of a user without a home"
        return cls(
            "the checkpoint could not be kept",
            why=f"{folder} cannot be written",
            next_step="onrecord checkpoint -o FILE   (or set XDG_STATE_HOME to a folder that you can write)",
        )


def state_folder() -> Path:
    """Where the user's state is kept (XDG base directory specification). May not exist."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if given.startswith("/") else Path("~/.local/state").expanduser()
    return base / "onrecord"


def kept(workspace: Workspace, origin: str | None) -> list[Checkpoint]:
    """The checkpoints that the ledger in this folder must go on from: at most two, mostly one.

    `origin` is the ledger's own, None of an empty one. A file that cannot be read counts as none (see `unreadable`).
    """
    return _kept(workspace, origin)[0]


def unreadable(workspace: Workspace, origin: str | None) -> list[str]:
    """What is wrong with those files of `kept` that are there and cannot be read as what was written.

    An empty one, which a power failure can leave, is none.
    """
    return _kept(workspace, origin)[1]


def _kept(workspace: Workspace, origin: str | None) -> tuple[list[Checkpoint], list[str]]:
    from onrecord.ledger.checkpoint import ORIGIN, parse_checkpoint

    found: list[Checkpoint] = []
    wrong: list[str] = []
    try:
        seen = _seen_file(workspace.layout.root)
        last = _read(seen)
    except RuntimeError:
        return [], []  # A user without a home has kept nothing.
    digits = [last.partition("\n")[0], (origin or "").removeprefix(ORIGIN)]
    if last and not _IS_DIGITS(digits[0]):
        wrong.append(f"{seen} cannot be read: it does not begin with the digits of a ledger")
    for name in filter(_IS_DIGITS, dict.fromkeys(digits)):
        text = _read(_checkpoint_file(name))
        try:
            found += [parse_checkpoint(text)] if text else []
        except OnRecordError as problem:
            wrong.append(f"{_checkpoint_file(name)} cannot be read: {problem.what}")
    return found, wrong


def keep(workspace: Workspace, checkpoint: Checkpoint, *, go_back: bool = False) -> bool:
    """Keep a checkpoint as the last one; False where the state directory cannot be written.

    Unless it may `go_back`, a later one of the same ledger, which another process has kept meanwhile, stays. Its
    events are brought to the disk first: what a power failure takes must not look as if somebody had cut it off.
    """
    from onrecord.ledger.checkpoint import ORIGIN

    workspace.journal.sync()
    digits = checkpoint.origin.removeprefix(ORIGIN)
    later = [old for old in kept(workspace, checkpoint.origin) if old.origin == checkpoint.origin]
    try:
        if go_back or not later or later[0].size <= checkpoint.size:
            _write(_checkpoint_file(digits), checkpoint.text)
        _write(_seen_file(workspace.layout.root), f"{digits}\n{os.fsencode(workspace.layout.root).hex()}\n")
    except (OSError, RuntimeError):
        # No home, a full disk, no permission: an anchor that cannot be kept must not stop a run.
        return False
    return True


def known_roots() -> list[Path]:
    """The `.onrecord` folders of workspaces of which a checkpoint was kept, in no order; they may be gone."""
    roots = []
    try:
        files = sorted((state_folder() / "workspaces").iterdir())
    except (OSError, RuntimeError):
        return []
    for file in files:
        digits = _read(file).split("\n")[1:2]
        try:
            roots += [Path(os.fsdecode(bytes.fromhex(text))) for text in digits if text]
        except ValueError:
            # Not as it was written: it names no folder.
            continue
    return roots


def forget(root: Path) -> None:
    """A new workspace is made in this folder by its user: what was here before is no longer expected."""
    try:
        _seen_file(root).unlink(missing_ok=True)
    except (OSError, RuntimeError):
        pass


def problem_at_a_glance(workspace: Workspace) -> str | None:
    """Whether the ledger's origin or size has gone back behind the last checkpoint: two small reads, no hashing."""
    from onrecord.ledger.checkpoint import what_became_of
    from onrecord.ledger.origin import origin_of

    origin = origin_of(workspace.journal)
    for garbage in unreadable(workspace, origin):
        return garbage
    # The checkpoint before the size: one that another process keeps in between is not ahead of what is read here.
    for old in kept(workspace, origin):
        problem = what_became_of(old, origin or "", workspace.journal.size(), _believed(old))
        if problem:
            return problem
    return None


def _believed(old: Checkpoint) -> Callable[[int], bytes]:
    # Whether the root is the ledger's is for `verify` to find, and for the end of a run.
    return lambda _: old.root


def move_on(workspace: Workspace) -> str | None:
    """Keep a new checkpoint, once the ledger goes on from the last one by its stored tree; what is wrong otherwise."""
    from onrecord.ledger.checkpoint import what_became_of
    from onrecord.ledger.history import History

    history = History(workspace.journal)
    for garbage in unreadable(workspace, history.origin()):
        return garbage
    # In this order, as above.
    last = kept(workspace, history.origin())
    new = history.checkpoint()
    for old in last:
        problem = what_became_of(old, new.origin, new.size, history.root_at)
        if problem:
            return problem
    keep(workspace, new)
    return None


def keep_checkpoint(workspace: Workspace) -> None:
    """The same where a run has just ended: what is wrong goes to the conductor's narration.

    The run's end is on record; the next run or `verify` keeps a checkpoint.
    """
    from onrecord.patience import say

    try:
        problem = move_on(workspace)
    except OnRecordError as failure:
        problem = str(failure)
    if problem:
        say(f"{problem}\n")


def _checkpoint_file(digits: str) -> Path:
    return state_folder() / "checkpoints" / digits


def _seen_file(root: Path) -> Path:
    return state_folder() / "workspaces" / sha256(os.fsencode(root.resolve())).hexdigest()[:32]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text)
    temporary.replace(path)
