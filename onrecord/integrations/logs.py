"""Python's logging, into a file of the run."""

from __future__ import annotations

import logging
from pathlib import Path


class RunHandler(logging.FileHandler):
    """Writes log records to `logs/` of the script's folder, which is in the run's history while it runs.

    Made at the first record, so that a script that logs nothing has no empty file. `name`: of the file.
    """

    def __init__(self, level: int | str = logging.NOTSET, *, name: str = "log.txt") -> None:
        super().__init__(Path("logs") / name, encoding="utf-8", errors="backslashreplace", delay=True)
        self.setLevel(level)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def _open(self):  # type: ignore[no-untyped-def]  # as the base has it
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()
