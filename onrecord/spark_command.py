"""The command that submits a script to Spark: spark-submit of the pyspark that the script's own Python has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError

if TYPE_CHECKING:
    from onrecord.layout import RunFolder

PYSPARK = "PySpark"
_ADDRESS = "127.0.0.1"
_MASTER = "local[*]"
_ASK = (
    "from importlib.util import find_spec; found = find_spec('pyspark');"
    " print(list(found.submodule_search_locations)[0] if found else '')"
)
_SECONDS = 60


class NoSpark(OnRecordError):
    """A job for Spark that cannot be started: `missing` is pyspark, spark-submit or java."""


def submitted_by_spark(
    command: Sequence[str], config: Mapping[str, Any], folder: RunFolder, environment: dict[str, str]
) -> tuple[str, ...]:
    """The command line, with SPARK_HOME and the rest set in `environment`. Raises NoSpark.

    `command` is the interpreter, the script and its arguments. What the environment's `spark.configuration` says
    comes after what is set here, so that it wins; the master is `local[*]` unless it names one.
    """
    interpreter, *script = command
    container = config.get("container")
    home = environment.get("SPARK_HOME") if "SPARK_HOME" in config["environment"]["environment_variables"] else None
    home = home or (container["probe"].get("pyspark") if container else _home_of(interpreter, environment, folder))
    if not home:
        raise _no_pyspark(interpreter)
    submit = f"{home}/bin/spark-submit"
    if not container:
        _check(submit, environment)
    python = container["probe"]["executable"] if container else interpreter
    environment.update(
        {"SPARK_HOME": home, "PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, "SPARK_LOCAL_IP": _ADDRESS}
    )
    return (submit, *_options(_spark_of(config), folder), *script)


def check_java(variables: Mapping[str, str]) -> None:
    """Raise NoSpark where there is no Java to run Spark."""
    home = variables.get("JAVA_HOME")
    if home and os.access(Path(home) / "bin" / "java", os.X_OK):
        return
    if shutil.which("java", path=variables.get("PATH", os.defpath)):
        return
    raise NoSpark(
        "there is no Java to run Spark with",
        why=f"JAVA_HOME is {home}, and there is no bin/java in it"
        if home
        else "no java is on the PATH, and JAVA_HOME is not set",
        next_step="apt-get install default-jre-headless   (Spark 4 needs Java 17 or newer)",
        missing="java",
    )


def _spark_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The environment's section, with the job's own settings over it."""
    spark = config["environment"].get("spark") or {}
    return {**spark, "configuration": {**spark.get("configuration", {}), **config.get("spark", {})}}


def _options(spark: Mapping[str, Any], folder: RunFolder) -> list[str]:
    settings = {
        "spark.driver.bindAddress": _ADDRESS,
        "spark.driver.host": _ADDRESS,
        **{str(name): str(value) for name, value in (spark.get("configuration") or {}).items()},
    }
    words = ["--master", settings.pop("spark.master", _MASTER)]
    packages = [f"{one['group']}:{one['artifact']}:{one['version']}" for one in spark.get("packages") or ()]
    if packages:
        words += ["--packages", ",".join(packages)]
        kept = folder.path.parent.parent / "cache" if spark.get("precache_packages", True) else folder.records
        settings.setdefault("spark.jars.ivy", str(kept / "ivy"))
    if spark.get("repositories"):
        words += ["--repositories", ",".join(spark["repositories"])]
    return words + [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]


def _home_of(interpreter: str, environment: Mapping[str, str], folder: RunFolder) -> str:
    try:
        asked = subprocess.run(
            [interpreter, "-c", _ASK], env={**environment, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=folder.work,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NoSpark(
            f"the interpreter {interpreter} cannot be asked for pyspark", why=str(problem), missing="pyspark"
        ) from problem
    return asked.stdout.strip()


def _check(submit: str, environment: Mapping[str, str]) -> None:
    if not os.access(submit, os.X_OK):
        raise NoSpark(
            f"there is no {submit}",
            why="pyspark from an index has it; one without is only the client of another Spark",
            next_step="pip install pyspark   (not pyspark-client)",
            missing="spark-submit",
        )
    check_java(environment)


def _no_pyspark(interpreter: str) -> NoSpark:
    return NoSpark(
        f"the interpreter {interpreter} has no pyspark",
        why="the job's framework is PySpark, and it is submitted by the spark-submit that comes with it",
        next_step="pip install pyspark there, or list it among the environment's pip packages",
        missing="pyspark",
    )
