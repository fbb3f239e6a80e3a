"""Which of Azure ML's names stands for what of onrecord: one table, read when a name is first used.

`module: {name: "home:attribute"}`. A module that has no row is not there, and importing it says so.
"""

from __future__ import annotations

from typing import Final

_CORE: Final = {
    "ComputeTarget": "onrecord.azureml.compute:ComputeTarget",
    "Environment": "onrecord.environment:Environment",
    "Experiment": "onrecord.experiment:Experiment",
    "Model": "onrecord.model:Model",
    "Run": "onrecord.run:Run",
    "RunConfiguration": "onrecord.run_configuration:RunConfiguration",
    "ScriptRun": "onrecord.run:Run",
    "ScriptRunConfig": "onrecord.script_run_config:ScriptRunConfig",
    "VERSION": "onrecord:__version__",
    "Workspace": "onrecord.workspace:Workspace",
    "__version__": "onrecord:__version__",
}
_JOBS: Final = {
    "MpiConfiguration": "onrecord.distributed:MpiConfiguration",
    "PyTorchConfiguration": "onrecord.distributed:PyTorchConfiguration",
    "TensorflowConfiguration": "onrecord.distributed:TensorflowConfiguration",
}
_COMPUTE: Final = {
    "AmlCompute": "onrecord.azureml.compute:AmlCompute",
    "ComputeTarget": "onrecord.azureml.compute:ComputeTarget",
    "ComputeTargetException": "onrecord.azureml.compute:ComputeTargetException",
}
# What Azure ML raises, by the errors that stand for it: `except` then catches what onrecord raises.
_ERRORS: Final = {
    "ActivityFailedException": "onrecord.run_errors:RunFailedError",
    "AzureMLException": "onrecord.errors:OnRecordError",
    "ComputeTargetException": "onrecord.azureml.compute:ComputeTargetException",
    "ExperimentExecutionException": "onrecord.errors:OnRecordError",
    "ExperimentFailureException": "onrecord.run_errors:RunFailedError",
    "ModelNotFoundException": "onrecord.model_registry:UnknownModel",
    "ModelPathNotFoundException": "onrecord.model_registry:ModelPathNotFound",
    "RunConfigurationException": "onrecord.config_errors:BadConfig",
    "RunEnvironmentException": "onrecord.run_errors:NotInARun",
    "SnapshotException": "onrecord.snapshot.errors:SnapshotError",
    "UserErrorException": "onrecord.errors:OnRecordError",
    "WorkspaceException": "onrecord.errors:OnRecordError",
}
_LOGINS: Final = dict.fromkeys(
    (
        "AbstractAuthentication",
        "AzureCliAuthentication",
        "InteractiveLoginAuthentication",
        "MsiAuthentication",
        "ServicePrincipalAuthentication",
    ),
    "onrecord.azureml.authentication:Authentication",
)

MODULES: Final[dict[str, dict[str, str]]] = {
    "azureml.core": _CORE,
    "azureml.core.authentication": _LOGINS,
    "azureml.core.compute": _COMPUTE,
    "azureml.core.compute_target": _COMPUTE,
    "azureml.core.conda_dependencies": {"CondaDependencies": "onrecord.conda_dependencies:CondaDependencies"},
    "azureml.core.environment": {
        "CondaDependencies": "onrecord.conda_dependencies:CondaDependencies",
        "Environment": "onrecord.environment:Environment",
    },
    "azureml.core.experiment": {"Experiment": "onrecord.experiment:Experiment"},
    "azureml.core.model": {"Model": "onrecord.model:Model"},
    "azureml.core.run": {
        "Run": "onrecord.run:Run",
        "_OfflineRun": "onrecord.offline_run:OfflineRun",
        "get_run": "onrecord.azureml.compute:get_run",
    },
    "azureml.core.runconfig": {
        **_JOBS,
        "CondaDependencies": "onrecord.conda_dependencies:CondaDependencies",
        "DockerConfiguration": "onrecord.container_section:DockerConfiguration",
        "RunConfiguration": "onrecord.run_configuration:RunConfiguration",
    },
    "azureml.core.script_run": {"ScriptRun": "onrecord.run:Run"},
    "azureml.core.script_run_config": {"ScriptRunConfig": "onrecord.script_run_config:ScriptRunConfig"},
    "azureml.core.workspace": {"Workspace": "onrecord.workspace:Workspace"},
    "azureml.exceptions": _ERRORS,
    "azureml.telemetry": {"set_diagnostics_collection": "onrecord.azureml.authentication:collect_nothing"},
    "azureml.tensorboard": {"Tensorboard": "onrecord.tensorboard:Tensorboard"},
    "azureml.tensorboard.export": {"export_to_tensorboard": "onrecord.tensorboard:export_to_tensorboard"},
    "azureml.widgets": {"RunDetails": "onrecord.widgets:RunDetails"},
}

# What people import that is not there, and what to do instead.
INSTEAD: Final = {
    "azureml.core.dataset": "pass the path of the data as an argument",
    "azureml.core.datastore": "pass the path of the data as an argument",
    "azureml.core.webservice": "onrecord does not serve models: Model(ws, name).download() gives the files",
    "azureml.data": "pass the path of the data as an argument",
    "azureml.opendatasets": "download the data once and pass its path as an argument",
    "azureml.pipeline": "run.submit_child(config) submits the steps as runs below one run",
    "azureml.train.automl": "onrecord searches no models: write the script that does, and run it",
    "azureml.train.dnn": "ScriptRunConfig(…, environment=…) does what the deprecated estimators did",
    "azureml.train.estimator": "ScriptRunConfig(…, environment=…) does what the deprecated estimators did",
    "azureml.train.hyperdrive": "there are no sweeps yet: run.submit_child(config) for each choice, from one script",
    "azureml.train.sklearn": "ScriptRunConfig(…, environment=…) does what the deprecated estimators did",
}
INSTEAD_OF_NAMES: Final = {
    "Dataset": "pass the path of the data as an argument",
    "Datastore": "pass the path of the data as an argument",
    "Webservice": "onrecord does not serve models: Model(ws, name).download() gives the files",
}
