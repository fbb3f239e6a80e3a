"""numpy, where there is enough work for it: it is never needed, only faster."""

from __future__ import annotations

import sys
from types import ModuleType

# Below this many numbers plain Python is as fast. An import of numpy (80 to 150 ms) pays from about
# this many, where the process has not imported it anyway.
_WORTH_USING = 256
_WORTH_IMPORTING = 200_000


def numpy_for(count: int) -> ModuleType | None:
    """The module for work on `count` numbers, None where plain Python should do it.

    A large piece of work that comes in small parts asks once for the whole: the parts then find the
    module imported.
    """
    if count < _WORTH_USING or ("numpy" not in sys.modules and count < _WORTH_IMPORTING):
        return None
    try:
        import numpy
    except ImportError:
        return None
    return numpy
