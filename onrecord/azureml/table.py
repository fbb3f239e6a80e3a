"""Where each name of Azure ML's SDK v1 is: module, name, and the place here; and what is said of those that are not.

The one list: the finder makes the modules from it, and a test imports every name.
"""

from __future__ import annotations

_ERRORS = "onrecord.azureml.exceptions"
_COMPUTE = "onrecord.azureml.compute"
_AUTH = "onrecord.azureml.authentication"
_DATA = "onrecord.azureml.data"
_CONSTANTS = "onrecord.azureml.constants"

_WORKSPACE = {"Workspace": "onrecord.workspace:Workspace"}
_EXPERIMENT = {"Experiment": "onrecord.experiment:Experiment"}
_RUN = {"Run": "onrecord.run:Run"}
_SCRIPT_RUN = {"ScriptRun": "onrecord.run:Run"}
_SCRIPT_RUN_CONFIG = {"ScriptRunConfig": "onrecord.script_run_config:ScriptRunConfig"}
_ENVIRONMENT = {"Environment": "onrecord.environment:Environment"}
_CONDA = {"CondaDependencies": "onrecord.conda_dependencies:CondaDependencies"}
_MODEL = {"Model": "onrecord.model:Model"}
_RUN_CONFIGURATION = {"RunConfiguration": "onrecord.run_configuration:RunConfiguration"}
_DATASET = {"Dataset": f"{_DATA}:Dataset"}
_EXCEPTIONS = {
    name: f"{_ERRORS}:{name}"
    for name in (
        "AzureMLException", "UserErrorException", "ServiceException", "AuthenticationException",
        "ActivityFailedException", "ExperimentExecutionException", "RunEnvironmentException",
        "RunConfigurationException", "SnapshotException", "ComputeTargetException", "ModelNotFoundException",
        "ModelPathNotFoundException", "WorkspaceException", "ProjectSystemException", "ExperimentNotFoundException",
    )
}  # fmt: skip
_COMPUTE_TARGETS = {name: f"{_COMPUTE}:{name}" for name in ("ComputeTarget", "AmlCompute")}
_COMPUTE_ERROR = {"ComputeTargetException": f"{_ERRORS}:ComputeTargetException"}
_ESTIMATORS = "onrecord.azureml.estimators"

MODULES: dict[str, dict[str, str]] = {
    "azureml": {},
    "azureml.core": {
        "VERSION": f"{_CONSTANTS}:VERSION",
        **_WORKSPACE,
        **_EXPERIMENT,
        **_RUN,
        **_SCRIPT_RUN,
        **_SCRIPT_RUN_CONFIG,
        **_ENVIRONMENT,
        **_MODEL,
        **_RUN_CONFIGURATION,
        **_DATASET,
        "ComputeTarget": f"{_COMPUTE}:ComputeTarget",
    },
    "azureml.core.workspace": _WORKSPACE,
    "azureml.core.experiment": _EXPERIMENT,
    "azureml.core.run": {**_RUN, "_OfflineRun": "onrecord.offline_run:OfflineRun"},
    "azureml.core.script_run": _SCRIPT_RUN,
    "azureml.core.script_run_config": _SCRIPT_RUN_CONFIG,
    "azureml.core.environment": {**_ENVIRONMENT, "PythonSection": "onrecord.environment:PythonSection",
        "DockerSection": "onrecord.container_section:DockerSection",
        "DockerBuildContext": "onrecord.container_section:DockerBuildContext",
        **_CONDA,
    },
    "azureml.core.runconfig": {
        **_RUN_CONFIGURATION,
        **_CONDA,
        **_ENVIRONMENT,
        **{
            name: f"onrecord.distributed:{name}"
            for name in ("MpiConfiguration", "TensorflowConfiguration", "PyTorchConfiguration")
        },
        **{
            name: f"onrecord.run_configuration:{name}"
            for name in ("HistoryConfiguration", "SparkConfiguration")
        },
        "DockerConfiguration": "onrecord.container_section:DockerConfiguration",
        **{name: f"{_CONSTANTS}:{name}" for name in ("DEFAULT_CPU_IMAGE", "DEFAULT_GPU_IMAGE")},
    },
    "azureml.core.conda_dependencies": _CONDA,
    "azureml.core.compute": {**_COMPUTE_TARGETS, **_COMPUTE_ERROR},
    "azureml.core.compute.amlcompute": {"AmlCompute": f"{_COMPUTE}:AmlCompute"},
    "azureml.core.compute.compute": {"ComputeTarget": f"{_COMPUTE}:ComputeTarget", **_COMPUTE_ERROR},
    "azureml.core.compute_target": {**_COMPUTE_TARGETS, **_COMPUTE_ERROR},
    "azureml.core.model": _MODEL,
    "azureml.core.dataset": _DATASET,
    "azureml.core.authentication": {
        name: f"{_AUTH}:{name}"
        for name in (
            "InteractiveLoginAuthentication", "ServicePrincipalAuthentication", "AzureCliAuthentication",
            "MsiAuthentication",
        )
    },
    "azureml.data": {"FileDataset": f"{_DATA}:FileDataset"},
    "azureml.data.file_dataset": {"FileDataset": f"{_DATA}:FileDataset"},
    "azureml.exceptions": _EXCEPTIONS,
    "azureml._common": {},
    "azureml._common.exceptions": {"AzureMLException": f"{_ERRORS}:AzureMLException"},
    "azureml.widgets": {"RunDetails": "onrecord.widgets:RunDetails"},
    "azureml.tensorboard": {"Tensorboard": "onrecord.tensorboard:Tensorboard"},
    "azureml.tensorboard.export": {"export_to_tensorboard": "onrecord.tensorboard_export:export_to_tensorboard"},
    "azureml.telemetry": {"set_diagnostics_collection": f"{_CONSTANTS}:set_diagnostics_collection"},
    "azureml.train": {},
    "azureml.train.estimator": {"Estimator": f"{_ESTIMATORS}:Estimator"},
    "azureml.train.sklearn": {"SKLearn": f"{_ESTIMATORS}:SKLearn"},
    "azureml.train.dnn": {name: f"{_ESTIMATORS}:{name}" for name in ("PyTorch", "TensorFlow", "Chainer")},
}  # fmt: skip

