"""How a script in a container ended, told by what stood in for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onrecord.container_launch import END, PLAN
from onrecord.errors import OnRecordError
from onrecord.executors.protocol import Ended
from onrecord.inventory import ANSWER
from onrecord.layout import RunFolder
from onrecord.ledger.events import PropertiesAdded

PROPERTIES = "onrecord.container."


def told_by_container(ended: Ended, folder: RunFolder) -> Ended:
    """The end with what is known of the container's: that it never started, that its memory ran out."""
    known = _read(folder.records / END)
    if ended.reason == "exited" and not known:
        # No report: the script itself did not end, its container was removed.
        message = f"{ended.message}: not the script, but what stands in for its container outside, which ended with it"
        return ended._replace(message=message)
    if known.get("not_started") and ended.reason == "exited":
        return ended._replace(reason="not_started", exit_code=None, signal=None, message=str(known["not_started"]))
    survivors = ended.survivors_killed + int(known.get("survivors") or 0)
    if known.get("oom"):
        limit = int(_read(folder.records / PLAN).get("memory") or 0)
        of = f" (its limit is {limit / 1e6:.0f} MB)" if limit else ""
        # What the supervisor takes for likely, the container knows.
        known_end = ended.message.split(":")[0].split(",")[0].split(";")[0]
        message = f"{known_end}: out of memory, the kernel ended a process of its container{of}"
        ended = ended._replace(message=message)
    return ended._replace(survivors_killed=survivors)


def image_of(folder: RunFolder) -> list[PropertiesAdded]:
    """What the ledger keeps of the image that the script runs in."""
    known = _read(folder.records / ANSWER).get("container") or {}
    facts = {f"{PROPERTIES}{name}": str(value) for name, value in known.items() if value}
    return [PropertiesAdded(properties=facts)] if facts else []


def end_strays(run_id: str, engine_name: str = "") -> None:
    """End what still runs in containers of a run whose folder is gone, as far as an engine is here to do so."""
    from onrecord.executors.container_engine import end_containers, find_engine

    try:
        end_containers(find_engine(engine_name), run_id)
    except OnRecordError:
        return


def _read(path: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
