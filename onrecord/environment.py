"""What a script runs in: the interpreter, what is installed for it, and the environment variables."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from onrecord.conda_dependencies import CondaDependencies

if TYPE_CHECKING:
    from onrecord.built_environment import BuiltEnvironment
    from onrecord.container_section import ContainerRegistry, DockerBuildContext, DockerSection
    from onrecord.spark_section import SparkSection
    from onrecord.workspace import Workspace


@attrs.define
class PythonSection:
    """The Python of an environment.

    `user_managed_dependencies`: nothing is installed, the interpreter is used as it is.
    `interpreter_path`: a path, or a name looked up on the PATH; None is the interpreter that submits. Where
    something is to be installed, a new environment is made from it.
    `conda_dependencies`: what is to be installed; nothing at first, and then the interpreter is used as it is.
    `pylock`: the text of a pylock.toml (PEP 751) instead.
    """

    user_managed_dependencies: bool = False
    interpreter_path: str | None = None
    conda_dependencies: CondaDependencies = attrs.field(factory=CondaDependencies, kw_only=True)
    pylock: str | None = attrs.field(default=None, kw_only=True)


def _document_of(section: DockerSection | SparkSection | None) -> dict[str, Any]:
    """{} of a section that nobody touched."""
    return {} if section is None else section.as_document()


def _known_compat(instance: object, field: attrs.Attribute[str | None], value: object) -> None:
    if value not in (None, "azureml"):
        from onrecord.executors.environment_errors import BadEnvironment

        raise BadEnvironment(
            f"compat is {value!r}", why="it is 'azureml', or None", next_step="compat='azureml'", field="compat"
        )


@attrs.define
class Environment:
    """A named description of what a script runs in.

    >>> environment = Environment("user-managed-env")
    >>> environment.python.user_managed_dependencies = True
    >>> environment.environment_variables["OMP_NUM_THREADS"] = "1"

    One that has dependencies is built when it is first used, and found again by its content afterwards.

    >>> environment = Environment("ridge")
    >>> environment.python.conda_dependencies.add_pip_package("scikit-learn==1.6.1")

    One with an image runs the script in a container of it.

    >>> environment = Environment("pytorch")
    >>> environment.docker.base_image = "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime"
    """

    name: str
    python: PythonSection = attrs.field(factory=PythonSection, kw_only=True)
    # None until somebody looks at one: their classes would cost every submit 6 ms.
    _docker: DockerSection | None = attrs.field(default=None, alias="docker", kw_only=True, eq=_document_of)
    _spark: SparkSection | None = attrs.field(default=None, alias="spark", kw_only=True, eq=_document_of)
    environment_variables: dict[str, str] = attrs.field(factory=dict, kw_only=True)
    # `azureml`: the script finds Azure ML's modules, see `onrecord.azureml`.
    compat: str | None = attrs.field(default=None, kw_only=True, validator=_known_compat)
    # Given by `register` and `get`; the same definition is the same environment, whatever its version is called.
    version: str | None = attrs.field(default=None, kw_only=True, eq=False)

    @property
    def docker(self) -> DockerSection:
        """The container that the script runs in, where it has an image."""
        if self._docker is None:
            from onrecord.container_section import DockerSection

            self._docker = DockerSection()
        return self._docker

    @docker.setter
    def docker(self, section: DockerSection) -> None:
        self._docker = section

    @property
    def spark(self) -> SparkSection:
        """What a job for Spark has beside its script."""
        if self._spark is None:
            from onrecord.spark_section import SparkSection

            self._spark = SparkSection()
        return self._spark

    @spark.setter
    def spark(self, section: SparkSection) -> None:
        self._spark = section

    # ---- from what projects have ---------------------------------------------------------------

    @staticmethod
    def from_pip_requirements(
        name: str, file_path: str | os.PathLike[str], pip_version: str | None = None
    ) -> Environment:
        """Of a requirements file and those that it includes. Raises BadEnvironment."""
        from onrecord.environment_files import from_requirements

        made = _with(name, from_requirements(Path(file_path)))
        if pip_version is not None:
            made.python.conda_dependencies.add_conda_package(f"pip=={pip_version}")
        return made

    @staticmethod
    def from_conda_specification(name: str, file_path: str | os.PathLike[str]) -> Environment:
        """Of a conda environment file; conda is not needed. Raises BadEnvironment."""
        from onrecord.environment_files import resolved

        return _with(name, resolved(CondaDependencies(file_path), Path(file_path).parent))

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment:
        """The same packages in the same versions as an environment of conda on this machine. Raises BadEnvironment."""
        from onrecord.conda_environment import dependencies_of

        return _with(name, dependencies_of(conda_environment_name))

    @staticmethod
    def from_pyproject(name: str, file_path: str | os.PathLike[str], extras: Sequence[str] = ()) -> Environment:
        """Of the dependencies in a pyproject.toml, with those of some extras. Raises BadEnvironment."""
        from onrecord.environment_files import from_pyproject

        return _with(name, from_pyproject(Path(file_path), extras))

    @staticmethod
    def from_pylock(name: str, file_path: str | os.PathLike[str]) -> Environment:
        """Exactly what a pylock.toml lists (PEP 751). Raises BadEnvironment."""
        from onrecord.environment_files import lock_text

        return Environment(name, python=PythonSection(pylock=lock_text(Path(file_path))))

    @staticmethod
    def from_script(name: str, file_path: str | os.PathLike[str]) -> Environment:
        """Of what a script says in its header, `# /// script` (PEP 723). Raises BadEnvironment."""
        from onrecord.environment_files import from_script

        return _with(name, from_script(Path(file_path)))

    # ---- from images ---------------------------------------------------------------------------

    @staticmethod
    def from_docker_image(
        name: str,
        image: str,
        container_registry: ContainerRegistry | None = None,
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> Environment:
        """Of an image as it is, or with packages installed over it. Raises BadEnvironment."""
        from onrecord.environment_files import installed_over

        made = installed_over(Environment(name), conda_specification, pip_requirements)
        made.docker.base_image = image
        if container_registry is not None:
            made.docker.base_image_registry = container_registry
        return made

    @staticmethod
    def from_dockerfile(
        name: str,
        dockerfile: str | os.PathLike[str],
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> Environment:
        """Of a Dockerfile, its path or its text, that copies nothing. Raises BadEnvironment."""
        from onrecord.environment_files import installed_over

        made = installed_over(Environment(name), conda_specification, pip_requirements)
        made.docker.base_dockerfile = os.fspath(dockerfile)
        made.docker = made.docker.checked()
        return made

    @staticmethod
    def from_docker_build_context(name: str, docker_build_context: DockerBuildContext) -> Environment:
        """Of a folder with a Dockerfile and what it copies. Raises BadEnvironment."""
        made = Environment(name)
        made.python.user_managed_dependencies = True
        made.docker.build_context = docker_build_context.checked()
        return made

    # ---- registered ones -----------------------------------------------------------------------

    def register(self, workspace: Workspace) -> Environment:
        """Keep the definition in the workspace; the same one with its version.

        What is registered already is the same version, anything else the next one: 1, 2, 3 … It is kept for
        ever: keep passwords out of it. Raises BadEnvironmentName, BadEnvironment.
        """
        from onrecord.environments import register

        return register(workspace, self)

    @staticmethod
    def get(workspace: Workspace, name: str, version: str | int | None = None, label: str | None = None) -> Environment:
        """A registered or curated environment: its newest version, or the one that is asked for.

        The only `label` is `latest`. Raises UnknownEnvironment.
        """
        from onrecord.environments import find

        return find(workspace, name, version, label)

    @staticmethod
    def list(workspace: Workspace) -> dict[str, Environment]:
        """The newest version of each registered environment, and the curated ones, by name."""
        from onrecord.environments import newest

        return newest(workspace)

    @staticmethod
    def versions(workspace: Workspace, name: str) -> Sequence[Environment]:
        """Every version of an environment, oldest first. Raises UnknownEnvironment."""
        from onrecord.environments import versions

        return versions(workspace, name)

    def clone(self, new_name: str) -> Environment:
        """The same definition under another name, to be changed."""
        return attrs.evolve(copy.deepcopy(self), name=new_name, version=None)

    # ---- files ---------------------------------------------------------------------------------

    def save_to_directory(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the definition into a folder: azureml_environment.json, and conda_dependencies.yml where it has any.

        Raises BadEnvironment where they are there already, unless `overwrite`.
        """
        from onrecord.environment_folder import save

        save(self, Path(path), overwrite=overwrite)

    @staticmethod
    def load_from_directory(path: str | os.PathLike[str]) -> Environment:
        """The definition in such a folder, also one that Azure ML wrote. Raises BadEnvironment."""
        from onrecord.environment_folder import load

        return load(Path(path))

    # ---- the environment itself ----------------------------------------------------------------

    def build(self, workspace: Workspace, image_build_compute: object = None) -> BuiltEnvironment:
        """Make it now, or find that it is there. Progress is printed on stderr.

        `image_build_compute` is accepted for Azure ML's sake: it is built here. Raises BadEnvironment,
        EnvironmentBuildFailed with the end of the log.
        """
        from onrecord.built_environment import build

        del image_build_compute
        return build(workspace, self)

    def build_local(self, workspace: Workspace, platform: object = None, **options: object) -> BuiltEnvironment:
        """The same as `build`."""
        del platform, options
        return self.build(workspace)

    def uses_container(self) -> bool:
        """Whether the script runs in a container."""
        return self._docker is not None and self._docker.is_used()

    def needs_build(self) -> bool:
        """Whether there is anything to install, or an image to be found."""
        python = self.python
        if self.uses_container():
            return True
        if python.user_managed_dependencies:
            return False
        return python.pylock is not None or not python.conda_dependencies.is_empty()

    def interpreter(self) -> str:
        """The interpreter to start: a path, or a name to look up on the PATH.

        Of an environment that is built: the one to build it from, "" where conda brings one along.
        Of a container: a name or path in its image, "" for whichever Python it has.
        Raises BadEnvironment where there is none of the version that is asked for.
        """
        if self.uses_container():
            return self.python.interpreter_path or ""
        if not self.needs_build():
            return self.python.interpreter_path or sys.executable
        from onrecord.environment_recipe import needs_conda
        from onrecord.interpreters import interpreter_for

        wanted = self.python.conda_dependencies
        if needs_conda(wanted.as_dict()):
            return ""
        return interpreter_for(wanted.get_python_version(), self.python.interpreter_path)

    def checked(self) -> Environment:
        """The same with all its files named by path and content. Raises BadEnvironment for what cannot be built."""
        if self._spark is not None:
            self._spark.check()
        if not self.needs_build():
            return self
        if self.uses_container():
            from onrecord.container_environment import checked

            return checked(self)
        given = self.python
        if self.compat is not None:
            from onrecord.azureml.requirements import without_azure

            given = without_azure(given)
        from onrecord.environment_files import resolved
        from onrecord.environment_recipe import recipe_of

        python = attrs.evolve(given, conda_dependencies=resolved(given.conda_dependencies, Path.cwd()))
        found = attrs.evolve(self, python=python)
        recipe_of(found.as_document(), "")
        return found

    def as_document(self) -> dict[str, Any]:
        """The definition as plain values, as the ledger keeps it."""
        python: dict[str, Any] = {
            "user_managed_dependencies": self.python.user_managed_dependencies,
            "interpreter_path": self.python.interpreter_path,
        }
        if not self.python.conda_dependencies.is_empty():
            python["conda_dependencies"] = self.python.conda_dependencies.as_dict()
        if self.python.pylock is not None:
            python["pylock"] = self.python.pylock
        version = {} if self.version is None else {"version": self.version}
        sections = {"docker": _document_of(self._docker), "spark": _document_of(self._spark)}
        return {
            "name": self.name,
            **version,
            "python": python,
            **{name: section for name, section in sections.items() if section},
            "environment_variables": {key: str(value) for key, value in self.environment_variables.items()},
            **({} if self.compat is None else {"compat": self.compat}),
        }


def environment_from(document: dict[str, Any]) -> Environment:
    """The environment behind its document; what a document does not say is as in a new environment."""
    python = document.get("python") or {}
    return Environment(
        document["name"],
        version=document.get("version"),
        compat=document.get("compat"),
        python=PythonSection(
            user_managed_dependencies=python.get("user_managed_dependencies", False),
            interpreter_path=python.get("interpreter_path"),
            conda_dependencies=CondaDependencies(_underlying_structure=python.get("conda_dependencies") or {}),
            pylock=python.get("pylock"),
        ),
        docker=_docker_of(document),
        spark=_spark_of(document),
        environment_variables=dict(document.get("environment_variables") or {}),
    )


def _docker_of(document: dict[str, Any]) -> DockerSection | None:
    if not document.get("docker"):
        return None
    from onrecord.container_section import section_from

    return section_from(document["docker"])


def _spark_of(document: dict[str, Any]) -> SparkSection | None:
    if not document.get("spark"):
        return None
    from onrecord.spark_section import section_from

    return section_from(document["spark"])


def _with(name: str, dependencies: CondaDependencies) -> Environment:
    return Environment(name, python=PythonSection(conda_dependencies=dependencies))
