"""What can be wrong with what is asked of a run."""

from __future__ import annotations

from onrecord.errors import OnRecordError


class RunFailedError(OnRecordError):
    """A run that was waited for has failed. Attributes: `run_id`, `exit_code`, `signal`, `error`."""


class WaitedTooLong(OnRecordError):
    """A run that was waited for has not ended in time; it goes on. Attributes: `run_id`, `timeout_seconds`."""


class WaitsForItself(OnRecordError):
    """A script waits for a run that cannot start before the script has ended. Attributes: `run_id`, `outer`."""


class RunHasEnded(OnRecordError):
    """What is asked for has no meaning any more for a run that has ended. Attributes: `run_id`, `status`."""


class ParentCanceled(OnRecordError):
    """A run that is being canceled takes no more children. Attribute: `run_id`."""


class SnapshotExists(OnRecordError):
    """A run has one source. Attributes: `run_id`, `snapshot_id` (the one that stays)."""


class UnknownFile(OnRecordError):
    """The run has no file of this name. Attributes: `run_id`, `name`, `candidates`."""


class PropertyExists(OnRecordError):
    """A property is written once. Attributes: `run_id`, `name`, `value` (the one that stays)."""


class NothingKnown(OnRecordError):
    """The run does not say what is asked for. Attribute: `run_id`."""


class NotInARun(OnRecordError):
    """The script was not started by onrecord."""


class BadMode(OnRecordError, ValueError):
    """A mode that a file of a run cannot be opened with. Attribute: `mode`."""


class UnequalLists(OnRecordError, TypeError):
    """Lists that go together have different lengths. Attributes: `names` (of which), `found` (its length)."""


class TooLong(OnRecordError, ValueError):
    """A text is longer than what is kept of such. Attributes: `found`, `most`, in bytes."""


class RunHasModels(OnRecordError):
    """Files of a run cannot be erased, because models are made of them. Attributes: `run_id`, `models`."""
