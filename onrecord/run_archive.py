"""How a run leaves the lists: put away, or deleted."""

from __future__ import annotations

from onrecord.run_control import RunControl


class RunArchive(RunControl):
    """An archived run is in no list that does not ask for it, and is otherwise as it was."""

    @property
    def archived(self) -> bool:
        """Whether it was archived itself; whether its experiment is, `experiment.archived_time` says."""
        return self._row().archived_at is not None

    def archive(self) -> None:
        """Leave it out of lists, of `ws.runs()`, `@last` and `@best`. Nothing where it is archived."""
        from onrecord.ledger.events import RunArchived
        from onrecord.submission import user_name

        if not self.archived:
            self.workspace.journal.append(self.id, [RunArchived(by=user_name())])

    def reactivate(self) -> None:
        """Have it in every list again. Nothing where it is not archived."""
        from onrecord.ledger.events import RunReactivated
        from onrecord.submission import user_name

        if self.archived:
            self.workspace.journal.append(self.id, [RunReactivated(by=user_name())])

    def delete(self, *, reason: str = "") -> None:
        """Erase it with its files, its source and its folder, and leave it out of lists; its proofs stay.

        That there was a run, when, and how it ended is still told. This cannot be undone. Raises RunNotEnded,
        RunHasModels, before anything is erased; ErasureUnfinished.
        """
        from onrecord.deleting import delete_runs

        delete_runs(self.workspace, [self.id], reason=reason)
