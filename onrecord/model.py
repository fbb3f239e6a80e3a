"""A model: files under a name and a version, of a run or of elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord import model_registry as registry
from onrecord.errors import OnRecordError
from onrecord.ledger.events import ModelChanged
from onrecord.ledger.models import ModelRow
from onrecord.model_registry import Words
from onrecord.tag_names import checked_tags
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.run import Run


class Model:
    """One version of a registered model: the newest of its name, unless another is asked for.

    Its files never change. `name`, `version` (from 1), `run_id` (None where it was not made of a run's files),
    `path` (what it was made of), `description`, `model_framework`, `model_framework_version`, `created_by`, and
    `tags` and `properties` as they were when this object was made; `row` is all that is stored.
    """

    def __init__(self, workspace: Workspace, name: str | None = None, id: str | None = None,
                 version: str | int | None = None) -> None:  # fmt: skip
        """By its name, and a version; or by its `id`, which is `name:version`. Raises UnknownModel."""
        if id is not None:
            name, _, version = id.partition(":")
        if not name:
            raise OnRecordError("a model is found by its name", next_step="Model(workspace, 'my-model')", name=name)
        self.workspace = workspace
        self._take(registry.find(workspace, name, version or None))

    @classmethod
    def of_row(cls, workspace: Workspace, row: ModelRow) -> Model:
        """A version that was read already."""
        model = cls.__new__(cls)
        model.workspace = workspace
        model._take(row)
        return model

    def _take(self, row: ModelRow) -> None:
        self.row = row
        self.name, self.version, self.run_id = row.name, row.number, row.run
        self.path, self.description = row.path, row.description
        self.model_framework = row.framework or None
        self.model_framework_version = row.framework_version or None
        self.tags, self.properties, self.created_by = dict(row.tags), dict(row.properties), row.by

    @staticmethod
    def list(
        workspace: Workspace,
        name: str | None = None,
        tags: str | Mapping[str, str] | Sequence[str | Sequence[str]] | None = None,
        properties: str | Mapping[str, str] | Sequence[str | Sequence[str]] | None = None,
        run_id: str | None = None,
        latest: bool = False,
    ) -> list[Model]:
        """Versions, newest first; with all these tags and properties, each a name or a name and its value.

        `latest`: only the newest version of each name.
        """
        rows = registry.models(workspace, name)
        if latest:
            newest: dict[str, ModelRow] = {}
            for row in rows:
                newest.setdefault(row.name, row)
            rows = [*newest.values()]
        wanted_tags, wanted_properties = _pairs(tags), _pairs(properties)
        return [
            Model.of_row(workspace, row)
            for row in rows
            if _has(row.tags, wanted_tags) and _has(row.properties, wanted_properties) and run_id in (None, row.run)
        ]

    @staticmethod
    def register(
        workspace: Workspace,
        model_path: str | os.PathLike[str],
        model_name: str,
        tags: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        description: str | None = None,
        *,
        model_framework: object = None,
        model_framework_version: object = None,
        **ignored: object,
    ) -> Model:
        """A new version made of a file of this machine, or of all below a folder: copies of them are kept.

        What else Azure ML takes (datasets, sample inputs, a resource configuration …) is accepted and not kept.
        Raises BadModelName, ModelPathNotFound, BadUpload, TooLong, DiskFull.
        """
        words = words_of(tags, properties, description, model_framework, model_framework_version)
        return Model.of_row(workspace, registry.register_from_files(workspace, model_name, model_path, words))

    @property
    def id(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def url(self) -> str:
        """Its id in Azure ML's form; `download` needs none."""
        return f"aml://asset/{self.id}"

    @property
    def run(self) -> Run | None:
        """The run whose files it is made of, if any."""
        return self.workspace.get_run(self.run_id) if self.run_id is not None else None

    @property
    def created_time(self) -> datetime:
        """When it was registered, UTC."""
        return datetime.fromtimestamp(self.row.at / 1e6, UTC)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(self.row.sizes.values())

    def get_file_names(self) -> Sequence[str]:
        """Its files, sorted: one of its own name, or those below its folder, with the folder's name."""
        return sorted(self.row.contents)

    def download(
        self, target_dir: str | os.PathLike[str] = ".", exist_ok: bool = False, exists_ok: bool | None = None
    ) -> Path:
        """Write its file, or its folder, into `target_dir`, verified; returns the path of it.

        What is there already is refused unless `exist_ok` (or, as Azure ML also spells it, `exists_ok`); then
        files of the same names are replaced, and what has arrived already is not written again. Raises
        BadDestination, BadFileName, ObjectCorrupt, DiskFull.
        """
        from onrecord.downloading import BadDestination, Download, download
        from onrecord.file_names import place_in

        target = Path(target_dir)
        top = place_in(target, self.get_file_names()[0].partition("/")[0])
        if not (exist_ok or exists_ok) and os.path.lexists(top):
            raise BadDestination(
                f"{top} is there already",
                why="nothing of yours is overwritten unasked",
                next_step="another folder, or --force (in Python exist_ok=True)",
                path=top,
            )
        row = self.row
        download(
            self.workspace.store,
            [Download(row.contents[name], row.sizes[name], place_in(target, name)) for name in row.contents],
        )
        return top

    def add_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags to new values. Raises BadTag, UnknownModel where it was deleted."""
        self._change(ModelChanged(name=self.name, number=self.version, tags=checked_tags(tags)))

    def remove_tags(self, tags: Sequence[str]) -> None:
        """Remove tags by name; names that are not there are ignored."""
        removed = [tags] if isinstance(tags, str) else [str(name) for name in tags]
        self._change(ModelChanged(name=self.name, number=self.version, removed=removed))

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Add properties; each is written once. Raises PropertyExists, and then none is added."""
        self._change(ModelChanged(name=self.name, number=self.version, properties=checked_tags(properties)))

    def update(self, tags: Mapping[str, object] | None = None, description: str | None = None) -> None:
        """Set all its tags (those that are not named go) and its description, where they are given."""
        wanted = checked_tags(tags) if tags is not None else {}
        removed = [name for name in self.tags if name not in wanted] if tags is not None else []
        words = words_of(None, None, description).description if description is not None else None
        self._change(ModelChanged(name=self.name, number=self.version, tags=wanted, removed=removed, description=words))

    def delete(self) -> None:
        """This version is no longer to be had; files of a run stay with it. Raises UnknownModel."""
        registry.delete(self.workspace, self.name, self.version)

    def _change(self, event: ModelChanged) -> None:
        self._take(registry.change(self.workspace, event))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and (other.id, other.workspace.path) == (self.id, self.workspace.path)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, version={self.version}, run_id={self.run_id!r})"


def words_of(
    tags: Mapping[str, object] | None,
    properties: Mapping[str, object] | None,
    description: str | None,
    framework: object = None,
    framework_version: object = None,
) -> Words:
    """What a caller says of a model, None as nothing."""
    return Words(
        description or "",
        "" if framework is None else str(framework),
        "" if framework_version is None else str(framework_version),
        tags,
        properties,
    )


def _pairs(wanted: str | Mapping[str, str] | Sequence[str | Sequence[str]] | None) -> dict[str, str | None]:
    # As Azure ML takes them: a name, names, or pairs of a name and a value.
    if wanted is None or isinstance(wanted, str):
        return {} if wanted is None else {wanted: None}
    if isinstance(wanted, Mapping):
        return dict(wanted)
    pairs = [(item, None) if isinstance(item, str) else (item[0], item[1]) for item in wanted]
    return dict(pairs)


def _has(found: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    return all(name in found and value in (None, found[name]) for name, value in wanted.items())
