"""What a run takes of its target while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.compute_target import ComputeTarget, bytes_of
from onrecord.errors import OnRecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class BadResources(OnRecordError):
    """A run asks for what it cannot have. Attributes: `field`, `value`."""


class Resources(NamedTuple):
    """`cores` (None: one for each of the run's processes), `memory` in bytes or as `8 GB`, a number of `gpus`.

    Counted against the limits of the target, so that what does not fit waits; not enforced on the script.
    """

    cores: float | None = None
    memory: int | str = 0
    gpus: int = 0

    def as_document(self) -> dict[str, Any]:
        """Plain values, as the ledger keeps them. Raises BadResources."""
        cores, gpus = self.cores, self.gpus
        if cores is not None and (isinstance(cores, bool) or not isinstance(cores, int | float) or not cores > 0):
            raise _bad("cores", cores, "it is a number above 0", "Resources(cores=2)")
        if type(gpus) is not int or gpus < 0:
            raise _bad("gpus", gpus, "it is a whole number from 0", "Resources(gpus=1)")
        try:
            memory = bytes_of(self.memory)
        except ValueError as problem:
            raise _bad("memory", self.memory, str(problem), 'Resources(memory="8 GB")') from None
        return {"cores": cores, "memory": memory, "gpus": gpus}


def resources_of(config: Mapping[str, Any]) -> Resources:
    """What the run of a recorded configuration takes, every number known."""
    known = config.get("resources") or {}
    processes = (config.get("distribution") or {}).get("process_count", 1)
    return Resources(known.get("cores") or processes, known.get("memory", 0), known.get("gpus", 0))


class Room:
    """What is left of a target beside the runs that are on it."""

    def __init__(self, target: ComputeTarget, running: Iterable[tuple[Resources, tuple[int, ...]]]) -> None:
        """`running`: what each run takes, and the numbers of its GPUs."""
        self.target = target
        self.count = 0
        self._cores: float = 0
        self._memory = 0
        self._free_gpus = list(target.gpus or ())
        for taken, gpus in running:
            self.take(taken, gpus)

    def take(self, taken: Resources, gpus: Iterable[int]) -> None:
        """One run more."""
        self.count += 1
        self._cores += taken.cores or 1
        self._memory += int(taken.memory)
        self._free_gpus = [number for number in self._free_gpus if number not in set(gpus)]

    def lacks(self, wanted: Resources) -> str:
        """What a run would have to wait for; empty when it fits."""
        target = self.target
        if target.max_concurrent is not None and self.count >= target.max_concurrent:
            return f"{self.count} of {target.max_concurrent} runs at once"
        if target.cores is not None and self._cores + (wanted.cores or 1) > target.cores:
            return f"{self._cores:g} of {target.cores:g} cores taken"
        if target.memory is not None and self._memory + int(wanted.memory) > target.memory:
            return f"{self._memory / 1e9:.1f} of {target.memory / 1e9:.1f} GB of memory taken"
        if target.gpus is not None and wanted.gpus > len(self._free_gpus):
            return f"{len(target.gpus) - len(self._free_gpus)} of {len(target.gpus)} GPUs taken"
        return ""

    def gpus_for(self, wanted: Resources) -> tuple[int, ...]:
        """The numbers of the GPUs that a run gets; none where the target does not count them."""
        return tuple(self._free_gpus[: wanted.gpus])


def refuse_what_never_fits(target: ComputeTarget, config: Mapping[str, Any]) -> None:
    """Raise BadResources for a run that asks for more than its target has."""
    wanted = resources_of(config)
    lacking = Room(target._replace(max_concurrent=None), ()).lacks(wanted)
    if lacking:
        gpus = "any number of" if target.gpus is None else len(target.gpus)
        raise BadResources(
            f"the run asks for more than the target {target.name} has",
            why=f"it asks for {wanted.cores:g} cores, {int(wanted.memory) / 1e9:.1f} GB and {wanted.gpus} GPUs; "
            f"there are {_of(target.cores)} cores, {_of(target.memory and target.memory / 1e9)} GB, {gpus} GPUs",
            next_step="ask for less, or raise the limits in config.toml (onrecord targets shows them)",
            field="resources",
            value=wanted,
        )


def _of(limit: float | None) -> str:
    return "any number of" if limit is None else f"{limit:g}"


def _bad(field: str, value: object, why: str, line: str) -> BadResources:
    return BadResources(f"{field} is {value!r}", why=why, next_step=line, field=field, value=value)
