"""The container of an environment: which image, or what it is built from, and how it is run.

Source of names and defaults: azureml-core 1.x, `azureml.core.environment.DockerSection`, `azureml.core.runconfig`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from onrecord.executors.environment_errors import BadEnvironment

if TYPE_CHECKING:
    from onrecord.workspace import Workspace

# What decides whether we find a container again, learn its end, and own its files.
_OURS = ("-d", "--detach", "--name", "--rm", "--cidfile", "--restart", "-t", "-i", "-it", "-ti", "--tty",
         "--interactive", "--pull", "--entrypoint", "--user", "-u", "--log-driver")  # fmt: skip
_SIZE = re.compile(r"[0-9]+(?:\.[0-9]+)?[bkmg]?", re.IGNORECASE)
_COPIES = re.compile(
    r"^[ \t]*(?:COPY|ADD)[ \t]+(?!.*--from=)(?!--\S+[ \t]+https?://)(?!https?://)", re.MULTILINE | re.IGNORECASE
)
_PASSWORD = "a definition is on record for ever, for everyone who can read the history"  # noqa: S105


@attrs.define
class ContainerRegistry:
    """Where images are pulled from: `address`. Log in to it once, with the engine's own `login`."""

    address: str | None = None
    username: str | None = None
    password: str | None = None


@attrs.define
class DockerBuildContext:
    """A folder that an image is built from, and the Dockerfile in it."""

    location_type: str | None = "localdirectory"
    location: str | None = None
    dockerfile_path: str = "Dockerfile"
    # Of the folder's content when the context was made, 64 hex digits; the image is known by it.
    digest: str | None = attrs.field(default=None, kw_only=True)

    @staticmethod
    def from_local_directory(
        workspace: Workspace | None, path: str | os.PathLike[str], dockerfile_path: str = "Dockerfile"
    ) -> DockerBuildContext:
        """Of a folder on this machine, as it is now. Raises BadEnvironment.

        `workspace` is accepted for Azure ML's sake: nothing is uploaded; the folder must be there when the image is
        built, with the same content.
        """
        del workspace
        return DockerBuildContext("localdirectory", os.fspath(Path(path).absolute()), dockerfile_path).checked()

    def checked(self) -> DockerBuildContext:
        """The same with its content's digest. Raises BadEnvironment."""
        from onrecord.executors.container_build import digest_of

        folder = Path(self.location or "")
        if self.location_type not in (None, "localdirectory"):
            raise _bad("a build context is a folder on this machine", f"this one is {self.location_type!r}",
                       "DockerBuildContext.from_local_directory(workspace, FOLDER)", "build_context")  # fmt: skip
        if not self.location or not folder.is_dir():
            raise _bad(f"there is no build context {self.location}", "it is no folder", "check the path",
                       "build_context")  # fmt: skip
        if not (folder / self.dockerfile_path).is_file():
            raise _bad(f"there is no {self.dockerfile_path} in {folder}", "an image is built from one",
                       "dockerfile_path='…' names another, relative to the folder", "build_context")  # fmt: skip
        return attrs.evolve(self, digest=self.digest or digest_of(folder))


@attrs.define
class DockerSection:
    """The container that the script runs in; none unless there is an image.

    `base_image`: an image by name (`python:3.12`, `localhost/mine:1`, `name@sha256:…`); `base_dockerfile`: the text of
    a Dockerfile, or the path of one; `build_context`: a folder with a Dockerfile. Setting one of the three clears the
    others. `enabled`: False runs without the container all the same, True asks for one; None decides by whether there
    is an image. `arguments`: more words for the engine's `run`; `shm_size`: of /dev/shm, as `2g`.
    """

    enabled: bool | None = attrs.field(default=None, kw_only=True)
    arguments: Sequence[str] = attrs.field(factory=list, kw_only=True)
    shm_size: str | int | None = attrs.field(default=None, kw_only=True)
    shared_volumes: bool = attrs.field(default=True, kw_only=True)
    base_image_registry: ContainerRegistry = attrs.field(factory=ContainerRegistry, kw_only=True)
    _base_image: str | None = attrs.field(default=None, alias="base_image", kw_only=True)
    _base_dockerfile: str | None = attrs.field(default=None, alias="base_dockerfile", kw_only=True)
    _build_context: DockerBuildContext | None = attrs.field(default=None, alias="build_context", kw_only=True)

    @property
    def base_image(self) -> str | None:
        """The image's name."""
        return self._base_image

    @base_image.setter
    def base_image(self, name: str | None) -> None:
        self._base_image = name
        if name is not None:
            self._base_dockerfile = self._build_context = None

    @property
    def base_dockerfile(self) -> str | None:
        """A Dockerfile: its text, or its path."""
        return self._base_dockerfile

    @base_dockerfile.setter
    def base_dockerfile(self, text: str | None) -> None:
        self._base_dockerfile = text
        if text is not None:
            self._base_image = self._build_context = None

    @property
    def build_context(self) -> DockerBuildContext | None:
        """A folder with a Dockerfile."""
        return self._build_context

    @build_context.setter
    def build_context(self, context: DockerBuildContext | None) -> None:
        self._build_context = context
        if context is not None:
            self._base_image = self._base_dockerfile = None

    @property
    def gpu_support(self) -> bool:
        """True: a run has the GPUs that its resources ask for."""
        return True

    def is_used(self) -> bool:
        """Whether a script runs in a container."""
        return bool(self.enabled) if self.enabled is not None else self._has_image()

    def _has_image(self) -> bool:
        return any(one is not None for one in (self._base_image, self._base_dockerfile, self._build_context))

    def checked(self) -> DockerSection:
        """The same with files replaced by what they say. Raises BadEnvironment."""
        if not self._has_image():
            raise _bad("docker.enabled asks for a container, and there is no image", "there is no default image here",
                       "environment.docker.base_image = 'python:3.12'", "base_image")  # fmt: skip
        _check_registry(self.base_image_registry)
        if not self.shared_volumes:
            raise _bad("shared_volumes is False", "a run's files lie in a volume that it shares with this machine",
                       "leave it True", "shared_volumes")  # fmt: skip
        return attrs.evolve(
            self,
            arguments=_checked_arguments(self.arguments),
            shm_size=_checked_size(self.shm_size),
            base_image=_checked_image(self._base_image, self.base_image_registry),
            base_dockerfile=_checked_dockerfile(self._base_dockerfile),
            build_context=self._build_context.checked() if self._build_context is not None else None,
            base_image_registry=ContainerRegistry(),
        )

    def as_document(self) -> dict[str, Any]:
        """Plain values, as the ledger keeps them; {} for a section that nobody touched."""
        document: dict[str, Any] = {
            "enabled": self.enabled,
            "base_image": self._base_image,
            "base_dockerfile": self._base_dockerfile,
            "build_context": attrs.asdict(self._build_context) if self._build_context is not None else None,
            "arguments": [str(word) for word in self.arguments],
            "shm_size": self.shm_size,
            "registry": self.base_image_registry.address,
        }
        return {name: value for name, value in document.items() if value not in (None, [], "")}


