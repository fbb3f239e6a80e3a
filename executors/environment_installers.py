"""The two ways to make a virtual environment and install into it: uv where it is there, else venv and pip."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from onrecord.executors.environment import python_of
from onrecord.executors.environment_errors import BadEnvironment, EnvironmentBuildFailed
from onrecord.executors.environment_steps import Steps

VARIABLE = "ONRECORD_INSTALLER"
_OLDEST_PIP = (22, 3)  # the first with --python
# pip's variables and uv's for the same, where uv's own is not set: one configuration serves both.
_SAME = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ("PIP_NO_INDEX", "UV_NO_INDEX"),
    ("PIP_CERT", "SSL_CERT_FILE"),
)


class Installer(Protocol):
    """Makes environments and fills them; every step raises EnvironmentBuildFailed or BuildStopped."""

    @property
    def name(self) -> str:
        """For people: which program, and its version where that is known."""

    def make(self, steps: Steps, interpreter: str, prefix: Path) -> None:
        """An empty virtual environment."""

    def install(self, steps: Steps, prefix: Path, requirements: Path, *, dependencies: bool = True) -> None:
        """What a requirements file asks for."""

    def install_lock(self, steps: Steps, prefix: Path, lock: Path) -> None:
        """Exactly what a pylock.toml lists."""


def installer() -> Installer:
    """uv, or pip where there is no uv; ONRECORD_INSTALLER=uv or pip decides. Raises BadEnvironment."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "uv", "pip"):
        raise BadEnvironment(
            f"{VARIABLE} is {wanted!r}", why="it is uv or pip", next_step=f"unset {VARIABLE}", field="installer"
        )
    uv = None if wanted == "pip" else find_uv()
    if uv is not None:
        return Uv(uv)
    if wanted == "uv":
        raise BadEnvironment(
            "there is no uv", next_step=f"pip install 'onrecord[uv]'   (or unset {VARIABLE})", field="installer"
        )
    return Pip()


def find_uv() -> str | None:
    """The uv beside the running interpreter, or on the PATH."""
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")


class Uv:
    """https://docs.astral.sh/uv/pip/"""

    name = "uv"

    def __init__(self, program: str) -> None:
        self._program = program

    def make(self, steps: Steps, interpreter: str, prefix: Path) -> None:
        """Relocatable, so that the workspace may be moved."""
        self._run(
            steps,
            ["venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", interpreter, str(prefix)],
            f"no virtual environment can be made from {interpreter}",
        )

    def install(self, steps: Steps, prefix: Path, requirements: Path, *, dependencies: bool = True) -> None:
        """With the options that uv takes on its command line only."""
        more = [] if dependencies else ["--no-deps"]
        for line in requirements.read_text(encoding="utf-8").splitlines():
            words = line.replace("=", " ", 1).split()
            if words[:1] == ["--pre"]:
                more += ["--prerelease", "allow"]
            elif words[:1] == ["--trusted-host"]:
                more += ["--allow-insecure-host", *words[1:2]]
        self._install(steps, prefix, ["-r", str(requirements), *more])

    def install_lock(self, steps: Steps, prefix: Path, lock: Path) -> None:
        """uv reads the format itself."""
        self._install(steps, prefix, ["-r", str(lock), "--preview-features", "pylock"])

    def _install(self, steps: Steps, prefix: Path, words: list[str]) -> None:
        # conda's Python is no virtual environment, which uv would rather not touch.
        own = [] if (prefix / "pyvenv.cfg").exists() else ["--break-system-packages"]
        self._run(
            steps,
            ["pip", "install", "--no-progress", "--python", str(python_of(prefix)), *own, *words],
            "its packages cannot be installed",
        )

    def _run(self, steps: Steps, words: list[str], what: str) -> None:
        given = os.environ
        variables = {uv: given[pip] for pip, uv in _SAME if pip in given and uv not in given}
        variables["UV_NO_COLOR"] = variables["NO_COLOR"] = "1"
        steps.run([self._program, *words], what, variables=variables)


class Pip:
    """venv of the interpreter, and the running interpreter's pip, or one that ensurepip puts into the environment."""

    name = "pip"

    def make(self, steps: Steps, interpreter: str, prefix: Path) -> None:
        """Without a pip of its own, which would take most of the time."""
        steps.run(
            [interpreter, "-I", "-m", "venv", "--without-pip", str(prefix)],
            f"no virtual environment can be made from {interpreter}",
        )

    def install(self, steps: Steps, prefix: Path, requirements: Path, *, dependencies: bool = True) -> None:
        """As `pip install -r`."""
        more = [] if dependencies else ["--no-deps"]
        command = self._program(steps, prefix)
        quiet = ["--disable-pip-version-check", "--no-input", "--no-warn-script-location", "--progress-bar", "off"]
        steps.run([*command, "install", *quiet, *more, "-r", str(requirements)], "its packages cannot be installed")

    def install_lock(self, steps: Steps, prefix: Path, lock: Path) -> None:
        """As requirements with hashes, for most of today's pips do not read the format."""
        from onrecord.executors.environment_lockfile import as_requirements

        wanted = lock.with_suffix(".txt")
        wanted.write_text("".join(f"{line}\n" for line in as_requirements(lock.read_text("utf-8"))), encoding="utf-8")
        self.install(steps, prefix, wanted, dependencies=False)

    def _program(self, steps: Steps, prefix: Path) -> list[str]:
        if _has_fitting_pip():
            return [sys.executable, "-I", "-m", "pip", "--python", str(python_of(prefix))]
        python = str(python_of(prefix))
        if not any(prefix.glob("lib/python3*/site-packages/pip/__main__.py")):
            try:
                steps.run([python, "-I", "-m", "ensurepip"], "there is no pip, and ensurepip cannot provide one")
            except EnvironmentBuildFailed as problem:
                problem.next_step = "pip install 'onrecord[uv]'   (on Debian also: apt-get install python3-venv)"
                raise
        return [python, "-I", "-m", "pip"]


def _has_fitting_pip() -> bool:
    if find_spec("pip") is None:
        return False
    import pip

    return tuple(int(part) for part in pip.__version__.split(".")[:2] if part.isdigit()) >= _OLDEST_PIP
