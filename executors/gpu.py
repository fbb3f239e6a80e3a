"""What a tree of processes uses of NVIDIA GPUs: through nvidia-ml-py (the extra `gpu`) where that is installed.

Nothing is imported on a machine without the driver's device file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

DRIVER = "/dev/nvidiactl"


class GpuUsage(NamedTuple):
    """Use of the GPUs that a tree is on: `percent` of the time in which any of them computed, their mean, by whomever;
    `memory_bytes` that the tree holds on them."""

    percent: int
    memory_bytes: int


class GpuMeter:
    """Looks at the GPUs of this machine. `given`: numbers of those that the run was given, () for any."""

    def __init__(self, given: Iterable[int] = ()) -> None:
        self._given = frozenset(given)
        self._library: Any = None
        self._handles: list[tuple[int, Any]] = []
        if os.path.exists(DRIVER):  # noqa: PTH110
            self._open()

    @property
    def is_there(self) -> bool:
        """Whether there is any GPU that can be asked."""
        return bool(self._handles)

    def read(self, pids: Iterable[int]) -> GpuUsage | None:
        """The GPUs on which one of these processes is; of a run that was given some also those, as they stand.

        None where there is none. In a container the driver names processes by their numbers outside, so that only
        GPUs that were given are found.
        """
        ours, used = frozenset(pids), list[tuple[int, int]]()
        for number, handle in self._handles:
            try:
                held = self._memory_of(handle, ours)
                if held is None and number in self._given:
                    held = int(self._library.nvmlDeviceGetMemoryInfo(handle).used)
                if held is not None:
                    used.append((int(self._library.nvmlDeviceGetUtilizationRates(handle).gpu), held))
            except self._library.NVMLError:
                # A GPU that fell off the bus, or one that does not tell.
                continue
        if not used:
            return None
        return GpuUsage(round(sum(percent for percent, _ in used) / len(used)), sum(held for _, held in used))

    def _open(self) -> None:
        try:
            import pynvml
        except ImportError:
            return
        self._library = pynvml
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [(number, pynvml.nvmlDeviceGetHandleByIndex(number)) for number in range(count)]
        except pynvml.NVMLError:
            # A driver without its library, or of another version.
            self._handles = []

    def _memory_of(self, handle: Any, pids: frozenset[int]) -> int | None:
        """What these processes hold on one GPU; None when none of them is on it."""
        library = self._library
        asked = (library.nvmlDeviceGetComputeRunningProcesses, library.nvmlDeviceGetGraphicsRunningProcesses)
        # A process that computes and draws is in both lists with the same memory.
        found = {one.pid: one.usedGpuMemory or 0 for ask in asked for one in ask(handle) if one.pid in pids}
        return sum(found.values()) if found else None
