"""Everything that a script's libraries report, without a change to how it uses them."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from onrecord.errors import OnRecordError

_done: set[str] = set()
# How many fits are going on in this process, in whatever threads: what a fit has fitted in others is part of it.
_fits = 0
_fits_lock = threading.Lock()


class UnknownIntegration(OnRecordError):
    """There is no integration of this name. Attribute: `name`."""


def autolog(*libraries: str, log_level: int | str | None = logging.INFO) -> None:
    """Record what libraries report from now on: Keras, Lightning, transformers, scikit-learn, and Python's logging.

    `libraries`: those wanted (`keras`, `lightning`, `pytorch_lightning`, `transformers`, `sklearn`, `logging`), by
    default all; one that is imported later is taken up then, and one that is never imported costs nothing.
    `log_level`: of the records that go to `logs/log.txt`; None keeps none. Calling it again changes nothing.
    Raises UnknownIntegration.
    """
    for name in libraries:
        if name not in _PATCHES and name != "logging":
            raise UnknownIntegration(
                f"onrecord has no integration of {name!r}",
                why=f"there are {', '.join([*_PATCHES, 'logging'])}",
                next_step="onrecord.autolog() without names takes all of them",
                name=name,
            )
    wanted = [name for name in (libraries or _PATCHES) if name != "logging" and name not in _done]
    _done.update(wanted)
    if log_level is not None and (not libraries or "logging" in libraries):
        _log_records(log_level)
    if wanted:
        _Importer.take_up({_PATCHES[name][0]: _PATCHES[name][1] for name in wanted})


def _log_records(level: int | str) -> None:
    from onrecord.integrations.logs import RunHandler

    root = logging.getLogger()
    if not any(isinstance(handler, RunHandler) for handler in root.handlers):
        root.addHandler(RunHandler(level))


def _patch_keras(module: ModuleType) -> None:
    fit = module.Model.fit

    @functools.wraps(fit)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        from onrecord.integrations.keras import OnRecordCallback

        given = kwargs.get("callbacks")
        # A CallbackList, or an own one that is there already, is left as it is.
        if given is None or (isinstance(given, list) and not any(isinstance(one, OnRecordCallback) for one in given)):
            kwargs["callbacks"] = [*(given or []), OnRecordCallback()]
        return fit(self, *args, **kwargs)

    module.Model.fit = recorded


def _patch_lightning(module: ModuleType) -> None:
    init = module.Trainer.__init__

    @functools.wraps(init)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        from onrecord.integrations.lightning import OnRecordLogger

        # `logger=False` is the wish to log nothing.
        if kwargs.get("logger", True) is not False and not any(isinstance(one, OnRecordLogger) for one in self.loggers):
            self.loggers = [*self.loggers, OnRecordLogger()]

    module.Trainer.__init__ = recorded


def _patch_transformers(module: ModuleType) -> None:
    init = module.Trainer.__init__

    @functools.wraps(init)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        from onrecord.integrations.transformers import OnRecordCallback

        if not any(isinstance(one, OnRecordCallback) for one in self.callback_handler.callbacks):
            self.add_callback(OnRecordCallback)

    module.Trainer.__init__ = recorded


def _patch_sklearn(module: ModuleType) -> None:
    # Every estimator has a `fit` of its own: that of each class is taken up when the class is made, and of those
    # that are there already now.
    base = module.BaseEstimator
    prepare = base.__init_subclass__.__func__

    def prepared(cls: type, /, **kwargs: Any) -> None:
        prepare(cls, **kwargs)
        _record_fit(cls)

    base.__init_subclass__ = classmethod(prepared)
    waiting = [base]
    while waiting:
        kind = waiting.pop()
        _record_fit(kind)
        waiting += kind.__subclasses__()


def _record_fit(kind: type) -> None:
    fit = kind.__dict__.get("fit")
    if fit is None or not callable(fit) or getattr(fit, "_onrecord", False):
        return

    @functools.wraps(fit)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        # An estimator within another, a step of a pipeline or a candidate of a search, is part of that one's fit.
        with _fitting() as is_outermost:
            fitted = fit(self, *args, **kwargs)
            if is_outermost:
                _log_fitted(self, args, kwargs)
        return fitted

    recorded._onrecord = True  # type: ignore[attr-defined]
    kind.fit = recorded  # type: ignore[attr-defined]


@contextmanager
def _fitting() -> Iterator[bool]:
    global _fits
    with _fits_lock:
        is_outermost = _fits == 0
        _fits += 1
    try:
        yield is_outermost
    finally:
        with _fits_lock:
            _fits -= 1


def _log_fitted(estimator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    from onrecord.integrations.scikit_learn import log_estimator

    data, target = kwargs.get("X", args[0] if args else None), kwargs.get("y", args[1] if len(args) > 1 else None)
    can_score = hasattr(estimator, "score") and target is not None
    try:
        log_estimator(estimator, *((data, target) if can_score else ()), score_name="training_score")
    except Exception as problem:
        # What is only reported must not end what is being trained.
        warnings.warn(f"onrecord could not record {type(estimator).__name__}: {problem}", stacklevel=4)


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Takes up modules once they are imported (PEP 451)."""

    def __init__(self, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        self._patches = patches
        self._loaders: dict[str, Any] = {}

    @classmethod
    def take_up(cls, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        """Those that are there at once, the others later."""
        for name in [name for name in patches if name in sys.modules]:
            patches.pop(name)(sys.modules[name])
        if patches:
            sys.meta_path.insert(0, cls(patches))

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The module as others find it, to be taken up when it is loaded."""
        if name not in self._patches or name in self._loaders:
            return None
        # Not to be asked again by the very search that follows.
        self._loaders[name] = None
        found = find_spec(name)
        if found is None or found.loader is None:
            del self._loaders[name]
            return None
        self._loaders[name] = found.loader
        found.loader = self
        return found

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """As its own loader does."""
        made: ModuleType | None = self._loaders[spec.name].create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As its own loader does, and then it is taken up."""
        loader = self._loaders[module.__name__]
        if module.__spec__ is not None:
            module.__spec__.loader = loader
        module.__loader__ = loader
        loader.exec_module(module)
        self._patches.pop(module.__name__)(module)


_PATCHES: dict[str, tuple[str, Callable[[ModuleType], None]]] = {
    "keras": ("keras", _patch_keras),
    "lightning": ("lightning.pytorch", _patch_lightning),
    "pytorch_lightning": ("pytorch_lightning", _patch_lightning),
    "transformers": ("transformers.trainer", _patch_transformers),
    "sklearn": ("sklearn.base", _patch_sklearn),
}
