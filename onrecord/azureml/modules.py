"""The modules themselves: made when they are imported, their names looked up when they are used."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from onrecord.azureml.names import INSTEAD, INSTEAD_OF_NAMES, MODULES
from onrecord.errors import OnRecordError


class NotInOnrecord(OnRecordError, ImportError):
    """A name of Azure ML that nothing stands for here. Attribute: `wanted`."""


class AzureModule(ModuleType):
    """One of Azure ML's modules, with the names that stand for something of onrecord."""

    def __getattr__(self, name: str) -> Any:
        home = MODULES.get(self.__name__, {}).get(name)
        if home is not None:
            module, _, attribute = home.partition(":")
            value = getattr(import_module(module), attribute)
            setattr(self, name, value)
            return value
        if f"{self.__name__}.{name}" in _KNOWN:
            return import_module(f"{self.__name__}.{name}")
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        raise _missing(f"{self.__name__}.{name}", INSTEAD_OF_NAMES.get(name, ""), MODULES.get(self.__name__, {}))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *MODULES.get(self.__name__, {})})


class _Finder(MetaPathFinder, Loader):
    """Finds what the table names, and says of the rest of Azure ML that it is not there (PEP 451)."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's specification. Raises NotInOnrecord for one below `azureml` that nothing stands for."""
        if not name.startswith("azureml."):
            return None
        if name not in _KNOWN:
            instead = next((INSTEAD[part] for part in _and_above(name) if part in INSTEAD), "")
            raise _missing(name, instead, MODULES)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty one."""
        return AzureModule(spec.name, "Azure ML's name for what onrecord has.")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: names are looked up when they are used."""


def find() -> None:
    """Have the modules found in this process, before anything else of their names."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _and_above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 1, -1)]


# Also those between: `azureml.train` is there, so that `azureml.train.hyperdrive` can say that it is not.
_KNOWN = {part for name in (*MODULES, "azureml.train.x") for part in _and_above(name)} - {"azureml.train.x"}


def _missing(wanted: str, instead: str, known: Iterable[str]) -> NotInOnrecord:
    from difflib import get_close_matches

    near = get_close_matches(wanted if wanted in MODULES else wanted.rpartition(".")[2], [*known])
    return NotInOnrecord(
        f"onrecord has nothing for {wanted}",
        why=f"did you mean {' or '.join(near)}?" if near else "it stands in for the part of Azure ML that trains",
        next_step=instead or "the names that are there are listed in docs/azureml.md",
        wanted=wanted,
    )
