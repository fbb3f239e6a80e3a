"""Environments that come with onrecord, as documents. They are read-only; `clone` makes one that can be changed.

`onrecord` in them is the very installation that submits. Where a definition changes, CURATED_VERSION rises; a
run keeps the definition that it was submitted with.
"""

from __future__ import annotations

from typing import Any

CURATED_VERSION = "1"


def _of(*pip: str) -> dict[str, Any]:
    return {"python": {"conda_dependencies": {"dependencies": [{"pip": list(pip)}]}}}


CURATED: dict[str, dict[str, Any]] = {
    "AzureML-Minimal": _of("onrecord"),
    "onrecord-scikit-learn": _of("onrecord", "scikit-learn>=1.4,<2", "pandas>=2,<4", "joblib"),
    # On Linux the usual index has PyTorch with CUDA only, 3 GB of it.
    "onrecord-pytorch-cpu": _of(
        "--extra-index-url https://download.pytorch.org/whl/cpu", "onrecord", "torch>=2.2,<3", "numpy"
    ),
    "onrecord-tensorflow-cpu": _of("onrecord", "tensorflow-cpu>=2.16,<3"),
}
