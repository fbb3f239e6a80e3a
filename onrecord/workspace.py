"""A workspace: the folder that keeps the ledger, the objects and the runs of a project."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.errors import OnRecordError
from onrecord.layout import FOLDER, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onrecord.compute_target import ComputeTarget
    from onrecord.environment import Environment
    from onrecord.experiment import Experiment
    from onrecord.ledger.filter_tree import Filter
    from onrecord.ledger.journal import Journal
    from onrecord.ledger.query import Query
    from onrecord.model import Model
    from onrecord.run import Run
    from onrecord.snapshot.store import Store

VARIABLE = "ONRECORD_WORKSPACE"
_PAGE = 200


class WorkspaceNotFound(OnRecordError):
    """No workspace here. Attribute: `searched`, the folders that were looked at."""


class WorkspaceExists(OnRecordError):
    """There is a workspace already. Attribute: `path`."""


class Workspace:
    """One project's history. `path` is the project's folder; everything lies in its `.onrecord` folder.

    Azure ML's form is taken too: `Workspace(subscription_id, resource_group, workspace_name)` is the workspace of
    that name, see `get`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        resource_group: str | None = None,
        workspace_name: str | None = None,
        auth: object = None,
        *,
        subscription_id: str | None = None,
        **azure: object,
    ) -> None:
        _refuse_unknown(azure, "Workspace")
        if workspace_name is not None:
            given = subscription_id if subscription_id is not None else path
            from onrecord.known_workspaces import folder_of

            path = folder_of(workspace_name, None if given is None else os.fspath(given), resource_group)
        self.path = Path(path if path is not None else ".").absolute()
        self.layout = Layout(self.path / FOLDER)
        if not self.layout.config.is_file():
            raise WorkspaceNotFound(
                f"{self.path} is not a workspace",
                why=_what_is_wrong(self.layout.root),
                next_step=f"onrecord init {self.path}   (or in Python: Workspace.create({str(self.path)!r}))",
                searched=[self.path],
            )

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        name: str | None = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        exist_ok: bool = False,
        **azure: object,
    ) -> Workspace:
        """Make a workspace in the folder `path`, which is made too when it is missing.

        `name`, by default the folder's, and Azure ML's `subscription_id`, `resource_group` and `location` are kept as
        they are given. With one of those the first argument is the name, as Azure ML has it, and the folder the
        current one; what else its `create` takes is ignored. Raises WorkspaceExists unless `exist_ok`,
        BadWorkspaceName, and LedgerOnNetwork.
        """
        _refuse_unknown(azure, "Workspace.create")
        given = {"name": name, "subscription_id": subscription_id, "resource_group": resource_group}
        if path != "." and name is None and (subscription_id is not None or resource_group is not None):
            given["name"], path = os.fspath(path), "."
        settings = _settings({**given, "location": location})
        layout = Layout(Path(path).absolute() / FOLDER)
        if layout.config.is_file() and not exist_ok:
            raise WorkspaceExists(
                f"{layout.root.parent} is a workspace already",
                next_step="Workspace.from_config() opens it; Workspace.create(path, exist_ok=True) takes either",
                path=layout.root.parent,
            )
        from onrecord.ledger.db import refuse_network

        refuse_network(layout.ledger)
        try:
            _make_folders(layout, settings)
        except OSError as problem:
            raise OnRecordError(
                f"cannot make a workspace in {layout.root.parent}",
                why=str(problem),
                next_step="choose a folder that you can write: onrecord init DIRECTORY",
                path=layout.root.parent,
            ) from problem
        workspace = cls(layout.root.parent)
        workspace.journal.size()
        return workspace

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        auth: object = None,
        _logger: object = None,
        _file_name: str | None = None,
    ) -> Workspace:
        """The workspace found from `path` (default: the current folder) upward, as git finds its repository.

        Where there is none, a `config.json` that `write_config` wrote leads to its workspace; `path` may be one. The
        environment variable ONRECORD_WORKSPACE, a project's folder or its `.onrecord`, wins over the current folder.
        Raises WorkspaceNotFound with the folders that were searched, NoWorkspaceInConfig for a file that Azure wrote.
        `auth` is accepted for Azure ML's sake.
        """
        given = path or os.environ.get(VARIABLE)
        start = Path(given or ".").absolute()
        if start.name == FOLDER:
            start = start.parent
        if given and not path:
            return cls._from_variable(start, given)
        if start.is_file():
            if start.suffix == ".json":
                from onrecord.workspace_identity import folder_named_in

                return cls(folder_named_in(start))
            start = start.parent
        searched = [start, *start.parents]
        for folder in searched:
            if (folder / FOLDER).is_dir():
                return cls(folder)
        # Only then: the nearest workspace counts, and most projects have no such file.
        from onrecord.workspace_identity import config_file_in, folder_named_in

        for folder in searched:
            if (file := config_file_in(folder, _file_name)) is not None:
                return cls(folder_named_in(file))
        raise WorkspaceNotFound(
            f"there is no workspace in {start} or in a folder above it",
            why="searched " + ", ".join(str(folder / FOLDER) for folder in searched),
            next_step="onrecord init   (or in Python: Workspace.create('.'))",
            searched=searched,
        )

    @classmethod
    def _from_variable(cls, start: Path, given: str | os.PathLike[str]) -> Workspace:
        try:
            return cls(start)
        except WorkspaceNotFound as problem:
            raise WorkspaceNotFound(
                f"{VARIABLE} is {os.fspath(given)}, which is not a workspace",
                why=problem.why,
                next_step=f"unset {VARIABLE}, or let it name the folder of a workspace ({problem.next_step})",
                searched=[start],
            ) from None

    @classmethod
    def get(
        cls,
        name: str,
        auth: object = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        **azure: object,
    ) -> Workspace:
        """The workspace of that name: the one found from the current folder upward, or one that was used before.

        Where `subscription_id` or `resource_group` are given, they are compared with what it was created with; one
        that was created without them fits any. Raises WorkspaceNotFound with the names that are known.
        """
        from onrecord.known_workspaces import folder_of

        _refuse_unknown(azure, "Workspace.get")
        return cls(folder_of(name, subscription_id, resource_group))

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str | None = None) -> Path:
        """Write `.azureml/config.json` into a folder, by default the current one: `from_config` there leads here."""
        from onrecord.workspace_identity import write_config_file

        return write_config_file(self.path, self._identity, Path(path or "."), file_name)

    @cached_property
    def _identity(self) -> dict[str, str]:
        from onrecord.workspace_identity import LOCAL, identity_in

        return {"name": self.path.name, **LOCAL, **identity_in(self.layout.config)}

    @property
    def name(self) -> str:
        """The name that it was created with, or the project folder's."""
        return self._identity["name"]

    @property
    def subscription_id(self) -> str:
        """As it was created with, else `local`; means nothing here."""
        return self._identity["subscription_id"]

    @property
    def resource_group(self) -> str:
        """As it was created with, else `local`; means nothing here."""
        return self._identity["resource_group"]

    @property
    def location(self) -> str:
        """As it was created with, else `local`; means nothing here."""
        return self._identity["location"]

    def get_details(self) -> dict[str, str]:
        """What it is and where: `id` and `path` are the project's folder, the other names are Azure ML's."""
        named = {"subscriptionId": self.subscription_id, "resourceGroup": self.resource_group}
        known = {"id": str(self.path), "name": self.name, "location": self.location, **named}
        return {**known, "type": "onrecord.workspace", "path": str(self.path), "ledger": str(self.layout.ledger)}

    @cached_property
    def journal(self) -> Journal:
        """The ledger's events."""
        from onrecord.ledger.journal import Journal

        return Journal(self.layout.ledger)

    @cached_property
    def query(self) -> Query:
        """Questions to the ledger."""
        from onrecord.ledger.query import Query

        return Query(self.journal)

    @cached_property
    def store(self) -> Store:
        """The content-addressed objects."""
        from onrecord.snapshot.store import Store

        return Store(self.layout.objects)

    @property
    def compute_targets(self) -> dict[str, ComputeTarget]:
        """Where runs can go: `local`, what config.toml describes, and installed executors. Raises BadTarget."""
        from onrecord.compute_target import targets_of

        return targets_of(self)

    @property
    def experiments(self) -> dict[str, Experiment]:
        """Experiments that have runs, by name."""
        from onrecord.experiment import Experiment

        return {name: Experiment(self, name) for name in self.query.experiments()}

    @property
    def environments(self) -> dict[str, Environment]:
        """The newest version of each registered environment, and the curated ones, by name."""
        from onrecord.environments import newest

        return newest(self)

    @property
    def models(self) -> dict[str, Model]:
        """The newest version of each registered model, by name."""
        from onrecord.model import Model

        return {model.name: model for model in Model.list(self, latest=True)}

    def runs(self, wanted: str | Filter = "", *, as_of: int | str | None = None) -> Iterator[Run]:
        """Runs that a filter asks for, in its order or newest first; at most its `limit` of them.

        Archived runs only where the filter names `archived`.

        For example `ws.runs('metrics.loss < 0.5 and tags.team = "a" order by metrics.loss limit 10')`, as
        `onrecord ls` takes it; `as_of` asks the ledger as it was after an event or at a time. Pages of rows
        are at `ws.query.search`. Raises BadFilter with the place in the text.
        """
        from onrecord.ledger.filter_tree import with_active_only
        from onrecord.run import Run

        query = self.query if as_of is None else self.query.at(as_of)
        found = with_active_only(query.parsed(wanted))
        left, after = found.limit, None
        while left is None or left > 0:
            page = query.search(found, after=after, limit=min(left or _PAGE, _PAGE))
            yield from (Run(self, row.run_id) for row in page.rows)
            after, left = page.next, None if left is None else left - len(page.rows)
            if after is None:
                return

    def get_run(self, run_id: str) -> Run:
        """The run with this id, a unique start of it, `@last`, or `@best:METRIC` (`@best:max:METRIC`).

        Raises UnknownRun, AmbiguousRun, BadRunId.
        """
        from onrecord.run import Run

        return Run(self, self.query.find(run_id))

    def recover(self, wait_seconds: float = 2.0) -> list[str]:
        """Take care of runs whose conductor died: carry them on, or record truthfully how they ended.

        Returns their ids. Called by every command; waits at most `wait_seconds` for the truth.
        """
        from onrecord.recovery import recover

        return recover(self, wait_seconds)

    def close(self) -> None:
        """Close the ledger; the next use opens it again."""
        if "journal" in self.__dict__:
            self.journal.close()

    # Last, because no annotation after it can name the built-in list.
    @staticmethod
    def list(
        subscription_id: str | None = None, auth: object = None, resource_group: str | None = None
    ) -> dict[str, list[Workspace]]:
        """The workspaces that this user has worked with on this machine, by name; `get` finds one of them."""
        from onrecord.known_workspaces import known_workspaces

        return known_workspaces(subscription_id, resource_group)

    def _repr_html_(self) -> str:
        from onrecord.run_card import workspace_html

        return workspace_html(self)

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"


