"""The public names as users see them through a type checker, in the strict mode of both that are in use."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CODE = Path(__file__).with_name("user_code.py")
WRONG = """
from onrecord import Run, Workspace
run: Run = Workspace.from_config()
Run.get_context().log(1, 2)
"""


def checked(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    words = [sys.executable, "-m", *command]
    return subprocess.run(words, cwd=CODE.parents[2], env=environment, capture_output=True, text=True, check=False)


CHECKERS = {
    "mypy": ["mypy", "--strict", "--no-incremental"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_code_that_uses_onrecord_passes_and_wrong_code_does_not(tmp_path: Path, checker: str) -> None:
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    wrong_code = tmp_path / "wrong.py"
    wrong_code.write_text(WRONG)
    right = checked(*CHECKERS[checker], str(CODE))
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = checked(*CHECKERS[checker], str(wrong_code))
    assert wrong.returncode == 1
    assert wrong.stdout.count("error:") >= 2 or wrong.stdout.count(" error ") >= 2
