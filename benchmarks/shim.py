"""A disk whose flush takes a fixed time: the environment in which fsync and fdatasync sleep and do nothing else.

    with fixed_fsync(1000) as environment:
        subprocess.run([sys.executable, "-c", "..."], env=environment, check=True)

Linux only; needs a C compiler (cc or gcc). `python benchmarks/shim.py` says how long a flush takes under it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("fsync_shim.c")


def compiler() -> str | None:
    """The path of a C compiler, None where the machine has none."""
    return shutil.which("cc") or shutil.which("gcc")


@contextmanager
def fixed_fsync(microseconds: int = 1000) -> Iterator[dict[str, str]]:
    """The environment for processes whose flushes take `microseconds`; use it while the context is open.

    Raises RuntimeError where the shim cannot be built.
    """
    cc = compiler()
    if cc is None or not sys.platform.startswith("linux"):
        raise RuntimeError("the fsync shim needs Linux and a C compiler (apt-get install gcc)")
    with tempfile.TemporaryDirectory(prefix="fsync-shim-") as folder:
        library = Path(folder) / "fsync_shim.so"
        subprocess.run([cc, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        before = os.environ.get("LD_PRELOAD")
        yield {
            **os.environ,
            "LD_PRELOAD": f"{library}:{before}" if before else str(library),
            "FSYNC_MICROSECONDS": str(microseconds),
        }


_PROBE = """
import os, tempfile, time
with tempfile.TemporaryFile() as file:
    for flush in (os.fsync, os.fdatasync):
        begun = time.perf_counter()
        for _ in range(100):
            flush(file.fileno())
        print(f"{flush.__name__}: {(time.perf_counter() - begun) * 10_000:.0f} microseconds")
"""


def main() -> None:
    """Print how long a flush takes under the shim."""
    with fixed_fsync() as environment:
        subprocess.run([sys.executable, "-c", _PROBE], env=environment, check=True)


if __name__ == "__main__":
    main()
