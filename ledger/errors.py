"""What can go wrong with the ledger, each with the values a program needs."""

from __future__ import annotations

from onrecord.errors import OnRecordError


class LedgerError(OnRecordError):
    """Base of every error of the ledger."""


class NotALedger(LedgerError):
    """The file is not an onrecord ledger. Attribute: `path`."""


class NewerLedger(LedgerError):
    """A later onrecord wrote this ledger: it can be read, not written. Attributes: `path`, `found`, `known`."""


class LedgerReadOnly(LedgerError):
    """The ledger's file or folder cannot be written. Attribute: `path`."""


class LedgerOnNetwork(LedgerError):
    """The ledger would be on a network file system. Attributes: `path`, `file_system` (nfs4, cifs, ...)."""


class CopyExists(LedgerError):
    """There is a file where the copy would go. Attribute: `path`."""


class CopyFailed(LedgerError):
    """The copy could not be written. Attribute: `path`, of the copy."""


class LedgerFull(LedgerError):
    """No room to write. Nothing of the refused call is in the ledger. Attribute: `path`."""


class LedgerLost(LedgerError):
    """The file was removed or replaced while open; the last events are not safe. Attribute: `path`."""


class LedgerDamaged(LedgerError):
    """SQLite or the disk says that the file cannot be read or written. Attribute: `path`."""


class LedgerBusy(LedgerError):
    """Another program held the ledger for too long. Attributes: `path`, `waited` (seconds)."""


class IllegalTransition(LedgerError):
    """The run's state does not allow the event. Attributes: `run_id`, `status`, `event`."""


class StaleVersion(LedgerError):
    """Someone appended first. Attributes: `run_id`, `expected`, `found` (events in the run)."""


class UnknownRun(LedgerError):
    """No run has this id. Attribute: `run_id`."""


class AmbiguousRun(LedgerError):
    """Several runs start with this prefix. Attributes: `prefix`, `candidates` (run ids, newest first)."""


class BadRunId(LedgerError):
    """The text cannot be a run id or the start of one. Attribute: `text`."""


class RunNotEnded(LedgerError):
    """What is asked for needs a run that has ended. Attributes: `run_id`, `status`."""


class ErasureUnfinished(LedgerError):
    """Erased from the history, but not yet from every byte of its files. Attributes: `path`, `waited` (seconds)."""


class BadRun(LedgerError):
    """Events that were said to be a run's are not what such a run can have. Attributes: `run_id`."""


class RunDiffers(LedgerError):
    """The ledger has a run of this id, with another history. Attribute: `run_id`."""


class BadEvent(LedgerError):
    """An event holds something that cannot be stored exactly. Attribute: `event`."""


class BadEvidence(LedgerError):
    """A checkpoint, proof, receipt or key cannot be read. Attributes: `kind`, `line` (from 1, 0 for the whole)."""


class ProofFailed(LedgerError):
    """A checkpoint, proof or receipt can be read and does not prove what it says. Attribute: `kind`."""


class SigningUnavailable(LedgerError):
    """The package that makes and checks Ed25519 signatures is not installed. Attribute: `package`."""


class EmptyLedger(LedgerError):
    """There is no event yet, so there is nothing to name by a checkpoint. Attribute: `path`."""


class RunNotSealed(LedgerError):
    """The run has no seal that a receipt could be made of. Attributes: `run_id`, `status`."""


class BadBuckets(LedgerError):
    """Points cannot be shown in so many buckets. Attribute: `buckets`."""


class BadFilter(LedgerError):
    """A filter cannot be understood. Attributes: `filter`, `position` (characters from 0), `problem`."""


class BadCursor(LedgerError):
    """The text is no cursor of this ledger, or one of another order. Attribute: `cursor`."""
