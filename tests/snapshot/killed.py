"""A process that is killed at a line of this package's source."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def killed_at(line: int, files: tuple[str, ...], work: Callable[[], object]) -> bool:
    """Do `work` in a process that is killed at its n-th line of some files of `snapshot/`; whether it was."""
    child = os.fork()
    if child == 0:
        left = line

        def count(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left
            if "/snapshot/" not in frame.f_code.co_filename:
                return None
            if event == "line" and frame.f_code.co_filename.endswith(files):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        code = 1
        try:
            sys.settrace(count)
            work()
            code = 0
        finally:
            sys.settrace(None)
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)
