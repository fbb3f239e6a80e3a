"""Fixtures of the ledger's crash tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "disk"))
sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))
sys.path.insert(0, str(Path(__file__).parent))

from recording import quick_folder as quick_folder
from recording import recorder as recorder
