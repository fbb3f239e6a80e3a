"""Fixtures of the tests of the command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "face"))
sys.path.append(str(Path(__file__).parents[1] / "executors"))

from face_make import clean_surroundings as clean_surroundings
from face_make import no_open_run as no_open_run
from face_make import onrecord, project

from onrecord.cli.main import run

TRAIN = """
import pathlib, sys
import onrecord
run = onrecord.Run.get_context()
for step in range(3):
    run.log("loss", 1.0 / (step + 1), step=step)
run.log("grade", "good")
pathlib.Path("outputs/models").mkdir(parents=True)
pathlib.Path("outputs/models/best.bin").write_bytes(bytes(range(256)))
print("arguments", sys.argv[1:])
print("a warning", file=sys.stderr)
"""


@attrs.frozen
class Said:
    """How the command ended and what it wrote."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def command(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """The command in this process: quick, for whatever needs no process of its own."""

    def call(*words: str, cwd: Path) -> Said:
        monkeypatch.chdir(cwd)
        capsysbinary.readouterr()
        code = run(list(words))
        said = capsysbinary.readouterr()
        return Said(code, said.out, said.err.decode())

    return call


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two runs, which tests only read: one completed, and the newest one failed."""
    folder = project(tmp_path_factory.mktemp("history"), {"train.py": TRAIN, "fail.py": "raise SystemExit(3)\n"})
    good = onrecord(
        *("run", "-e", "ridge", "-n", "first", "-t", "team=a", "-t", "draft", "train.py", "--alpha", "0.03"), cwd=folder
    )
    assert good.returncode == 0, good.stderr
    bad = onrecord("run", "-e", "other", "fail.py", cwd=folder)
    assert bad.returncode == 3, bad.stderr
    return folder
