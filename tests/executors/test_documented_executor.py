"""The executor that the documentation shows works as it stands there, and the contract knows what it cannot do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onrecord.executors.contract import ExecutorContract, needs
from onrecord.executors.protocol import Capabilities, Executor, capabilities_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "executors.md"


def documented() -> Any:
    """The class in the documentation's longest block of code, from a module of that text."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    module = ModuleType("my_package")
    exec(max(blocks, key=len), module.__dict__)  # noqa: S102 - our own documentation
    return vars(module)["PlainExecutor"]


class TestPlainExecutor(ExecutorContract):
    def make_executor(self) -> Executor:
        made: Executor = documented()()
        return made


def test_an_executor_that_says_nothing_is_held_to_everything() -> None:
    assert all(capabilities_of(object()))
    assert capabilities_of(documented()()) == Capabilities(stop=False, resources=False, adopt=False)


def test_a_capability_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no capability is called stopp"):
        needs("stopp")


def test_the_contract_is_no_burden_for_who_runs_nothing_but_runs() -> None:
    assert "pytest" in sys.modules
    import subprocess

    probe = (
        "import sys, onrecord, onrecord.executors.registry, onrecord.executors.local; print('pytest' in sys.modules)"
    )
    asked = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True)
    assert asked.stdout.decode().strip() == "False"
