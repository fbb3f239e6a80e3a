"""The workspaces of this machine that its user has worked with, and the one that a name means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onrecord.anchors import known_roots
from onrecord.errors import OnRecordError
from onrecord.layout import Layout
from onrecord.workspace import Workspace, WorkspaceNotFound
from onrecord.workspace_identity import LOCAL


def known_workspaces(subscription_id: str | None, resource_group: str | None) -> dict[str, list[Workspace]]:
    """By name; one that was created without an identifier fits any."""
    found: dict[str, list[Workspace]] = {}
    for folder in _known_folders():
        workspace = Workspace(folder)
        asked = {"subscription_id": subscription_id, "resource_group": resource_group}
        if all(
            wanted in (None, getattr(workspace, key)) or _says_nothing(workspace, key) for key, wanted in asked.items()
        ):
            found.setdefault(workspace.name, []).append(workspace)
    return found


def folder_of(name: str, subscription_id: str | None, resource_group: str | None) -> Path:
    """The project's folder of the workspace of that name. Raises WorkspaceNotFound with the names that are known."""
    known = known_workspaces(subscription_id, resource_group)
    if name in known:
        return known[name][0].path
    raise WorkspaceNotFound(
        f"there is no workspace '{name}' on this machine",
        why=f"known ones: {', '.join(sorted(known))}" if known else "this user has not worked with any yet",
        next_step=f"Workspace.create(name={name!r})   (or onrecord init)",
        searched=[one.path for several in known.values() for one in several],
    )


def _says_nothing(workspace: Workspace, key: str) -> bool:
    return bool(getattr(workspace, key) == LOCAL[key])


def _known_folders() -> Iterator[Path]:
    """The one found from here first, then those of which a checkpoint is kept."""
    seen: set[Path] = set()
    try:
        here = [Workspace.from_config().layout.root]
    except OnRecordError:
        here = []
    for root in (*here, *known_roots()):
        if root.resolve() not in seen and Layout(root).config.is_file():
            seen.add(root.resolve())
            yield root.parent
