"""The run of a script that was started by hand: nothing at all until the script records something."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError
from onrecord.run import Run
from onrecord.run_ids import checked_new_id
from onrecord.spool import NO_STEP, SpoolWriter

if TYPE_CHECKING:
    from onrecord.experiment import Experiment


class OfflineRun(Run):
    """A whole Run, begun at the first thing that is recorded in it.

    Where it is kept is decided then, see `offline_place`: in the workspace that the current folder is in, or, without
    one, until the process ends.
    """

    def __init__(self) -> None:
        # No `workspace`: the first look at it is what begins the run.
        self.id = checked_new_id()
        self.snapshot = None
        self._beginning = threading.RLock()
        self._pid = os.getpid()

    def __getattr__(self, name: str) -> Any:
        if name != "workspace":
            raise AttributeError(f"'Run' object has no attribute {name!r}")
        with self._beginning:
            if "workspace" not in self.__dict__:
                self._begin()
        return self.__dict__["workspace"]

    @property
    def has_begun(self) -> bool:
        """Whether something was recorded in it."""
        return "workspace" in self.__dict__

    @property
    def experiment(self) -> Experiment:
        """The experiment that it belongs to, or will."""
        if self.has_begun:
            return super().experiment
        from onrecord.experiment import Experiment
        from onrecord.offline_place import experiment_of, place_of

        return Experiment(place_of().workspace, experiment_of())

    def get_status(self) -> str:
        """Running, until it has ended."""
        return super().get_status() if self.has_begun else "Running"

    def has_ended(self) -> bool:
        """Whether it is Completed, Failed or Canceled."""
        return super().has_ended() if self.has_begun else False

    def complete(self, _set_status: bool = True) -> None:
        """End it as Completed; nothing where nothing was recorded."""
        if self.has_begun:
            super().complete(_set_status)

    def fail(
        self,
        error_details: str | BaseException | None = None,
        error_code: str | None = None,
        _set_status: bool = True,
    ) -> None:
        """End it as Failed, which is worth recording."""
        self._row()
        super().fail(error_details, error_code, _set_status)

    def cancel(self, *, children: bool = False) -> None:
        """End it as Canceled; nothing where nothing was recorded."""
        if self.has_begun:
            super().cancel(children=children)

    def _open_spool(self) -> SpoolWriter:
        try:
            return super()._open_spool()
        except (OnRecordError, OSError) as problem:
            # Nowhere to write at all: no reason not to train.
            print(f"onrecord: nothing that this script logs is kept: {problem}", file=sys.stderr)
            self._spool = spool = _Nowhere()
            self._write_point = spool.write
            return spool

    def _begin(self) -> None:
        from onrecord.offline_place import begin_offline

        begin_offline(self)

    def __repr__(self) -> str:
        return super().__repr__() if self.has_begun else f"OfflineRun({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class _Nowhere(SpoolWriter):
    """Takes what is logged, and keeps nothing of it."""

    def __init__(self) -> None:
        self._fd = -1

    def write(self, name: str, value: object, step: int = NO_STEP) -> None:
        """Nothing."""

    def write_json(self, kind: str, name: str, text: str, step: int = NO_STEP) -> None:
        """Nothing."""

    def write_many(self, points: Iterable[tuple[str, object]], step: int = NO_STEP) -> None:
        """Nothing."""

    def lose(self, problem: OSError) -> None:
        """Nothing: it was said already."""


def after_fork(run: OfflineRun) -> None:
    """In a fork of the process that asked for it: what was not begun there is a run of its own here."""
    run._beginning = threading.RLock()
    if not run.has_begun:
        run.id = checked_new_id()
