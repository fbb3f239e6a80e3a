"""A run that is kept in memory: what `Run.get_context()` gives a script that was started by hand."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.logging_calls import LoggingCalls
from onrecord.metric_memory import MemoryMetrics
from onrecord.offline_files import OfflineFiles
from onrecord.tag_names import checked_tags

if TYPE_CHECKING:
    from onrecord.metric_columns import Metrics
    from onrecord.pictures import Picture

_said: set[int] = set()


class OfflineRun(OfflineFiles, LoggingCalls):
    """Takes what a submitted run takes and gives it back, until the process ends."""

    def __init__(self) -> None:
        super().__init__()
        self.id = f"OfflineRun_{uuid.uuid4()}"
        self.experiment = None
        self.number = 0
        self.display_name = Path(sys.argv[0] or "script").name
        self._metrics = MemoryMetrics()
        self._tags: dict[str, str] = {}
        self._properties: dict[str, str] = {}
        _say_once()

    @property
    def status(self) -> str:
        """Always Running."""
        return self.get_status()

    def get_status(self) -> str:
        """Always Running."""
        return "Running"

    def has_ended(self) -> bool:
        """Always false."""
        return False

    def get_details(self) -> dict[str, Any]:
        """What there is to tell."""
        return {"runId": self.id, "status": "Running", "target": "offline", "properties": dict(self._properties)}

    def get_snapshot_id(self) -> str | None:
        """None: nothing was snapshotted."""
        return None

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged, in the forms of `Run.get_metrics`; of a picture no more than its reference."""
        found = self._metrics.in_v1_form(self.id, name)
        return {self.id: found} if recursive else found

    def metrics(self) -> Metrics:
        """What was logged as columns by metric, as `Run.metrics` gives it."""
        return self._metrics.columns()

    def _keep_points(self, points: Sequence[tuple[str, Any]], step: int | None) -> None:
        for name, value in points:
            self._metrics.keep("json", name, value, step)

    def _keep_whole(self, kind: str, name: str, value: Any, text: str) -> None:
        self._metrics.keep(kind, name, value)

    def _keep_image(self, name: str, picture: Picture) -> None:
        # Its name only: pictures would fill the memory, and nobody could look at them after the end.
        self._metrics.keep("image", name, {"file": picture.file})

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return self.get_tags()

    def get_tags(self) -> dict[str, str]:
        """Its tags."""
        return dict(self._tags)

    def tag(self, key: str, value: object = None) -> None:
        """Set one tag."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags to new values. Raises BadTag for an empty name."""
        self._tags.update(checked_tags(tags))

    def remove_tags(self, tags: list[str]) -> None:
        """Remove tags by name."""
        for name in tags:
            self._tags.pop(str(name), None)

    @property
    def properties(self) -> dict[str, str]:
        """Its properties."""
        return self.get_properties()

    def get_properties(self) -> dict[str, str]:
        """Its properties."""
        return dict(self._properties)

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Add properties; the first value of a name stays."""
        for key, value in properties.items():
            self._properties.setdefault(str(key), str(value))

    def cancel(self) -> None:
        """Nothing to cancel: the script ends when it ends."""

    def __repr__(self) -> str:
        return f"OfflineRun({self.id!r})"


def _say_once() -> None:
    if os.getpid() in _said:
        return
    _said.add(os.getpid())
    script = Path(sys.argv[0]).name or "SCRIPT"
    print(
        f"onrecord: not inside a run, metrics are kept in memory only; onrecord run {script} keeps them",
        file=sys.stderr,
    )
