"""podman with an image of its own: an empty root in which the tests' Python and the system's libraries are shown.

No registry is asked. What the image lacks comes from this machine, read-only, by the environment's `arguments`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import attrs
import pytest

from onrecord import Environment

IMAGE = "localhost/onrecord-tests-empty:1"
_FOLDERS = ("usr", "etc", "tmp", "proc", "sys", "dev", "root", "run", "opt")
_LINKS = {"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin", "sbin": "usr/sbin"}
# Machines in machines take the network, the control groups of systemd and the raised limits away.
_SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@attrs.define
class ContainerHost:
    """A podman that works. `settings`: its containers.conf."""

    program: str
    settings: Path

    def call(self, *words: str) -> str:
        """What podman prints."""
        asked = subprocess.run([self.program, *words], capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stderr
        return asked.stdout

    def containers(self, run_id: str = "") -> list[str]:
        """The ids of our containers, of one run or of all, also of those that have ended."""
        label = f"onrecord.run={run_id}" if run_id else "onrecord.run"
        return self.call("ps", "--all", "--quiet", "--filter", f"label={label}").split()


def environment(name: str = "tiny", image: str = IMAGE) -> Environment:
    """One in whose container the tests' own Python runs, without anything that is installed for it."""
    made = Environment.from_docker_image(name, image)
    made.docker.arguments = shown()
    made.python.interpreter_path = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return made


def shown() -> list[str]:
    """Words for the engine that show this machine's system and the tests' Python, read-only."""
    places = dict.fromkeys(path for path in ("/usr", "/etc/alternatives", sys.base_prefix) if Path(path).exists())
    kept = [place for place in places if place == "/usr" or not place.startswith("/usr/")]
    if "/usr" in sys.base_prefix and sys.base_prefix != "/usr":
        kept = [place for place in kept if place != sys.base_prefix]
    return [word for place in kept for word in ("--volume", f"{place}:{place}:ro")]


def started(folder: Path) -> ContainerHost:
    """Make the image, or skip where there is no podman that works and none need be."""
    needed = "podman" in os.environ.get("ONRECORD_TESTS_NEED", "")
    program = shutil.which("podman")
    if program is None:
        assert not needed, "apt-get install --no-install-recommends podman runc"
        pytest.skip("no podman (apt-get install --no-install-recommends podman runc)")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "containers.conf"
    runtime = next((name for name in ("crun", "runc") if shutil.which(name)), "")
    settings.write_text(_SETTINGS + (f'runtime = "{runtime}"\n' if runtime else ""))
    os.environ["CONTAINERS_CONF"] = str(settings)
    if os.geteuid() != 0:
        # Its images lie in the user's home, and tests have one of their own.
        os.environ.setdefault("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))
    host = ContainerHost(program, settings)
    _import_image(host, folder)
    tried = subprocess.run(
        [program, "run", "--rm", *shown(), IMAGE, "/usr/bin/true"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        assert not needed, tried.stderr
        pytest.skip(f"podman cannot run a container here: {tried.stderr.strip()[-300:]}")
    return host


def _import_image(host: ContainerHost, folder: Path) -> None:
    if subprocess.run([host.program, "image", "exists", IMAGE], check=False).returncode == 0:
        # Its name says what is in it; to import it again would flush the machine's whole disk.
        return
    archive = folder / "root.tar"
    with tarfile.open(archive, "w") as tar:
        for name in _FOLDERS:
            found = tarfile.TarInfo(name)
            found.type, found.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(found)
        for name, target in _LINKS.items():
            found = tarfile.TarInfo(name)
            found.type, found.linkname = tarfile.SYMTYPE, target
            tar.addfile(found)
    subprocess.run([host.program, "import", str(archive), IMAGE], capture_output=True, check=True)