@attrs.define
class DockerConfiguration:
    """How one job uses its environment's container: `use_docker` overrides the environment's `enabled`."""

    use_docker: bool = False
    shared_volumes: bool = True
    arguments: Sequence[str] = attrs.field(factory=list)
    # Azure ML's default of 2g is what its machines have; here it is the engine's own unless it is asked for.
    shm_size: str | int | None = None

    def over(self, section: DockerSection) -> DockerSection:
        """The section with this over it."""
        return attrs.evolve(
            section,
            enabled=self.use_docker,
            arguments=[*section.arguments, *_checked_arguments(self.arguments)],
            shm_size=self.shm_size if self.shm_size is not None else section.shm_size,
            shared_volumes=self.shared_volumes and section.shared_volumes,
        )


def section_from(document: Mapping[str, Any]) -> DockerSection:
    """The section behind its document."""
    context = document.get("build_context")
    return DockerSection(
        enabled=document.get("enabled"),
        base_image=document.get("base_image"),
        base_dockerfile=document.get("base_dockerfile"),
        build_context=DockerBuildContext(**context) if context else None,
        arguments=list(document.get("arguments") or ()),
        shm_size=document.get("shm_size"),
        base_image_registry=ContainerRegistry(document.get("registry")),
    )


def needs_context(dockerfile: str) -> bool:
    """Whether a Dockerfile copies files of its build context."""
    return _COPIES.search(re.sub(r"\\\r?\n", " ", dockerfile)) is not None


def _check_registry(registry: ContainerRegistry) -> None:
    if registry.username or registry.password:
        raise _bad("a registry's user name or password is in the environment", _PASSWORD,
                   f"podman login {registry.address or 'REGISTRY'}   (or docker login), once",
                   "base_image_registry")  # fmt: skip


def _checked_image(name: str | None, registry: ContainerRegistry) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not re.fullmatch(r"[\w][\w.\-/:@]*", name):
        raise _bad(f"{name!r} is no name of an image", "it has letters, digits and . - _ / : @, and no blanks",
                   "environment.docker.base_image = 'python:3.12'", "base_image")  # fmt: skip
    address = (registry.address or "").rstrip("/")
    return f"{address}/{name}" if address and not name.startswith(f"{address}/") else name


def _checked_dockerfile(given: str | None) -> str | None:
    if given is None:
        return None
    text = str(given)
    if "\n" not in text and not re.match(r"\s*(?:FROM|ARG)\s", text, re.IGNORECASE):
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            raise _bad(f"there is no Dockerfile {given}", str(problem), "name the file, or give its text",
                       "base_dockerfile") from problem  # fmt: skip
    if not re.search(r"^\s*FROM\s", text, re.MULTILINE | re.IGNORECASE):
        raise _bad("the Dockerfile names no image to begin with", "it has no line FROM …", "FROM python:3.12",
                   "base_dockerfile")  # fmt: skip
    if needs_context(text):
        raise _bad("the Dockerfile copies files, and there is no build context that they could come from",
                   "a Dockerfile alone is kept as its text",
                   "Environment.from_docker_build_context(name, DockerBuildContext.from_local_directory(ws, FOLDER))"
                   "   (onrecord run --env FOLDER)", "base_dockerfile")  # fmt: skip
    return text


def _checked_arguments(given: Sequence[str]) -> list[str]:
    if isinstance(given, str | bytes):
        raise _bad("docker.arguments is one text", "they are passed on one by one",
                   f"arguments={given.split()!r}", "arguments")  # fmt: skip
    words = [str(word) for word in given]
    for word in words:
        if word.partition("=")[0] in _OURS:
            raise _bad(f"docker.arguments cannot hold {word}",
                       "how a container is started, named and ended is what its record depends on",
                       "take it out; what is left to choose: volumes, devices, network, capabilities, limits",
                       "arguments")  # fmt: skip
    return words


def _checked_size(given: str | int | None) -> str | int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool) and given > 0):
        return given
    if not isinstance(given, str) or not _SIZE.fullmatch(given):
        raise _bad(f"shm_size is {given!r}", "it is a number of bytes, or a text such as 2g or 512m", "shm_size='2g'",
                   "shm_size")  # fmt: skip
    return given


def _bad(what: str, why: str, next_step: str, field: str) -> BadEnvironment:
    return BadEnvironment(what, why=why, next_step=next_step, field=field)
