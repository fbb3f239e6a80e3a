"""Fixtures of tests that record what is written to a disk, or let it fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records and injects, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the recorder of writes needs Linux and a C compiler (apt-get install gcc)")
    library = tmp_path_factory.mktemp("recorder") / "disk_recorder.so"
    source = HERE / "disk_recorder.c"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of ledgers and stores come and go in it."""
    memory = Path("/dev/shm")  # only a faster place; tmp_path does as well
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="onrecord-crash-", dir=memory) as folder:
        yield Path(folder)


def may_mount() -> bool:
    """Whether this user may mount a small disk that only a test sees."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    attempt = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0
