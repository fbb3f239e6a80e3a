"""Models made of a run's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from onrecord.run_handle import RunHandle

if TYPE_CHECKING:
    from onrecord.model import Model


class RunModels(RunHandle):
    """A model names files of the run as they are when it is registered; a later version of a file changes no model."""

    def register_model(
        self,
        model_name: str,
        model_path: str | os.PathLike[str] | None = None,
        tags: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        model_framework: object = None,
        model_framework_version: object = None,
        description: str | None = None,
        **ignored: object,
    ) -> Model:
        """A new version of the model `model_name`, made of the run's file `model_path`, or of all below a folder.

        `model_path` is the name by default. In the script, what lies in `outputs/` counts as it is now, and need
        not be on record yet. What else Azure ML takes (datasets, sample inputs, a resource configuration …) is
        accepted and not kept. Raises BadModelName, ModelPathNotFound with names of files that are near, TooLong.
        """
        from onrecord.model import Model, words_of
        from onrecord.model_registry import register_from_run

        words = words_of(tags, properties, description, model_framework, model_framework_version)
        path = None if model_path is None else os.fspath(model_path)
        return Model.of_row(self.workspace, register_from_run(self.workspace, self.id, model_name, path, words))
