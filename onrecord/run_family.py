"""Which runs a run was started from, and which were started from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from onrecord.run_handle import RunHandle

if TYPE_CHECKING:
    from onrecord.run import Run
    from onrecord.run_listing import Wanted
    from onrecord.script_run_config import ScriptRunConfig


class RunFamily(RunHandle):
    """The link to its parent is put on record when a run is submitted, and never changes."""

    @property
    def type(self) -> str:
        """What kind of run it is: `onrecord.script` of a script that was submitted."""
        return self._row().run_type

    @property
    def parent(self) -> Run | None:
        """The run that it was started from; None of one that was started by itself.

        Raises UnknownRun where that is not in this workspace: an import may bring a child alone.
        """
        from onrecord.run import Run

        parent = self._row().parent
        if parent is None:
            return None
        return Run(self.workspace, self.workspace.query.run(parent).run_id)

    def get_children(
        self,
        recursive: bool = False,
        tags: Wanted = None,
        properties: Wanted = None,
        type: str | None = None,
        status: str | None = None,
        _rehydrate_runs: bool = True,
    ) -> Iterator[Run]:
        """The runs that were started from it, newest first, read page by page; `recursive`: over all generations.

        `tags` and `properties`: a name that must be there, several of them, or names with their values; all
        conditions must hold. `_rehydrate_runs` is accepted for Azure ML's sake. Raises BadListing.
        """
        from onrecord.run_listing import Listing

        return Listing(
            self.workspace,
            parent=self.id,
            recursive=recursive,
            tags=tags,
            properties=properties,
            run_type=type,
            status=status,
        ).runs()

    def submit_child(
        self,
        config: ScriptRunConfig,
        tags: Mapping[str, object] | None = None,
        *,
        display_name: str = "",
        fail_if_child_fails: bool = False,
        **more: Any,
    ) -> Run:
        """Submit a run of the same experiment that has this one as its parent, with a snapshot of its own.

        From inside of the script as well as from outside; it goes on when the parent ends. Otherwise as
        `Experiment.submit`. Raises ParentCanceled while the parent is being canceled.
        """
        from onrecord.experiment import Experiment

        self._refuse_while_canceled()
        experiment = Experiment(self.workspace, self._row().experiment)
        return experiment.submit(
            config, tags, display_name=display_name, fail_if_child_fails=fail_if_child_fails, parent=self.id, **more
        )

    def _refuse_while_canceled(self) -> None:
        from onrecord.ledger.states import CANCEL_REQUESTED
        from onrecord.run_errors import ParentCanceled

        if self._row().status == CANCEL_REQUESTED:
            raise ParentCanceled(
                f"run {self.id} is being canceled and takes no more children",
                next_step="submit it by itself: experiment.submit(config)",
                run_id=self.id,
            )
