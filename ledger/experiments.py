"""What is said of experiments, which are names of runs: in one stream of their own, whose id no run can have."""

from __future__ import annotations

from onrecord.ledger.events import ExperimentArchived, ExperimentReactivated, ExperimentTagged
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal

# No UUIDv7: the ninth byte of one begins with the bits 10.
STREAM = id_text(b"onrecord:experim")


def say(journal: Journal, event: ExperimentArchived | ExperimentReactivated | ExperimentTagged) -> None:
    """Append a fact about an experiment. Raises BadEvent, LedgerFull, LedgerReadOnly, NewerLedger."""
    journal.append(STREAM, [event])
