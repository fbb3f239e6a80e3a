"""scikit-learn: what an estimator was set to, how well it does, and every candidate of a search."""

from __future__ import annotations

from typing import Any

from onrecord.integrations.recording import keep_parameters, loggable, run_or_current
from onrecord.run import Run

_COLUMNS = ("mean_test_", "mean_train_", "param_")
_FIRST_COLUMNS = ("rank_test_score", "mean_test_score", "std_test_score")


def log_estimator(
    estimator: Any,
    X: Any = None,  # noqa: N803 - scikit-learn's own name
    y: Any = None,
    *,
    run: Run | None = None,
    prefix: str = "",
    score_name: str = "score",
) -> None:
    """Record a fitted estimator: its parameters as tags, and with `X` its score there as the metric `score_name`.

    Of a search (GridSearchCV and its likes): its candidates as the table `search`, `best_score`, and the best
    parameters as tags. `prefix` goes before the metrics' names, for several estimators in one run.
    """
    into = run_or_current(run)
    name = type(estimator).__name__
    keep_parameters(into, f"{prefix}{name}", estimator.get_params(deep=False))
    if hasattr(estimator, "cv_results_"):
        _log_search(into, estimator, prefix)
    if X is not None:
        score = estimator.score(X, y) if y is not None else estimator.score(X)
        into.log_many(loggable({f"{prefix}{score_name}": score}))


def _log_search(run: Run, search: Any, prefix: str) -> None:
    results = search.cv_results_
    names = [name for name in _FIRST_COLUMNS if name in results]
    names += [name for name in results if name.startswith(_COLUMNS) and name not in names]
    run.log_table(f"{prefix}search", {name: [_plain(value) for value in results[name]] for name in names})
    if hasattr(search, "best_score_"):
        run.log_many(loggable({f"{prefix}best_score": search.best_score_}))
    if hasattr(search, "best_params_"):
        keep_parameters(run, f"{prefix}best", search.best_params_)


def _plain(value: Any) -> Any:
    item = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
    return item if isinstance(item, int | float | str | bool) else str(item)
