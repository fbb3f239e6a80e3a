"""`onrecord env`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from onrecord.cli import exit_codes
from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.duration import Duration
from onrecord.environment import Environment
from onrecord.executors.environment_cache import Cache, Entry
from onrecord.wording import Style, ago, columns, narrate, printable, size
from onrecord.workspace import Workspace

_UNUSED_SECONDS = 30 * 24 * 3600.0


@click.group()
def command() -> None:
    """Environments: list, show, build and remove them.

    One that is registered or curated has a name; what was built of it lies in the workspace, found by its content.
    """


@command.command("ls")
@json_option
def list_(as_json: bool) -> None:
    """List the environments with a name, and those that are built."""
    workspace = open_workspace()
    named, entries = workspace.environments, list(Cache(workspace.layout.environments).entries())
    if as_json:
        print_json(
            {
                "environments": [environment.as_document() for environment in named.values()],
                "built": [_entry_document(entry, sized=False) for entry in entries],
            }
        )
        return
    style = Style(sys.stdout)
    table = [["NAME", "VERSION", "PACKAGES"]]
    table += [[printable(name), one.version or "-", _wanted(one)] for name, one in named.items()]
    _print_table(style, table)
    if entries:
        print()
        built = [["BUILT", "OF", "PACKAGES", "WITH", "USED"]]
        for entry in entries:
            used = "in use" if entry.in_use else ago(int(entry.used_at * 1e6))
            ok = entry.ok
            packages = "not whole" if not ok else "an image" if "image" in ok else str(len(ok.get("packages", {})))
            built.append([entry.key[:12], printable(str(ok.get("label", "-"))), packages, ok.get("tool", "-"), used])
        _print_table(style, built)


@command.command("show")
@click.argument("env", metavar="ENV")
@click.option("--verify", is_flag=True, help="Read every installed file and compare it with what was installed.")
@json_option
def show(env: str, verify: bool, as_json: bool) -> int:
    """Show an environment: its definition, and what is installed where it is built.

    ENV is a NAME[:VERSION], a file as `onrecord run --env` takes it, or the start of the key of a built one.
    """
    workspace = open_workspace()
    definition, entry = _found(workspace, env)
    problems = _problems(entry) if verify and entry is not None else []
    if as_json:
        built = _entry_document(entry, sized=True) if entry is not None else None
        checked = {"problems": problems} if verify else {}
        print_json({"definition": definition.as_document() if definition else None, "built": built, **checked})
    else:
        _print_environment(definition, entry)
        for problem in problems:
            print(Style(sys.stdout).red(printable(problem)))
        if verify:
            narrate("not built, so there is nothing to verify" if entry is None else f"{len(problems)} problems")
    return exit_codes.PROBLEM if problems else exit_codes.OK


@command.command("build")
@click.argument("env", metavar="ENV")
@json_option
def build(env: str, as_json: bool) -> None:
    """Build an environment now, so that runs in it start at once. ENV as `onrecord run --env` takes it."""
    from onrecord.built_environment import build as build_now
    from onrecord.environment_argument import environment_named

    workspace = open_workspace()
    environment = environment_named(env)
    assert environment is not None  # noqa: S101 - only without ENV
    made = build_now(workspace, environment, tell=lambda text: narrate(printable(text)))
    if as_json:
        made_of = {"image": made.image} if made.image else {"interpreter": str(made.python)}
        print_json({"name": made.name, "key": made.key, **made_of, "packages": made.packages})
    else:
        print(made.image or made.python)


@command.command("prune")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--unused-for", type=Duration(), metavar="TIME", help="Unused for this long (default: 30 days): 12h, 7d.")
@click.option("-a", "--all", "everything", is_flag=True, help="All that nothing runs in.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be removed.")
@json_option
def prune(keys: tuple[str, ...], unused_for: float | None, everything: bool, dry_run: bool, as_json: bool) -> int:
    """Remove built environments: those that were not used for long, or those whose KEYs begin so.

    One that a run is in, or that a run waits for, is never removed. The definitions stay; a run that needs one
    builds it again.
    """
    from onrecord.built_environment import keys_in_use

    workspace = open_workspace()
    cache, needed = Cache(workspace.layout.environments), keys_in_use(workspace)
    limit = 0.0 if everything or keys else _UNUSED_SECONDS if unused_for is None else unused_for
    removed, kept = list[dict[str, Any]](), list[str]()
    for entry in list(cache.entries()):
        if keys and not any(entry.key.startswith(key.lower()) for key in keys):
            continue
        if entry.ok and time.time() - entry.used_at < limit:
            continue
        document = _entry_document(entry, sized=True)
        gone = entry.key not in needed and not entry.in_use and (dry_run or cache.remove(entry.key))
        removed.append(document) if gone else kept.append(entry.key)
    if not dry_run:
        cache.clear()
    _tell_pruned(removed, kept, dry_run, as_json)
    return exit_codes.PROBLEM if keys and (kept or not removed) else exit_codes.OK


def _tell_pruned(removed: list[dict[str, Any]], kept: list[str], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"removed": removed, "in_use": kept, "dry_run": dry_run})
        return
    for document in removed:
        verb, of = "would remove" if dry_run else "removed", printable(str(document["label"])) or "not whole"
        narrate(f"{verb} {document['key'][:12]} ({of}), {size(document['bytes'])}")
    for key in kept:
        narrate(f"kept {key[:12]}: a run is in it")
    if not removed and not kept:
        narrate("nothing to remove")


def _found(workspace: Workspace, env: str) -> tuple[Environment | None, Entry | None]:
    from onrecord.built_environment import key_of_definition
    from onrecord.environment_argument import environment_named

    entries = list(Cache(workspace.layout.environments).entries())
    if len(env) >= 6:
        of_key = [entry for entry in entries if entry.key.startswith(env.lower())]
        if len(of_key) == 1:
            return None, of_key[0]
    environment = environment_named(env)
    assert environment is not None  # noqa: S101 - only without ENV
    checked = environment.checked()
    if not checked.needs_build():
        return environment, None
    key = key_of_definition(workspace, checked)
    return environment, next((entry for entry in entries if entry.key == key), None)


def _problems(entry: Entry) -> list[str]:
    from onrecord.executors.environment_inventory import problems_of

    if not entry.ok:
        return ["it is not whole; the next run in it builds it again"]
    if "image" in entry.ok:
        from onrecord.container_environment import problem_of_image

        return problem_of_image(entry.ok)
    return list(problems_of(entry.prefix))


def _entry_document(entry: Entry, *, sized: bool) -> dict[str, Any]:
    ok = entry.ok
    document = {
        "key": entry.key,
        "label": ok.get("label", ""),
        "whole": bool(ok),
        "path": str(entry.prefix) if ok else None,
        "tool": ok.get("tool"),
        "built_at": ok.get("built_at"),
        "used_at": entry.used_at,
        "in_use": entry.in_use,
        "packages": ok.get("packages", {}),
        **({"image": ok["image"]} if "image" in ok else {}),
    }
    return {**document, "bytes": _bytes_of(entry)} if sized else document


def _bytes_of(entry: Entry) -> int:
    return int(entry.ok.get("bytes", 0)) + _bytes_in(str(entry.folder))


def _bytes_in(folder: str) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - ten thousands of them
    return total


def _wanted(environment: Environment) -> str:
    python, image = environment.python, _image_of(environment)
    if environment.python.pylock is not None:
        return "as its lock says"
    wanted = python.conda_dependencies
    if wanted.is_empty() or python.user_managed_dependencies:
        return printable(image or python.interpreter_path or "the interpreter that submits")
    words = (f"{image} with " if image else "") + " ".join([*wanted.conda_packages, *wanted.pip_packages])
    return printable(words if len(words) <= 70 else words[:67] + "...")


def _image_of(environment: Environment) -> str:
    docker = environment.docker
    if not docker.is_used():
        return ""
    if docker.build_context is not None:
        return f"an image of {docker.build_context.location}/{docker.build_context.dockerfile_path}"
    return f"the image {docker.base_image}" if docker.base_image else "an image of a Dockerfile"


def _print_environment(definition: Environment | None, entry: Entry | None) -> None:
    style = Style(sys.stdout)
    if definition is not None:
        print(style.bold(printable(definition.name)))
        _print_facts(style, [("version", definition.version or "-"), ("wanted", _wanted(definition))])
        for name, value in definition.environment_variables.items():
            print(f"  {style.dim('variable'.ljust(12))} {printable(f'{name}={value}')}")
    if entry is None:
        narrate(_not_built(definition))
        return
    ok = entry.ok
    facts = [("key", entry.key), ("path", printable(str(entry.prefix))), ("built with", str(ok.get("tool", "-")))]
    facts += [("built of", printable(str(ok.get("label", "-")))), ("size", size(_bytes_of(entry)))]
    facts += [("image", str(ok["image"]))] if "image" in ok else []
    _print_facts(style, facts)
    packages = ok.get("packages", {})
    width = max((len(name) for name in packages), default=0)
    for name, version in packages.items():
        print(f"    {printable(name).ljust(width)} {printable(version)}")


def _not_built(definition: Environment | None) -> str:
    if definition is not None and definition.docker.base_image and definition.python.user_managed_dependencies:
        return "its image is used as it is; where it is not here, the first run in it, or onrecord env build, pulls it"
    return "it is not built; the first run in it, or onrecord env build, does that"


def _print_facts(style: Style, facts: list[tuple[str, str]]) -> None:
    for name, value in facts:
        print(f"  {style.dim(name.ljust(12))} {value}")


def _print_table(style: Style, table: list[list[str]]) -> None:
    lines = columns(table)
    print(style.bold("  ".join(lines[0]).rstrip()))
    for cells in lines[1:]:
        print("  ".join(cells).rstrip())
