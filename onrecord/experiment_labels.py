"""What is said of an experiment: its tags, and whether it is in lists; and how all of it is deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onrecord.tag_names import checked_tags

if TYPE_CHECKING:
    from onrecord.workspace import Workspace


class ExperimentLabels:
    """An archived experiment hides the runs that it has; a new run in it brings it back, with all of them."""

    workspace: Workspace
    name: str

    @property
    def archived_time(self) -> datetime | None:
        """When it was archived, UTC; None where it is not."""
        at = self.workspace.query.archived_experiments().get(self.name)
        return None if at is None else datetime.fromtimestamp(at / 1e6, UTC)

    def archive(self) -> None:
        """Leave its runs out of lists. A run that is submitted to it later makes it active again, by itself."""
        from onrecord.ledger.events import ExperimentArchived
        from onrecord.ledger.experiments import say
        from onrecord.submission import user_name

        if self.archived_time is None:
            say(self.workspace.journal, ExperimentArchived(name=self.name, by=user_name()))

    def reactivate(self, new_name: str | None = None) -> None:
        """Have its runs in every list again. A new name is refused, as by Azure ML: names of runs never change."""
        from onrecord.errors import OnRecordError
        from onrecord.ledger.events import ExperimentReactivated
        from onrecord.ledger.experiments import say
        from onrecord.submission import user_name

        if new_name is not None and new_name != self.name:
            raise OnRecordError(
                f"the experiment {self.name} cannot become {new_name!r}",
                why="its name is part of what is proven of its runs",
                next_step="experiment.reactivate(), and a tag or a description for what it is called now",
                name=self.name,
            )
        if self.archived_time is not None:
            say(self.workspace.journal, ExperimentReactivated(name=self.name, by=user_name()))

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return self.get_tags()

    def get_tags(self) -> dict[str, str]:
        """Its tags."""
        return self.workspace.query.experiment_tags(self.name)

    def tag(self, key: str, value: object = None) -> None:
        """Set one tag; without a value it is empty."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags to new values. Raises BadTag for an empty name."""
        from onrecord.ledger.events import ExperimentTagged
        from onrecord.ledger.experiments import say

        say(self.workspace.journal, ExperimentTagged(name=self.name, tags=checked_tags(tags)))

    def remove_tags(self, tags: Sequence[str]) -> None:
        """Remove tags by name; names that are not there are ignored."""
        from onrecord.ledger.events import ExperimentTagged
        from onrecord.ledger.experiments import say

        removed = [tags] if isinstance(tags, str) else [str(name) for name in tags]
        say(self.workspace.journal, ExperimentTagged(name=self.name, removed=removed))

    @staticmethod
    def delete(workspace: Workspace, experiment_id: str, *, reason: str = "") -> int:
        """Delete every run of the experiment of this name, as `run.delete()` does it, and archive it; how many.

        This cannot be undone. Raises RunNotEnded and RunHasModels before anything is erased, UnknownExperiment.
        """
        from onrecord.deleting import delete_experiment

        return delete_experiment(workspace, experiment_id, reason=reason)
