"""Where runs can go: the targets that `config.toml` names, and every executor under its own name.

    [targets.small]
    executor = "local"      # which executor starts the runs (default: local)
    max_concurrent = 2      # runs at once
    cores = 4               # shared by what the runs ask for, one core a run unless they say so
    memory = "16 GB"        # likewise; a run that asks for none takes none
    gpus = 2                # or a list of their numbers: [0, 3]
    hosts = ["a", "b:2222"] # where jobs of several processes run, as ssh takes their names
    python = "python3.12"   # the Python that helps there: 3.11 or newer (default: python3)
    folder = "/scratch/me"  # where working copies lie there (default: ~/.cache/onrecord)

What is left out is not limited. A table `[targets.local]` limits the default target.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.errors import OnRecordError
from onrecord.executors.registry import INLINE, LOCAL, known_targets, unknown_target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onrecord.workspace import Workspace

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_KNOWN = ("executor", "max_concurrent", "cores", "memory", "gpus", "hosts", "python", "folder")


class BadTarget(OnRecordError):
    """A target that config.toml does not describe as it should. Attributes: `target`, `field`."""


# A named tuple: a run's start reads targets and imports no attrs.
class ComputeTarget(NamedTuple):
    """A place to run: `memory` in bytes, `gpus` their numbers, None for what is not limited."""

    name: str
    executor: str = LOCAL
    max_concurrent: int | None = None
    cores: float | None = None
    memory: int | None = None
    gpus: tuple[int, ...] | None = None
    hosts: tuple[str, ...] = ()
    python: str = ""
    folder: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether a run may have to wait for others."""
        return any(limit is not None for limit in (self.max_concurrent, self.cores, self.memory, self.gpus))


def targets_of(workspace: Workspace) -> dict[str, ComputeTarget]:
    """Every target by name, those of config.toml over the executors' own. Raises BadTarget."""
    found = {name: ComputeTarget(name, name) for name in known_targets()}
    return {**found, **_described(workspace.layout.config)}


def target_named(workspace: Workspace, name: str) -> ComputeTarget:
    """The target of that name. Raises UnknownTarget with the known names, BadTarget."""
    # What most workspaces say of targets is nothing: then nothing is parsed, and no installed package looked up.
    described = _described(workspace.layout.config)
    if name in described:
        return described[name]
    if name == LOCAL:
        return ComputeTarget(LOCAL)
    if name not in known_targets():
        raise unknown_target(name, tuple(sorted({*known_targets(), *described})))
    return ComputeTarget(name, name)


def _described(config: Path) -> dict[str, ComputeTarget]:
    text = config.read_text(encoding="utf-8")
    if "targets" not in text:
        return {}
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadTarget(
            f"{config} cannot be read",
            why=str(problem),
            next_step=f"mend the line in {config}",
            target="",
            field="",
        ) from problem
    tables = document.get("targets", {})
    if not isinstance(tables, dict):
        raise _bad(config, "", "targets", tables, "targets are tables", "[targets.small]")
    return {name: _target(config, name, table) for name, table in tables.items()}


def _target(config: Path, name: str, table: object) -> ComputeTarget:
    if not isinstance(table, dict):
        raise _bad(config, name, "targets", table, "a target is a table", f"[targets.{name}]")
    for field in table:
        if field not in _KNOWN:
            raise _bad(config, name, field, table[field], f"known are {', '.join(_KNOWN)}", "max_concurrent = 2")
    executor = table.get("executor", LOCAL)
    if executor not in known_targets():
        why = f"the executors are {', '.join(known_targets())}"
        raise _bad(config, name, "executor", executor, why, 'executor = "local"')
    if executor == INLINE and len(table) > 1:
        limit = next(field for field in table if field != "executor")
        why = "an inline run is run by whoever submits it, and never waits"
        raise _bad(config, name, limit, table[limit], why, 'executor = "local"')
    return ComputeTarget(
        name,
        executor,
        _number(config, name, table, "max_concurrent", int),
        _number(config, name, table, "cores", (int, float)),
        _memory(config, name, table),
        _gpus(config, name, table),
        _hosts(config, name, table),
        _text(config, name, table, "python"),
        _text(config, name, table, "folder"),
    )


def _number(config: Path, name: str, table: Mapping[str, Any], field: str, kind: Any) -> Any:
    given = table.get(field)
    if given is not None and (isinstance(given, bool) or not isinstance(given, kind) or given <= 0):
        raise _bad(config, name, field, given, "it is a number above 0", f"{field} = 2")
    return given


def _memory(config: Path, name: str, table: Mapping[str, Any]) -> int | None:
    given = table.get("memory")
    if given is None:
        return None
    try:
        return bytes_of(given)
    except ValueError as problem:
        raise _bad(config, name, "memory", given, str(problem), 'memory = "16 GB"') from None


def _gpus(config: Path, name: str, table: Mapping[str, Any]) -> tuple[int, ...] | None:
    given = table.get("gpus")
    if given is None:
        return None
    numbers = given if isinstance(given, list) else range(given) if type(given) is int and given >= 0 else None
    if numbers is None or any(type(number) is not int or number < 0 for number in numbers):
        raise _bad(config, name, "gpus", given, "it is how many, or a list of their numbers", "gpus = 2")
    return tuple(dict.fromkeys(numbers))


def _hosts(config: Path, name: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    given = table.get("hosts", [])
    if not isinstance(given, list) or not all(isinstance(host, str) and host for host in given):
        raise _bad(config, name, "hosts", given, "it is a list of names as ssh takes them", 'hosts = ["a", "b:2222"]')
    return tuple(given)


def _text(config: Path, name: str, table: Mapping[str, Any], field: str) -> str:
    given = table.get(field, "")
    if not isinstance(given, str):
        raise _bad(config, name, field, given, "it is a path", f'{field} = "/usr/bin/python3"')
    return given


def bytes_of(given: object) -> int:
    """Bytes from a number or a text such as `16 GB` or `512 MiB`. Raises ValueError.

    >>> bytes_of("1.5 GB"), bytes_of("2GiB"), bytes_of(1000)
    (1500000000, 2147483648, 1000)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(given))
    if isinstance(given, bool) or found is None or found[2].lower() not in _UNITS:
        raise ValueError("it is a number of bytes, or a text such as '16 GB' or '512 MiB'")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _bad(config: Path, target: str, field: str, given: object, why: str, line: str) -> BadTarget:
    place = f"[targets.{target}] " if target else ""
    return BadTarget(
        f"{place}{field} is {given!r} in {config}",
        why=why,
        next_step=f"write there, for example: {line}",
        target=target,
        field=field,
    )
