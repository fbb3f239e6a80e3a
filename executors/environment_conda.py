"""Install conda packages into a folder: solved and linked by py-rattler, without conda. A program of its own.

    python -c '… run([SPECIFICATION, PREFIX])'

The specification is JSON with `channels` and `packages`. What is solved is printed, one package a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

MISSING = (
    "conda packages need py-rattler, which is not installed\n"
    "next: pip install 'onrecord[conda]'   (conda itself is not needed)"
)


def main(arguments: Sequence[str]) -> int:
    """Solve and install; the exit code."""
    specification, prefix = arguments
    wanted = json.loads(Path(specification).read_text(encoding="utf-8"))
    try:
        asyncio.run(_install(wanted["channels"], wanted["packages"], prefix))
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 1
    except Exception as problem:
        # Of its many kinds of errors each says in its text what it could not have.
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


async def _install(channels: list[str], packages: list[str], prefix: str) -> None:
    from rattler import Channel, MatchSpec, VirtualPackage, install, solve

    sources = [Channel(channel) for channel in channels]
    specifications = [MatchSpec(package) for package in packages]
    records = await solve(sources, specifications, virtual_packages=VirtualPackage.detect())
    for record in sorted(records, key=lambda one: one.name.normalized):
        print(f"{record.name.normalized}={record.version}={record.build}", flush=True)
    await install(records, prefix, show_progress=False)


def run(arguments: Sequence[str]) -> None:
    """`main`, then the end of the process: py-rattler's threads can crash an interpreter that takes its leave."""
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
