"""Runs that are part of another one, and of the process that begins them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from onrecord.errors import OnRecordError
from onrecord.run_interactive import RunInteractive

if TYPE_CHECKING:
    from onrecord.run import Run

_NUMBER = "azureml.batch_child_number"


class BadChildren(OnRecordError):
    """Children that cannot be made as asked. Attributes: `count`, `tag_key`, `tag_values`."""


class RunChildren(RunInteractive):
    """Children are Running at once; whoever began them ends them, or they end with their parent."""

    def child_run(
        self,
        name: str | None = None,
        run_id: str | None = None,
        outputs: str | os.PathLike[str] | bool | None = None,
    ) -> Run:
        """Begin a child: part of this process, with metrics, tags and files of its own.

        `with run.child_run() as child:` ends it, so do `child.complete()`, `fail()` and `cancel()`. `outputs`: a
        folder whose new files are the child's; none by default. Raises BadOutputs, BadRunId, RunExists.
        """
        from onrecord.interactive_folders import kept_folders
        from onrecord.interactive_start import Wanted, begin
        from onrecord.run_ids import checked_new_id

        kept = kept_folders(outputs, default=False)
        wanted = Wanted(checked_new_id(run_id), self._row().experiment, name or "", parent=self.id, kept=kept)
        return begin(self.workspace, [wanted])[0]

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Iterable[object] | None = None
    ) -> list[Run]:
        """Begin several children at once, all or none: `count` of them, or one for each value of a tag.

        Each has its number, from 0, in the tag `azureml.batch_child_number`. Raises BadChildren, BadTag.
        """
        from onrecord.interactive_start import Wanted, begin
        from onrecord.run_ids import checked_new_id

        tags = _tags(count, tag_key, tag_values)
        if not tags:
            return []
        experiment = self._row().experiment
        return begin(self.workspace, [Wanted(checked_new_id(), experiment, "", own, self.id) for own in tags])


def _tags(count: int | None, key: str | None, values: Iterable[object] | None) -> list[dict[str, str]]:
    from onrecord.tag_names import checked_tags

    if count is not None and key is None and values is None and _is_number(count):
        found: list[dict[str, object]] = [{} for _ in range(count)]
    elif count is None and key is not None and values is not None and not isinstance(values, str):
        found = [{key: value} for value in values]
    else:
        raise BadChildren(
            "children are made by their number, or by a tag and its values",
            why=f"count={count!r}, tag_key={key!r}, tag_values={values!r} is neither",
            next_step='run.create_children(count=5), or run.create_children(tag_key="fold", tag_values=range(5))',
            count=count,
            tag_key=key,
            tag_values=values,
        )
    return [checked_tags({**own, _NUMBER: number}) for number, own in enumerate(found)]


def _is_number(count: object) -> bool:
    return isinstance(count, int) and not isinstance(count, bool) and count >= 0
