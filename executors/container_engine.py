"""podman or docker: which of them is here, and what it is asked about images.

Both are driven through their commands, which have the same words: no daemon's interface, no library.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from onrecord.executors.container_errors import EngineFailed, NoContainerEngine

ENGINES = ("podman", "docker")
VARIABLE = "ONRECORD_CONTAINER_ENGINE"
LABEL_RUN, LABEL_KEY = "onrecord.run", "onrecord.environment"
_CALL_SECONDS = 60.0
# What is named so was made here, and is in no registry.
_LOCAL = re.compile(r"localhost/|sha256:[0-9a-f]{12,64}$|[0-9a-f]{12,64}$")


class Engine(NamedTuple):
    """A container engine: `kind` is podman or docker, `program` its path."""

    kind: str
    program: str

    def call(self, *words: str, seconds: float | None = _CALL_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run one of its commands to the end. Raises EngineFailed where it cannot be run or hangs."""
        try:
            return subprocess.run(
                [self.program, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
                text=True, errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise EngineFailed.because(self.kind, words[0], str(problem)) from problem


class Image(NamedTuple):
    """An image that is here: `identity` is `sha256:` and 64 hex digits of its configuration, `digest` of its manifest
    as a registry names it, "" where there is none; `variables` and `size` in bytes are its own."""

    name: str
    identity: str
    digest: str
    variables: dict[str, str]
    size: int


def find_engine(wanted: str = "") -> Engine:
    """The engine that is wanted, by name or path, or whichever is on the PATH, podman first.

    Raises NoContainerEngine.
    """
    wanted = os.environ.get(VARIABLE) or wanted
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise NoContainerEngine.of(wanted, f"{wanted} is asked for, and there is no such program")
        return Engine(_kind_of(wanted, found), found)
    for name in ENGINES:
        found = shutil.which(name)
        if found is not None:
            return Engine(_kind_of(name, found), found)
    raise NoContainerEngine.of("", f"neither {' nor '.join(ENGINES)} is on the PATH")


def _kind_of(name: str, path: str) -> str:
    # Some systems have a `docker` that is podman: a script that starts it, or a link.
    real = os.path.realpath(path)
    for text in (os.path.basename(real), os.path.basename(name)):  # noqa: PTH119
        for kind in ENGINES:
            if kind in text.lower():
                return "podman" if kind == "docker" and _is_podman_inside(real) else kind
    raise NoContainerEngine.of(name, f"{path} is neither podman nor docker")


def _is_podman_inside(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            first = file.read(2048)
    except OSError:
        return False
    return first.startswith(b"#!") and b"podman" in first


def complaint(said: str) -> str:
    """What the engine says is wrong, of all that it said: its errors begin so, and hints may follow."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("Error", "docker:", "ERROR"))]
    return (errors or lines or [""])[-1][:500]


def image_named(engine: Engine, name: str) -> Image | None:
    """An image on this machine by name, digest or id; None where it is not here. About 40 ms. Raises EngineFailed."""
    asked = engine.call("image", "inspect", name)
    if asked.returncode != 0:
        said = asked.stderr.strip()
        if re.search(r"no such image|not known|image not found|no such object", said, re.IGNORECASE):
            return None
        raise EngineFailed.because(engine.kind, f"look for the image {name}", said)
    try:
        found = json.loads(asked.stdout)[0]
    except (ValueError, IndexError) as problem:
        raise EngineFailed.because(engine.kind, f"describe the image {name}", asked.stdout[:300]) from problem
    return _image(name, found)


def _image(name: str, found: dict[str, Any]) -> Image:
    identity = str(found.get("Id", ""))
    digests = [str(one).rpartition("@")[2] for one in found.get("RepoDigests") or ()]
    given = [str(one).partition("=") for one in (found.get("Config") or {}).get("Env") or ()]
    return Image(
        name,
        identity if identity.startswith("sha256:") else f"sha256:{identity}",
        str(found.get("Digest") or (digests[0] if digests else "")),
        {key: value for key, _, value in given},
        int(found.get("Size") or 0),
    )


def can_be_pulled(name: str) -> bool:
    """Whether a registry could have it."""
    return _LOCAL.match(name) is None


def is_rootless(engine: Engine) -> bool:
    """Whether the user of a container's first process is another one outside unless something is done about it."""
    if engine.kind == "podman":
        return os.geteuid() != 0
    asked = engine.call("info", "--format", "{{json .SecurityOptions}}")
    return asked.returncode == 0 and "name=rootless" in asked.stdout


def user_words(engine: Engine) -> list[str]:
    """The words by which files that the container writes belong to whoever runs this process."""
    user = f"{os.geteuid()}:{os.getegid()}"
    if engine.kind == "podman":
        return ["--user", user, *(["--userns", "keep-id"] if is_rootless(engine) else ["--userns", "host"])]
    # Under a rootless daemon its root is the user; elsewhere a daemon's own mapping of users is left out.
    return ["--user", "0:0"] if is_rootless(engine) else ["--user", user, "--userns", "host"]


def mount(source: str, destination: str, *, read_only: bool = False) -> list[str]:
    """The words that show a path of this machine inside: any path, also one with commas, colons and quotes (RFC 4180).

    >>> mount('/a,b', '/c', read_only=True)
    ['--mount', 'type=bind,"source=/a,b",destination=/c,readonly']
    """
    fields = ["type=bind", f"source={source}", f"destination={destination}", *(["readonly"] if read_only else [])]
    return ["--mount", ",".join(map(_quoted, fields))]


def _quoted(field: str) -> str:
    if not any(mark in field for mark in ',"\n'):
        return field
    doubled = field.replace('"', '""')
    return f'"{doubled}"'


def containers_of(engine: Engine, run_id: str) -> list[str]:
    """The ids of what runs for a run, or did. Raises EngineFailed."""
    asked = engine.call("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL_RUN}={run_id}")
    if asked.returncode != 0:
        raise EngineFailed.because(engine.kind, "list containers", asked.stderr.strip())
    return asked.stdout.split()


def end_containers(engine: Engine, run_id: str) -> int:
    """End and remove what runs for a run; how many there were. Raises EngineFailed."""
    found = containers_of(engine, run_id)
    for name in found:
        engine.call("kill", "--signal", "KILL", name)
        engine.call("rm", "--force", "--volumes", name)
    return len(found)


def remove_image(program: str, kind: str, identity: str) -> bool:
    """Take an image off this machine; False where something uses it, or it could not be."""
    words: Sequence[str] = ("rmi", identity)
    return Engine(kind, program).call(*words).returncode == 0
