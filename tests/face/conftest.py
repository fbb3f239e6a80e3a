"""Fixtures of the tests of the face."""

from __future__ import annotations

import sys
from pathlib import Path

# face_make.py is also used by the tests of the command, under this one name.
sys.path.insert(0, str(Path(__file__).parent))
# Wheels and channels are made there.
sys.path.append(str(Path(__file__).parents[1] / "executors"))
sys.path.append(str(Path(__file__).parents[1] / "hosts"))

from face_make import clean_surroundings as clean_surroundings
from face_make import no_open_run as no_open_run
