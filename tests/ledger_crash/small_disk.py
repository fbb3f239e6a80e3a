"""A ledger's life on a small file system that fills up, for every amount of room left: FOLDER STEP."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from fault_life import Life

from onrecord.ledger import journal

PAGE = 4096


def leave_room(filler: Path, pages: int) -> None:
    """Fill the disk but for some pages."""
    disk = os.statvfs(filler.parent)
    with filler.open("wb", buffering=0) as file:
        file.write(bytes((disk.f_bavail - pages) * PAGE))
    assert os.statvfs(filler.parent).f_bavail == pages


def main() -> None:
    disk, step = Path(sys.argv[1]), int(sys.argv[2])
    assert journal.CHECKPOINT_EVERY > 1000  # the name that the ledger reads
    journal.CHECKPOINT_EVERY = 8
    pages, outcomes = 0, {"LedgerFull"}
    while "LedgerFull" in outcomes:
        folder = disk / str(pages)
        folder.mkdir()
        leave_room(disk / "filler", pages)
        life = Life(folder / "ledger.db")
        life.live()
        (disk / "filler").unlink()
        outcomes = set(life.outcomes)
        problems = [f"{one} was raised" for one in sorted(outcomes - {"ok", "LedgerFull"})]
        problems += life.problems_when_the_fault_is_gone()
        print(json.dumps({"pages": pages, "outcomes": life.outcomes, "problems": problems}))
        shutil.rmtree(folder)
        pages += step


if __name__ == "__main__":
    main()
