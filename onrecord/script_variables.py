"""Environment variables that tell a script its run (the workspace's is in `workspace`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

RUN_ID = "ONRECORD_RUN_ID"
ATTEMPT = "ONRECORD_ATTEMPT"
EXPERIMENT = "ONRECORD_EXPERIMENT"
# The folder with the outputs of the run that this one goes on from; and Azure ML's name for it.
RESUME_FROM = "ONRECORD_RESUME_FROM"
DATA_REFERENCE = "AZUREML_DATAREFERENCE_MODEL_LOCATION"
# The open run of an interactive process, and its workspace's folder: `RUN_ID:FOLDER`. For the processes that it starts.
INTERACTIVE_RUN = "ONRECORD_INTERACTIVE_RUN"
# Only a process of Azure ML itself has it.
_AZURE_TOKEN = "AZUREML_RUN_TOKEN"  # noqa: S105 - a variable's name
_FRAMEWORKS = {"pytorch": "PyTorch", "tensorflow": "TensorFlow"}
_COMMUNICATORS = {"mpi": "IntelMpi", "tensorflow": "ParameterServer"}


def azure_variables(run_id: str, experiment: str, workspace: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The names under which scripts written for Azure ML look for their run, as far as they mean something here.

    Nothing of subscriptions, tokens and endpoints: Azure's own library, where a script has it, would try to connect.
    Inside a job of Azure ML, which has a token, its variables stay as they are. There is no MLflow server here, so
    its variables are left alone.
    """
    if os.environ.get(_AZURE_TOKEN):
        return {}
    job = config.get("distribution") or {}
    scheme = job.get("scheme", "")
    return {
        "AZUREML_RUN_ID": run_id,
        "AZUREML_ARM_PROJECT_NAME": experiment,
        "AZUREML_ARM_WORKSPACE_NAME": workspace,
        "AZUREML_EXPERIMENT_NAME": experiment,
        "AZUREML_OUTPUT_DIRECTORY": "./outputs",
        "AZUREML_TARGET_TYPE": str(config.get("target") or "local"),
        "AZUREML_FRAMEWORK": _FRAMEWORKS.get(scheme, "Python"),
        "AZUREML_COMMUNICATOR": _COMMUNICATORS.get(scheme, str(job.get("communication_backend", "None")).capitalize()),
        "AZUREML_NODE_COUNT": str(job.get("node_count", 1)),
    }
