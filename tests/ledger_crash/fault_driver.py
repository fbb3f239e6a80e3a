"""A ledger's life with one fault in it, for every n: FOLDER ERRNO TIMES FIRST STEP.

Runs under disk_recorder.c. The n-th write, truncation or flush fails with ERRNO, and TIMES - 1 more after it.
One JSON line for each n: what the fault hit, what the calls said, and what is wrong with that.
"""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from fault_life import Life

from onrecord.ledger import journal

_disk = ctypes.CDLL(None)
_disk.disk_failed.restype = ctypes.c_char_p


def fail(at: int, error: int, times: int) -> None:
    """The fault to come; `at` 0 for none."""
    _disk.disk_fail(ctypes.c_long(at), error, ctypes.c_long(times), 0)


def allowed(error: int, hit: str) -> set[str]:
    """The answers that fit the fault."""
    if error == errno.ENOSPC:
        # A truncation or a flush that finds no room is no full disk to SQLite, and a flush leaves it open
        # whether the data is safe.
        return {"ok", "LedgerFull"} if hit.startswith("write") else {"ok", "LedgerFull", "LedgerDamaged"}
    if hit == "write index":
        # SQLite does not say why the index could not be made longer; a full disk is by far the likeliest.
        return {"ok", "LedgerFull", "LedgerDamaged"}
    return {"ok", "LedgerDamaged"}


def one(folder: Path, at: int, error: int, times: int) -> dict[str, Any]:
    """A life with a fault at operation `at`."""
    folder.mkdir()
    life = Life(folder / "ledger.db")
    fail(at, error, times)
    life.live()
    hit = _disk.disk_failed().decode()
    fail(0, 0, 0)
    problems = [f"{one} was raised" for one in sorted(set(life.outcomes) - allowed(error, hit))]
    problems += life.problems_when_the_fault_is_gone()
    shutil.rmtree(folder)
    return {"at": at, "hit": hit, "outcomes": life.outcomes, "problems": problems}


def main() -> None:
    folder, (error, times, at, step) = Path(sys.argv[1]), map(int, sys.argv[2:])
    assert journal.CHECKPOINT_EVERY > 1000  # the name that the ledger reads
    journal.CHECKPOINT_EVERY = 8
    while True:
        result = one(folder / str(at), at, error, times)
        print(json.dumps(result))
        if not result["hit"]:
            return
        at += step


if __name__ == "__main__":
    main()
