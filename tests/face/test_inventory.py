"""What an interpreter was found to have is asked again when anything that it looks at has changed, and only then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from face_make import project, submit

from onrecord import Environment, Run
from onrecord.inventory import PROGRAM
from onrecord.inventory_cache import InventoryCache

OLD = 1_600_000_000


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """An interpreter of its own, whose folders are old enough to be relied on."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (OLD, OLD), follow_symlinks=False)
    return folder / "bin" / "python"


def site(interpreter: Path) -> Path:
    return next(interpreter.parents[1].glob("lib/python*/site-packages"))


def installed(interpreter: Path, name: str, version: str) -> None:
    metadata = site(interpreter) / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


class Asked:
    """An interpreter's answers, through the cache."""

    def __init__(self, folder: Path, interpreter: Path, **environment: str) -> None:
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.cache = InventoryCache(folder / "cache", str(interpreter), environment, self.work)
        self.was_known = self.cache.answer() is not None
        if self.was_known:
            self.answer = str(self.cache.answer())
        else:
            asked = subprocess.run(
                [interpreter, "-c", PROGRAM], env=environment, cwd=self.work, capture_output=True, check=True
            )
            self.answer = asked.stdout.decode()
            self.cache.keep(asked.stdout)

    @property
    def packages(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.answer)["packages"]
        return found


def test_an_answer_is_known_until_a_package_comes_or_goes(tmp_path: Path, interpreter: Path) -> None:
    first = Asked(tmp_path, interpreter)
    assert not first.was_known
    again = Asked(tmp_path, interpreter)
    assert again.was_known and again.answer == first.answer
    installed(interpreter, "thing", "1.0")
    new = Asked(tmp_path, interpreter)
    assert not new.was_known and new.packages["thing"] == "1.0"
    # What was changed a moment ago may change again within the same tick: it is asked for until it has rested.
    assert not Asked(tmp_path, interpreter).was_known
    os.utime(site(interpreter), (OLD, OLD))
    assert not Asked(tmp_path, interpreter).was_known
    assert Asked(tmp_path, interpreter).was_known
    (site(interpreter) / "thing-1.0.dist-info").rename(site(interpreter) / "thing-1.1.dist-info")
    assert not Asked(tmp_path, interpreter).was_known


def test_other_variables_and_folders_are_another_question(tmp_path: Path, interpreter: Path) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    os.utime(extra, (OLD, OLD))
    Asked(tmp_path, interpreter)
    assert not Asked(tmp_path, interpreter, PYTHONPATH=str(extra)).was_known
    assert Asked(tmp_path, interpreter, PYTHONPATH=str(extra)).was_known
    assert Asked(tmp_path, interpreter, MESSAGE="hello").was_known
    (extra / "late-1.0.dist-info").mkdir()
    assert not Asked(tmp_path, interpreter, PYTHONPATH=str(extra)).was_known
    # What is relative is looked for in each run's own folder.
    for _ in range(2):
        assert not Asked(tmp_path, interpreter, PYTHONPATH="src").was_known


def test_a_source_that_has_packages_itself_is_asked_each_time(tmp_path: Path, interpreter: Path) -> None:
    Asked(tmp_path, interpreter)
    metadata = tmp_path / "work" / "mine-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 2.0\n")
    for _ in range(2):
        found = Asked(tmp_path, interpreter)
        assert not found.was_known and found.packages["mine"] == "2.0"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"key": 1}', b"\xff\xfe"])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, interpreter: Path, content: bytes) -> None:
    first = Asked(tmp_path, interpreter)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(content)
    again = Asked(tmp_path, interpreter)
    assert not again.was_known and again.answer == first.answer
    assert Asked(tmp_path, interpreter).was_known


def test_runs_have_the_same_answer_whether_it_was_asked_or_known(tmp_path: Path, interpreter: Path) -> None:
    project(tmp_path, {"project/train.py": "print(1)"})
    environment = Environment("own")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = str(interpreter)

    def answer() -> bytes:
        run: Run = submit(tmp_path / "project", environment=environment)
        run.wait_for_completion()
        return run.read_file("onrecord/environment.json")

    first = answer()
    assert list((tmp_path / "project" / ".onrecord" / "cache").glob("inventory-*.json"))
    assert answer() == first and json.loads(first)["python"]["executable"] == str(interpreter)