_NO_DEPLOY = "nothing is deployed from here | Model(ws, name).download(folder), and serve it with what you like"
_NO_STORE = (
    "there are no datastores: files are read where they are"
    " | pass the path of the data as an argument, or Dataset.File.from_files(path).as_mount()"
)
# "why | next", by module; what is below a module is told what it is.
ABSENT_MODULES: dict[str, str] = {
    "azureml.train.hyperdrive": "onrecord has no sweeps yet"
    " | submit a run for each point: experiment.submit(ScriptRunConfig(…, arguments=['--lr', lr])) in a loop"
    ", then ws.get_run('@best:METRIC') or onrecord ls --columns metrics.…",
    "azureml.train.automl": "onrecord chooses no models | a script of your own, submitted by ScriptRunConfig",
    "azureml.automl": "onrecord chooses no models | a script of your own, submitted by ScriptRunConfig",
    "azureml.pipeline": "onrecord has no pipelines | run.submit_child(config) from a script that is the pipeline",
    "azureml.core.webservice": _NO_DEPLOY,
    "azureml.core.image": _NO_DEPLOY,
    "azureml.core.datastore": _NO_STORE,
    "azureml.data": _NO_STORE,
    "azureml.opendatasets": "onrecord downloads no data"
    " | scikit-learn, torchvision and keras have these sets; pass the folder as an argument",
    "azureml.dataprep": "onrecord prepares no data | pandas.read_csv(path)",
    "azureml.interpret": "onrecord explains no models | run.upload_folder keeps what a library of yours writes",
    "azureml.contrib": "onrecord has none of the previews",
    "azureml.mlflow": "there is no MLflow server here | Run.get_context().log(name, value)",
}
# "why | next", by name, wherever it is imported from.
ABSENT_NAMES: dict[str, str] = {
    "Webservice": _NO_DEPLOY,
    "InferenceConfig": _NO_DEPLOY,
    "Image": _NO_DEPLOY,
    "Datastore": _NO_STORE,
    "RemoteCompute": "a machine that is reached by ssh is a target of config.toml, and is not attached by a call"
    ' | in .onrecord/config.toml: [targets.NAME] hosts = ["user@address:22"] (docs/jobs.md)',
    "HDInsightCompute": "there is no Spark cluster to attach"
    " | run_config.framework = 'PySpark' uses the spark-submit here",
    "Keyvault": "secrets belong into the environment of whoever submits, which is not recorded | os.environ['NAME']",
    "ComputeInstance": "this machine is the compute | compute_target='local'",
}