def _refuse_unknown(given: Mapping[str, object], call: str) -> None:
    """What only a cloud needs is ignored; a keyword that not even Azure ML has is a mistake."""
    if not given:
        return
    from onrecord.workspace_identity import AZURE_ONLY

    for name in given:
        if name not in AZURE_ONLY and not name.startswith("_"):
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}")


def _settings(given: dict[str, str | None]) -> str:
    if not any(given.values()):
        return ""
    from onrecord.workspace_identity import checked_name, settings_text

    if given["name"] is not None:
        checked_name(given["name"])
    return settings_text(given)


def _make_folders(layout: Layout, settings: str) -> None:
    layout.root.mkdir(parents=True, exist_ok=True)
    layout.runs.mkdir(exist_ok=True)
    layout.caches.mkdir(exist_ok=True)
    # git leaves the folder alone without anyone editing the project's .gitignore.
    (layout.root / ".gitignore").write_text("*\n")
    if not layout.config.exists():
        from onrecord.anchors import forget

        forget(layout.root)
        layout.config.write_text(f"# Settings of this onrecord workspace.\nversion = 1\n{settings}")


def _what_is_wrong(root: Path) -> str:
    if root.is_dir():
        return f"{root} has no config.toml: it was not made by onrecord, or not to the end"
    if root.exists():
        return f"{root} is a file, not a folder"
    return f"there is no {root}"
