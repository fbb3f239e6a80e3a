"""What a Spark job has beside its script: settings, packages of Maven's, where they come from.

Source of names and defaults: azureml-core 1.x, `azureml.core.environment.SparkSection`, `SparkPackage`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from onrecord.executors.environment_errors import BadEnvironment

_PART = re.compile(r"[\w.\-]+")


@attrs.define
class SparkPackage:
    """A package of Maven's: `group:artifact:version`."""

    group: str | None = None
    artifact: str | None = None
    version: str | None = None

    def coordinates(self) -> str:
        """As spark-submit takes it. Raises BadEnvironment where a part is missing."""
        parts = (self.group, self.artifact, self.version)
        if not all(isinstance(part, str) and _PART.fullmatch(part) for part in parts):
            raise BadEnvironment(
                f"{self} is no package",
                why="one has a group, an artifact and a version",
                next_step="SparkPackage('org.apache.spark', 'spark-avro_2.13', '4.0.0')",
                field="packages",
            )
        return ":".join(str(part) for part in parts)


@attrs.define
class SparkSection:
    """The Spark of an environment, for jobs with `framework="PySpark"`.

    `configuration`: Spark's own settings by name (`spark.driver.memory`). `packages`, `repositories`: of Maven's.
    `precache_packages`: what was downloaded is kept in the workspace for the next run; False: in the run's own folder.
    """

    repositories: list[str] = attrs.field(factory=list, kw_only=True)
    packages: list[SparkPackage] = attrs.field(factory=list, kw_only=True)
    precache_packages: bool = attrs.field(default=True, kw_only=True)
    configuration: dict[str, Any] = attrs.field(factory=dict, kw_only=True)

    def as_document(self) -> dict[str, Any]:
        """Plain values, as the ledger keeps them; {} for a section that nobody touched. Raises BadEnvironment."""
        document: dict[str, Any] = {
            "repositories": [str(one) for one in self.repositories],
            "packages": [attrs.asdict(one) for one in self.packages],
            "configuration": {str(key): _setting(value) for key, value in self.configuration.items()},
        }
        document = {name: value for name, value in document.items() if value}
        return document if self.precache_packages else {**document, "precache_packages": False}

    def check(self) -> None:
        """Raises BadEnvironment for what spark-submit could not be told."""
        for package in self.packages:
            package.coordinates()
        for name, value in self.configuration.items():
            if not re.fullmatch(r"[^\s=]+", str(name)) or "\0" in str(value):
                raise BadEnvironment(
                    f"{name!r} is no setting of Spark's",
                    why="a name has no blanks and no =",
                    next_step="environment.spark.configuration['spark.driver.memory'] = '2g'",
                    field="configuration",
                )


def section_from(document: Mapping[str, Any]) -> SparkSection:
    """The section behind its document."""
    return SparkSection(
        repositories=list(document.get("repositories") or ()),
        packages=[SparkPackage(**one) for one in document.get("packages") or ()],
        precache_packages=document.get("precache_packages", True),
        configuration=dict(document.get("configuration") or {}),
    )


def _setting(value: object) -> str:
    # As Spark spells truth values.
    return str(value).lower() if isinstance(value, bool) else str(value)
