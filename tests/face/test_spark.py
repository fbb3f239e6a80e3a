"""Jobs for Spark: the command that submits them by a made-up pyspark, and by the real one where there is one."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from face_make import project, run_to_end, submit

from onrecord import (
    Environment,
    Experiment,
    OnRecordError,
    PyTorchConfiguration,
    Run,
    ScriptRunConfig,
    SparkPackage,
    SparkSection,
    Workspace,
)
from onrecord.environment import environment_from
from onrecord.script_run_config import BadConfig

SUBMIT = """#!/bin/sh
exec "$PYSPARK_PYTHON" -c '
import json, os, sys
names = ("SPARK_HOME", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "SPARK_LOCAL_IP", "ONRECORD_RUN_ID")
print(json.dumps({"words": sys.argv[1:], **{name: os.environ.get(name) for name in names}}))
sys.exit(4)
' "$@"
"""


@pytest.fixture
def pyspark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a spark-submit that tells how it was called, and a java beside it."""
    places = tmp_path / "site"
    project(places, {"pyspark/__init__.py": "", "pyspark/bin/spark-submit": SUBMIT, "java/bin/java": "#!/bin/sh\n"})
    for name in ("pyspark/bin/spark-submit", "java/bin/java"):
        (places / name).chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(places))
    monkeypatch.setenv("JAVA_HOME", str(places / "java"))
    return places / "pyspark"


def environment(**spark: Any) -> Environment:
    return Environment("spark", spark=SparkSection(**spark))


def told(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.read_file("logs/stdout.txt"))
    return found


def test_a_job_is_submitted_by_the_spark_of_its_interpreter(tmp_path: Path, pyspark: Path) -> None:
    run = run_to_end(
        tmp_path / "project", "", arguments=["--alpha", "1 2"], environment=environment(), framework="PySpark"
    )
    assert run.get_details()["exitCode"] == 4
    seen = told(run)
    assert seen["words"] == [
        "--master", "local[*]", "--conf", "spark.driver.bindAddress=127.0.0.1",
        "--conf", "spark.driver.host=127.0.0.1", "train.py", "--alpha", "1 2",
    ]  # fmt: skip
    assert seen["SPARK_HOME"] == str(pyspark)
    assert seen["PYSPARK_PYTHON"] == seen["PYSPARK_DRIVER_PYTHON"] == sys.executable
    assert (seen["SPARK_LOCAL_IP"], seen["ONRECORD_RUN_ID"]) == ("127.0.0.1", run.id)


def test_what_the_environment_says_of_spark_is_passed_on_and_kept(tmp_path: Path, pyspark: Path) -> None:
    spark = environment(
        configuration={"spark.master": "local[2]", "spark.driver.memory": "1g", "spark.ui.enabled": False},
        packages=[SparkPackage("org.example", "tool_2.13", "1.0"), SparkPackage("org.example", "other", "2")],
        repositories=["https://repository.example.org/maven"],
    )
    run = run_to_end(tmp_path / "project", "", environment=spark, framework="pyspark")
    words = told(run)["words"]
    assert words[:6] == [
        "--master", "local[2]", "--packages", "org.example:tool_2.13:1.0,org.example:other:2",
        "--repositories", "https://repository.example.org/maven",
    ]  # fmt: skip
    settings = {word for before, word in pairwise(words) if before == "--conf"}
    kept = run.workspace.layout.root / "cache" / "ivy"
    assert {"spark.driver.memory=1g", "spark.ui.enabled=false", f"spark.jars.ivy={kept}"} <= settings
    assert run.get_environment().spark.configuration["spark.ui.enabled"] == "false"
    assert environment_from(spark.as_document()).spark.packages == spark.spark.packages
    spark.spark.precache_packages = False
    own = told(run_to_end(tmp_path / "project", "", environment=spark, framework="PySpark"))["words"]
    assert f"spark.jars.ivy={kept}" not in own


def test_without_java_nothing_is_submitted(tmp_path: Path, pyspark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    project(tmp_path / "project", {"train.py": ""})
    with pytest.raises(OnRecordError, match="no Java") as caught:
        submit(tmp_path / "project", framework="PySpark")
    assert "apt-get install default-jre-headless" in caught.value.next_step
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(OnRecordError, match="no Java") as caught:
        submit(tmp_path / "project", framework="PySpark")
    assert "JAVA_HOME is /nowhere" in caught.value.why
    assert Workspace(tmp_path / "project").query.runs() == []


def test_an_interpreter_without_pyspark_is_told_before_the_start(
    tmp_path: Path, pyspark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pyspark / "bin" / "spark-submit").unlink()
    run = run_to_end(tmp_path / "project", "", framework="PySpark")
    assert "there is no" in run.get_details()["error"]["message"]
    assert "pyspark-client" in run.get_details()["error"]["message"]
    if find_spec("pyspark") is None:
        monkeypatch.delenv("PYTHONPATH")
        run = run_to_end(tmp_path / "project", "", framework="PySpark")
        assert "has no pyspark" in run.get_details()["error"]["message"]
        assert "pip install pyspark" in run.get_details()["error"]["message"]


def test_mistakes_are_refused_before_there_is_a_run(tmp_path: Path, pyspark: Path) -> None:
    project(tmp_path / "project", {"train.py": ""})
    with pytest.raises(BadConfig, match="framework is 'Scala'"):
        submit(tmp_path / "project", framework="Scala")
    with pytest.raises(BadConfig, match="framework is PySpark"):
        submit(tmp_path / "project", framework="PySpark", distributed_job_config=PyTorchConfiguration("Gloo", 2))
    with pytest.raises(BadConfig, match="a job for Spark is one Python script"):
        Experiment(Workspace(tmp_path / "project"), "one").submit(
            ScriptRunConfig(tmp_path / "project", command=["true"], framework="PySpark")
        )
    with pytest.raises(OnRecordError, match="is no package"):
        submit(tmp_path / "project", environment=environment(packages=[SparkPackage("org.example")]))
    with pytest.raises(OnRecordError, match="is no setting"):
        submit(tmp_path / "project", environment=environment(configuration={"spark.a=b": 1}))
    assert Workspace(tmp_path / "project").query.runs() == []


@pytest.mark.long
@pytest.mark.skipif(find_spec("pyspark") is None or which("java") is None, reason="pip install pyspark, and a Java")
def test_the_real_spark_counts_and_its_exit_code_is_the_scripts(tmp_path: Path) -> None:
    script = """
import sys
from pyspark.sql import SparkSession
from onrecord import Run
spark = SparkSession.builder.getOrCreate()
Run.get_context().log("sum", spark.range(1000).selectExpr("sum(id)").collect()[0][0])
print(spark.sparkContext.master)
spark.stop()
sys.exit(6)
"""
    settings = {"spark.master": "local[2]", "spark.ui.enabled": False}
    run = run_to_end(tmp_path, script, environment=environment(configuration=settings), framework="PySpark")
    assert run.get_metrics() == {"sum": 499500}
    assert b"local[2]" in run.read_file("logs/stdout.txt")
    assert run.get_details()["exitCode"] == 6
    assert os.environ.get("SPARK_HOME") is None
