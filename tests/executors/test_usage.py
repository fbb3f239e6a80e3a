"""What a tree uses, by whatever way the machine tells it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from onrecord.executors import gpu, records
from onrecord.executors.contract import end_of, launch_in, started_of, wait_for
from onrecord.executors.gpu import GpuMeter, GpuUsage
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Started
from onrecord.executors.usage import Meter, descendants

TREE = (
    "import os, subprocess, sys, threading, time\nheld = bytearray(30_000_000)\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    "subprocess.Popen(['sleep', '600'])\nopen('out', 'wb').write(bytes(5_000_000))\n"
    "os.fsync(os.open('out', os.O_RDONLY))\nopen('up', 'w').close()\ntime.sleep(600)\n"
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, Started]]:
    """A tree of two processes and three threads that holds 30 MB and wrote 5."""
    executor = LocalExecutor()
    launch = launch_in(tmp_path, sys.executable, "-c", TREE, grace_seconds=0.1)
    executor.start(launch)
    started = started_of(executor, launch.control)
    wait_for((launch.working_directory / "up").exists)
    yield launch.control, started
    executor.stop(launch.control)
    end_of(executor, launch.control)


@pytest.mark.parametrize("way", ["as it is", "without a control group", "through psutil"])
def test_every_way_of_looking_sees_the_same(
    running: tuple[Path, Started], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    control, started = running
    if way == "without a control group":
        monkeypatch.setattr(records, "read_group", lambda control: None)
    if way == "through psutil":
        monkeypatch.setattr(sys, "platform", "darwin")
    meter = Meter(control, started.pid)
    usage = meter.read()
    assert usage is not None
    processes = [psutil.Process(started.pid), *psutil.Process(started.pid).children()]
    assert usage.processes == len(processes) == 2
    assert set(meter.pids) == {process.pid for process in processes}
    assert usage.threads == 3
    assert 30_000_000 < usage.rss_bytes == pytest.approx(sum(p.memory_info().rss for p in processes), rel=0.2)
    assert 0 < usage.cpu_seconds < 10
    assert way == "through psutil" or (usage.written_bytes or 0) >= 5_000_000


def test_what_is_below_a_process_is_found_in_one_pass(running: tuple[Path, Started]) -> None:
    _, started = running
    below = {child.pid for child in psutil.Process(started.pid).children(recursive=True)}
    assert set(descendants(started.pid)) == {started.pid} | below


def test_a_tree_that_is_gone_is_nothing(tmp_path: Path) -> None:
    assert Meter(tmp_path, 2**22 + 1).read() is None


def test_looking_imports_no_psutil() -> None:
    import subprocess

    probe = (
        "import os, sys; from pathlib import Path; from onrecord.executors.usage import Meter\n"
        "from onrecord.executors.gpu import GpuMeter; GpuMeter()\n"
        "assert Meter(Path('/'), os.getpid()).read(); print({'psutil', 'attrs'} & set(sys.modules))"
    )
    asked = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True)
    assert asked.stdout.decode().strip() == "set()"


# ---- GPUs: the driver's library is not ours, and this machine need not have it ------------------------


class NVMLError(Exception):
    pass


def driver(**changes: Any) -> ModuleType:
    """As nvidia-ml-py answers on a machine with two GPUs, the second of which nobody uses."""
    holding = {0: [SimpleNamespace(pid=10, usedGpuMemory=3_000), SimpleNamespace(pid=99, usedGpuMemory=7_000)], 1: []}
    module: Any = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: 2
    module.nvmlDeviceGetHandleByIndex = lambda number: number
    module.nvmlDeviceGetComputeRunningProcesses = lambda handle: holding[handle]
    module.nvmlDeviceGetGraphicsRunningProcesses = lambda handle: holding[handle][:1]
    module.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=80 + handle)
    module.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(used=500)
    vars(module).update(changes)
    return module


def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: ModuleType, *given: int) -> GpuMeter:
    device = tmp_path / "nvidiactl"
    device.touch()
    monkeypatch.setattr(gpu, "DRIVER", str(device))
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return GpuMeter(given)


def test_a_gpu_is_ours_when_a_process_of_the_tree_is_on_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meter = asked(monkeypatch, tmp_path, driver())
    assert meter.is_there
    assert meter.read([10, 11]) == GpuUsage(80, 3_000)
    assert meter.read([11]) is None


def test_a_gpu_that_the_run_was_given_counts_as_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asked(monkeypatch, tmp_path, driver(), 1).read([11]) == GpuUsage(81, 500)


def test_a_driver_that_fails_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise NVMLError

    assert not asked(monkeypatch, tmp_path, driver(nvmlInit=fails)).is_there
    assert asked(monkeypatch, tmp_path, driver(nvmlDeviceGetUtilizationRates=fails)).read([10]) is None


def test_what_is_asked_of_the_driver_is_what_its_library_offers() -> None:
    library = pytest.importorskip("pynvml")
    assert all(hasattr(library, name) for name in vars(driver()) if name.lower().startswith("nvml"))


def test_a_machine_without_a_driver_imports_nothing_and_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DRIVER", "/no/such/device")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = GpuMeter((0,))
    assert not meter.is_there
    assert meter.read([10]) is None
