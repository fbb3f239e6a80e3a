"""What a workspace is called, and the Azure ML words for where it is: kept in config.toml, carried in config.json.

    name = "my-workspace"               # in config.toml, before any table; without it the project folder's name
    subscription_id = "…"               # kept as they were given; they mean nothing here
    resource_group = "…"
    location = "…"

A `config.json` that onrecord writes has Azure ML's three keys and `workspace_folder`, the project's folder from where
the file is. One that Azure wrote names a workspace in the cloud, which nothing here can open.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from onrecord.errors import OnRecordError

KEYS = ("name", "subscription_id", "resource_group", "location")
# What code that asks for them gets where none were given.
LOCAL = {"subscription_id": "local", "resource_group": "local", "location": "local"}
FOLDER_KEY = "workspace_folder"
# Where Azure ML looks in each folder, in this order.
_PLACES = (".azureml/config.json", "aml_config/config.json", "config.json")
_FILE_NAME = "config.json"
_NAME = re.compile(r"[a-zA-Z0-9][\w\-]{2,32}")
# What else Azure ML's `Workspace.create` takes; all of it is about the cloud.
AZURE_ONLY = frozenset(
    {
        "auth", "create_resource_group", "sku", "tags", "friendly_name", "storage_account", "key_vault",
        "app_insights", "container_registry", "adb_workspace", "primary_user_assigned_identity", "cmk_keyvault",
        "resource_cmk_uri", "hbi_workspace", "default_cpu_compute_target", "default_gpu_compute_target",
        "private_endpoint_config", "private_endpoint_auto_approval", "show_output",
        "user_assigned_identity_for_cmk_encryption", "system_datastores_auth_mode", "v1_legacy_mode", "cloud", "id",
    }
)  # fmt: skip


class BadWorkspaceName(OnRecordError):
    """A name that a workspace cannot be given. Attribute: `name`."""


class NoWorkspaceInConfig(OnRecordError):
    """A config.json that leads to no workspace of this machine. Attribute: `path`."""


def checked_name(name: object) -> str:
    """The name, or BadWorkspaceName."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise BadWorkspaceName(
        f"{name!r} cannot be the name of a workspace",
        why="a name has 3 to 33 letters, digits, _ and -, and starts with a letter or a digit",
        next_step='Workspace.create(name="my-workspace")',
        name=name,
    )


def settings_text(given: dict[str, str | None]) -> str:
    """The lines of config.toml for what was given."""
    # A JSON text is a TOML text.
    return "".join(f"{key} = {json.dumps(given[key])}\n" for key in KEYS if given.get(key))


def identity_in(config: Path) -> dict[str, str]:
    """What config.toml says of `KEYS`; empty where it says nothing of them, or cannot be read."""
    try:
        text = config.read_text(encoding="utf-8")
    except OSError:
        return {}
    if not any(key in text for key in KEYS):
        return {}
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # Said by what needs the targets, with its place.
        return {}
    return {key: document[key] for key in KEYS if isinstance(document.get(key), str)}


def write_config_file(project: Path, identity: dict[str, str], folder: Path, file_name: str | None) -> Path:
    """Write the file that leads to a workspace into `.azureml` of a folder; returns its path."""
    path = folder.absolute() / ".azureml" / (file_name or _FILE_NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "subscription_id": identity["subscription_id"],
        "resource_group": identity["resource_group"],
        "workspace_name": identity["name"],
        FOLDER_KEY: os.path.relpath(project, path.parent),
    }
    path.write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")
    return path


def config_file_in(folder: Path, file_name: str | None = None) -> Path | None:
    """The file in this folder that names a workspace as Azure ML has it; None where there is none."""
    for place in _PLACES:
        path = folder / place
        path = path.with_name(file_name) if file_name else path
        # Any program may have a config.json: one in the folder itself counts only if it is about a workspace.
        if path.is_file() and (path.parent != folder or "workspace_name" in _document(path)):
            return path
    return None


def folder_named_in(path: Path) -> Path:
    """The project's folder that a config.json names. Raises NoWorkspaceInConfig."""
    document = _document(path)
    named = document.get(FOLDER_KEY)
    if isinstance(named, str):
        return (path.absolute().parent / named).resolve()
    name = document.get("workspace_name")
    raise NoWorkspaceInConfig(
        f"{path} names {f'the Azure workspace {name!r}' if name else 'no workspace'}",
        why="onrecord keeps runs in a folder of this machine and connects to no account"
        if name
        else f"it is not JSON with workspace_name and {FOLDER_KEY}, as Workspace.write_config() writes it",
        next_step="onrecord init   (or in Python: Workspace.create('.')), which makes a workspace here",
        path=path,
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
