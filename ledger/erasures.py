"""What is left of the places of erased runs, so that making the read models again gives no other run a new number."""

from __future__ import annotations

from onrecord.ledger.events import PayloadErased, RunImported
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import RunState


class Erasures:
    """The `payload.erased` events of all runs, collected while the events are replayed."""

    def __init__(self) -> None:
        # Of each erased run: its experiment, and its number where that is of this ledger.
        self._places: dict[str, tuple[str, int | None]] = {}
        # By the erased run: numbers of the runs that would have moved up.
        self._numbers: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def take(self, recorded: Recorded) -> None:
        """Hear of one event."""
        if recorded.type == PayloadErased.type and isinstance(event := recorded.event, PayloadErased):
            self._places[recorded.run_id] = event.experiment, event.number
            if event.numbers:
                self._numbers[recorded.run_id] = event.numbers
        elif recorded.type == RunImported.type:
            self.import_run(recorded.run_id)

    def import_run(self, run_id: str) -> None:
        """What was said of the run so far was said in the ledger where it came from: numbers are given anew here."""
        if run_id in self._places:
            self._places[run_id] = self._places[run_id][0], None
            self._numbers.pop(run_id, None)

    def numbers(self) -> dict[str, int]:
        """By run: the number that a run keeps although one before it has left its experiment."""
        return {run_id: number for kept in self._numbers.values() for run_id, number in kept.items()}

    def place(self, state: RunState) -> int | None:
        """Put an erased run where it was; the number that it has for good, None where it gets one as others do."""
        found = self._places.get(state.run_id)
        if found is None:
            return None
        state.keep_place(*found)
        return state.number if found[1] is not None or not found[0] else None
