"""What can be wrong with what is asked of a run."""

from __future__ import annotations

from onrecord.errors import OnRecordError


class RunFailedError(OnRecordError):
    """A run that was waited for has failed. Attributes: `run_id`, `exit_code`, `signal`, `error`."""


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
