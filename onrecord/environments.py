"""Environments by name: those that were registered in a workspace, and the curated ones that are always there."""

from __future__ import annotations

import re
from typing import Any

from onrecord.curated_environments import CURATED, CURATED_VERSION
from onrecord.environment import Environment, environment_from
from onrecord.errors import OnRecordError
from onrecord.ledger import environments as stored
from onrecord.workspace import Workspace

_NAME = re.compile(r"[a-zA-Z0-9][\w.\-]{0,254}")
RESERVED = ("azureml", "microsoft", "onrecord-")


class BadEnvironmentName(OnRecordError):
    """A name that an environment cannot be registered under. Attribute: `name`."""


class UnknownEnvironment(OnRecordError):
    """No environment of this name or version. Attributes: `name`, `version`, `candidates`."""


def register(workspace: Workspace, environment: Environment) -> Environment:
    """The environment with the version that its definition has in the workspace, a new one where it has none."""
    name = _checked_name(environment.name)
    kept = stored.register(workspace.journal, name, _definition(environment.checked()), _who())
    return _environment(kept)


def find(workspace: Workspace, name: str, version: str | int | None = None, label: str | None = None) -> Environment:
    """One version of an environment: the newest one unless another is asked for."""
    if version is not None and label is not None:
        raise OnRecordError("a version and a label are given", next_step="give one of them", name=name)
    if label not in (None, "latest"):
        raise OnRecordError(f"there is no label {label!r}", why="the newest version is `latest`", name=name)
    found = versions(workspace, name)
    wanted = None if version in (None, "latest") else str(version)
    for one in reversed(found):
        if wanted is None or one.version == wanted:
            return one
    raise UnknownEnvironment(
        f"the environment {name} has no version {wanted}",
        why=f"its versions are 1 to {found[-1].version}",
        next_step=f"onrecord env show {name}",
        name=name,
        version=wanted,
        candidates=[one.version for one in found],
    )


def versions(workspace: Workspace | None, name: str) -> list[Environment]:
    """Every version of an environment, oldest first; without a workspace only curated ones are known."""
    if name in CURATED:
        return [_curated(name)]
    known = stored.registered(workspace.journal) if workspace is not None else []
    found = [_environment(one) for one in known if one.name == name]
    if found:
        return found
    from difflib import get_close_matches

    names = [*dict.fromkeys(one.name for one in known), *CURATED]
    near = get_close_matches(name, names, cutoff=0.5)
    raise UnknownEnvironment(
        f"there is no environment {name}",
        why=f"near ones: {', '.join(near)}" if near else "nobody registered one",
        next_step="onrecord env ls",
        name=name,
        version=None,
        candidates=near,
    )


def newest(workspace: Workspace) -> dict[str, Environment]:
    """The newest version of each, registered ones first."""
    found = {one.name: _environment(one) for one in stored.registered(workspace.journal)}
    return {**found, **{name: _curated(name) for name in CURATED}}


def is_curated(name: str) -> bool:
    """Whether an environment comes with onrecord."""
    return name in CURATED


def _environment(kept: stored.Registered) -> Environment:
    return environment_from({**kept.definition, "name": kept.name, "version": str(kept.number)})


def _curated(name: str) -> Environment:
    return environment_from({**CURATED[name], "name": name, "version": CURATED_VERSION})


def _definition(environment: Environment) -> dict[str, Any]:
    # The name is the event's, and the version follows from its place.
    return {key: value for key, value in environment.as_document().items() if key not in ("name", "version")}


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadEnvironmentName(
            f"{name!r} cannot be the name of an environment",
            why="a name has 1 to 255 letters, digits, _, . and -, and starts with a letter or a digit",
            next_step="environment.clone('another-name').register(workspace)",
            name=name,
        )
    if name.lower().startswith(RESERVED):
        raise BadEnvironmentName(
            f"{name} cannot be registered",
            why="names that begin with AzureML, Microsoft or onrecord- are those of curated environments",
            next_step="environment.clone('my-environment').register(workspace)",
            name=name,
        )
    return name


def _who() -> str:
    from onrecord.submission import user_name

    return user_name()
