"""A run's files and metrics, for its companion: taken in while the script runs, and what is missing at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from onrecord.capture import Capture
from onrecord.errors import OnRecordError, in_one_line
from onrecord.executors.protocol import Ended
from onrecord.ingest import ingest
from onrecord.inventory import NAME as INVENTORY
from onrecord.inventory import Inventory, ask_for_inventory
from onrecord.kept_folders import FOLDERS
from onrecord.ledger.events import Event
from onrecord.lookout import Lookout
from onrecord.missing_file import missing_file_hint
from onrecord.outcome import last_words
from onrecord.output_links import link_warnings
from onrecord.patience import patiently, say
from onrecord.script_environment import environment_of, has_inventory
from onrecord.spool_losses import losses_warning
from onrecord.unkept import unkept_warning
from onrecord.whereabouts import WorkspaceMoved, moved_to
from onrecord.working_copy import give_up_copies, is_given_up
from onrecord.workspace import Workspace

BUILD_LOG = "onrecord/environment-build.log"


class CompanionFiles:
    """One run's. `append` puts events on record; `config` is what the run was submitted with, once it is prepared."""

    def __init__(
        self,
        workspace: Workspace,
        run_id: str,
        append: Callable[[Sequence[Event]], None],
        config: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._append = append
        self._config = config
        self._folder = workspace.layout.run(run_id)
        self._lookout: Lookout | None = None
        self._taken: Capture | None = None
        # The question that the conductor asked before there was a companion, if it did.
        self.inventory: Inventory | None = None

    def ask_for_inventory(self, environment: Mapping[str, str]) -> None:
        """Ask the run's interpreter what is installed there, unless it was asked already."""
        if self.inventory is None and has_inventory(self._config()):
            self.inventory = ask_for_inventory(self._config()["interpreter"], environment, self._folder)

    def look(self) -> None:
        """Take what has changed, if it is time for that. Raises DiskFull, and errors of the ledger."""
        if self._lookout is None:
            self._lookout = Lookout(self._capture, self._folder.work, self._kept_folders())
        self._lookout.look()

    def keep_build_log(self) -> None:
        """Keep what was printed while the run's environment was made."""
        if not self._folder.build_log.is_file():
            return
        try:
            self._capture().take([(BUILD_LOG, self._folder.build_log)])
        except (OnRecordError, OSError) as problem:
            say(f"{problem}\n")

    def finish(self, ended: Ended, warnings: list[str]) -> None:
        """Take what is still missing and give up copies of it; what a reader should know is added to `warnings`."""
        if self._lookout is not None:
            self._lookout.stop()
        kept = self._keep(warnings)
        self._explain_missing_file(ended, warnings)
        if kept:
            give_up_copies(self._folder, self._workspace.store, self._capture(), self._append, self._is_given_up)

    def _capture(self) -> Capture:
        if self._taken is None:
            self._taken = Capture(self._folder.work, self._workspace.store, self._append, self._kept_folders())
            rows = self._workspace.query.files(self._run_id)
            # What was given to the run need not lie in its folder, and is not missed there.
            self._taken.already_recorded(row for row in rows if not row.uploaded)
        return self._taken

    @cached_property
    def _is_given_up(self) -> bool:
        # By a conductor that died in the middle of it.
        return is_given_up(self._workspace.journal, self._run_id)

    def _keep(self, warnings: list[str]) -> bool:
        if moved_to(self._workspace.layout.root) is not None:
            # What is not here is not gone.
            raise WorkspaceMoved.away_from(self._workspace.layout.root)
        journal, spool = self._workspace.journal, self._folder.spool
        try:
            patiently(lambda: ingest(journal, self._run_id, spool))
        except (OnRecordError, OSError) as problem:
            warnings.append(f"metrics still in {spool} could not be taken in: {in_one_line(problem)}")
        warnings += losses_warning(spool)
        try:
            patiently(lambda: self._take_last_look(warnings))
        except (OnRecordError, OSError) as problem:
            warnings.append(f"files still in {self._folder.work} could not be kept: {in_one_line(problem)}")
            return False
        return True

    def _explain_missing_file(self, ended: Ended, warnings: list[str]) -> None:
        if ended.reason != "exited" or not ended.exit_code:
            return
        source = Path(self._config()["source_directory"])
        hint = missing_file_hint(last_words(self._folder.stderr), self._folder.work, source)
        if hint is not None:
            warnings.append(hint)
        if "No module named 'azureml" in last_words(self._folder.stderr):
            warnings.append("onrecord stands in for azureml where it is asked to: onrecord run --compat azureml SCRIPT")

    def _kept_folders(self) -> tuple[str, ...]:
        return (*FOLDERS, *self._config().get("directories_to_watch", ()))

    def _take_last_look(self, warnings: list[str]) -> None:
        capture = self._capture()
        capture.look(final=True, removals=not self._is_given_up)
        problems = list(capture.problems)
        capture.take(self._own_files())
        if self._config().get("compat"):
            from onrecord.azureml.interpreter import azure_is_there

            problems += azure_is_there(self._inventory_file)
        for path in (self._folder.stdout, self._folder.stderr):
            if self._folder.path.exists() and not path.exists():
                problems.append(f"{path} was removed while the script ran, and with it what the script had printed")
        links = link_warnings(self._folder.work, self._kept_folders())
        snapshot_id = str(self._workspace.query.run(self._run_id).snapshot_id)
        unkept = unkept_warning(self._folder.work, self._workspace.store, snapshot_id, self._kept_folders())
        warnings += dict.fromkeys([*problems, *capture.problems, *links, *([unkept] if unkept else [])])

    def _own_files(self) -> list[tuple[str, Path]]:
        files = [("logs/stdout.txt", self._folder.stdout), ("logs/stderr.txt", self._folder.stderr)]
        files.append((BUILD_LOG, self._folder.build_log))
        if self._inventory_file is not None:
            files.append((INVENTORY, self._inventory_file))
        return [(name, path) for name, path in files if path.exists()]

    @cached_property
    def _inventory_file(self) -> Path | None:
        if self.inventory is None and not self._has_file(INVENTORY):
            # An earlier conductor took its question with it.
            row = self._workspace.query.run(self._run_id)
            self.ask_for_inventory(environment_of(self._config(), self._workspace, row))
        return self.inventory.finish() if self.inventory is not None else None

    def _has_file(self, name: str) -> bool:
        return any(row.name == name for row in self._workspace.query.files(self._run_id))
