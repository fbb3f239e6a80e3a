"""Where a workspace is that was moved while a conductor worked in it."""

from __future__ import annotations

from pathlib import Path

from onrecord.errors import OnRecordError
from onrecord.layout import FOLDER
from onrecord.workspace import Workspace


class WorkspaceMoved(OnRecordError):
    """The workspace is not where it was. Attribute: `path`, where its folder was."""

    @classmethod
    def away_from(cls, root: Path) -> WorkspaceMoved:
        """The error for a workspace whose folder was `root`."""
        return cls(f"{root} was moved to {Path.cwd()}", path=root)


def moved_to(root: Path) -> Workspace | None:
    """The workspace as it is now, for a process that still stands in its folder; None where it did not move."""
    try:
        here = Path.cwd()
        if here == root or here.name != FOLDER or _is_here(root):
            return None
        return Workspace(here.parent)
    except (OSError, OnRecordError):
        # Removed, or no workspace any more.
        return None


def _is_here(root: Path) -> bool:
    try:
        return root.samefile(".")
    except OSError:
        return False
