"""Azure ML's exceptions: each is the very class that is raised here in its place, so that `except` catches it.

`except` looks at real base classes only, so an alias is the one form that needs no change to what is raised. Azure's
UserErrorException is what most calls raise there; here it is the base of all, OnRecordError.
"""

from __future__ import annotations

from onrecord.config_errors import BadConfig
from onrecord.distributed import BadDistribution
from onrecord.errors import OnRecordError
from onrecord.executors.errors import UnknownTarget
from onrecord.model_registry import ModelPathNotFound, UnknownModel
from onrecord.run_errors import NotInARun, RunFailedError
from onrecord.snapshot.errors import SnapshotError
from onrecord.workspace import WorkspaceNotFound

AzureMLException = OnRecordError
UserErrorException = OnRecordError
ActivityFailedException = RunFailedError
ExperimentExecutionException = BadConfig
RunEnvironmentException = NotInARun
RunConfigurationException = BadDistribution
SnapshotException = SnapshotError
ComputeTargetException = UnknownTarget
ModelNotFoundException = UnknownModel
ModelPathNotFoundException = ModelPathNotFound
WorkspaceException = WorkspaceNotFound
ProjectSystemException = WorkspaceNotFound


class ServiceException(OnRecordError):
    """Never raised: there is no service."""


class AuthenticationException(OnRecordError):
    """Never raised: nobody is asked who they are."""


class ExperimentNotFoundException(OnRecordError):
    """Never raised: an experiment is there when its name is used."""
