"""The import of `azureml` and everything below it, answered from the table."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from onrecord.azureml import shim_folder, with_shim
from onrecord.azureml.table import ABSENT_MODULES, ABSENT_NAMES, MODULES
from onrecord.errors import OnRecordError

TOP = "azureml"
_MARK = "__onrecord__"


class AzureIsLoaded(OnRecordError):
    """Azure's own modules are in use in this process."""


class AzureFinder(MetaPathFinder, Loader):
    """Makes the modules of the table; nothing behind a name is imported before the name is used."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of the table. Raises ModuleNotFoundError for what is not here, with what to do instead."""
        if fullname != TOP and not fullname.startswith(f"{TOP}."):
            return None
        if fullname not in MODULES:
            raise ModuleNotFoundError(_absent(fullname), name=fullname)
        return ModuleSpec(fullname, self, origin="onrecord.azureml", is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Give a new module its names."""
        _furnish(module)


def install() -> None:
    """Answer imports of azureml in this process, and in those that it starts. Raises AzureIsLoaded."""
    loaded = sys.modules.get(TOP)
    if loaded is not None and not hasattr(loaded, _MARK):
        raise AzureIsLoaded(
            "azureml is imported already, and it is Azure's own",
            why=f"it is in {list(getattr(loaded, '__path__', []))}",
            next_step="call onrecord.azureml.install() before the first import of azureml, in a new process",
        )
    if not is_installed():
        sys.meta_path.insert(0, AzureFinder())
        # For what is started from here; and for workers that multiprocessing spawns, which get this process's path.
        os.environ["PYTHONPATH"] = with_shim(os.environ.get("PYTHONPATH", ""))
        if shim_folder() not in sys.path:
            sys.path.insert(1, shim_folder())


def is_installed() -> bool:
    """Whether imports of azureml are answered here."""
    return any(isinstance(finder, AzureFinder) for finder in sys.meta_path)


def take_the_place_of(name: str) -> None:
    """Make of the package on the PYTHONPATH, which is being imported, the top of the table."""
    _furnish(sys.modules[name])
    if not is_installed():
        sys.meta_path.insert(0, AzureFinder())


def _furnish(module: ModuleType) -> None:
    module.__dict__.update(
        __path__=[],
        __getattr__=_attribute_of(module.__name__),
        __dir__=lambda: sorted(MODULES[module.__name__]),
        __all__=list(MODULES[module.__name__]),
        **{_MARK: True},
    )


def _attribute_of(module: str) -> Callable[[str], object]:
    def attribute(name: str) -> object:
        home = MODULES[module].get(name)
        if home is not None:
            place, _, wanted = home.partition(":")
            value: object = getattr(importlib.import_module(place), wanted)
            setattr(sys.modules[module], name, value)
            return value
        if f"{module}.{name}" in MODULES:
            return importlib.import_module(f"{module}.{name}")
        if name.startswith("_"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # Not an AttributeError: `from … import …` would put a text of its own in its place.
        raise ImportError(_absent(f"{module}.{name}"), name=module)

    return attribute


def _absent(wanted: str) -> str:
    told = ABSENT_NAMES.get(wanted.rpartition(".")[2], "")
    above = wanted
    while not told and above:
        told = ABSENT_MODULES.get(above, "")
        above = above.rpartition(".")[0]
    return "\n".join(
        line
        for line in (
            f"onrecord has no {wanted}",
            f"  why: {told.partition(' | ')[0]}" if told else "",
            f"  next: {told.partition(' | ')[2] or 'docs/azureml.md lists what there is'}",
        )
        if line
    )
