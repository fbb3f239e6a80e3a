"""Pictures that a script logs: a file, or a plot that can save itself."""

from __future__ import annotations

import io
import os
import re
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

from onrecord.metric_values import BadMetric

# How files of these kinds begin (what Python's `imghdr` knew, which is gone since 3.13).
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"),
    (b"II*\0", ".tif"), (b"MM\0*", ".tif"),
)  # fmt: skip
_LONGEST_STEM = 100


class Picture(NamedTuple):
    """A picture: its name among the run's files, and its content."""

    file: str
    content: bytes


def reference(run_id: str, file: str) -> str:
    """How `get_metrics` names a picture, as Azure ML does."""
    return f"aml://artifactId/ExperimentRun/dcid.{run_id}/{file}"


def picture_of(name: str, path: str | os.PathLike[str] | None, plot: Any) -> Picture:
    """The picture that is to be logged under a metric's name. Raises BadMetric for what is none."""
    if (path is None) == (plot is None):
        both = "both a path and a plot" if path is not None else "neither a path nor a plot"
        raise _bad(name, f"was given {both}", "exactly one of them is wanted")
    content, suffix = _drawn(name, plot) if path is None else _read(name, path)
    # A name may be any text; in a file's name only what every file system takes.
    stem = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._")[:_LONGEST_STEM] or "image"
    return Picture(f"images/{stem}_{time.time_ns()}{suffix}", content)


def _drawn(name: str, plot: Any) -> tuple[bytes, str]:
    save = getattr(plot, "savefig", None)
    if not callable(save):
        # What a seaborn or pandas plot gives are axes.
        save = getattr(getattr(plot, "figure", None), "savefig", None)
    if not callable(save):
        raise _bad(name, f"was given a {type(plot).__name__} to draw", "a plot is something with a method 'savefig'")
    buffer = io.BytesIO()
    save(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue(), ".png"


def _read(name: str, path: str | os.PathLike[str]) -> tuple[bytes, str]:
    try:
        # A pipe that nobody writes to would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a path may be anything that os takes
            raise _bad(name, f"cannot be read from '{os.fspath(path)}'", "it is no file")
        content = Path(path).read_bytes()
    except (OSError, ValueError, TypeError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise _bad(name, f"cannot be read from {path!r}", why) from problem
    for start, suffix in _SIGNATURES:
        if content.startswith(start):
            return content, suffix
    import mimetypes

    suffix = Path(path).suffix.lower()
    if not (mimetypes.guess_type(f"x{suffix}")[0] or "").startswith("image/"):
        raise _bad(name, f"cannot be read from '{os.fspath(path)}'", "it is no picture, by its content and its name")
    return content, suffix


def _bad(name: str, said: str, why: str) -> BadMetric:
    return BadMetric(
        f"the image '{name}' {said}",
        why=why,
        next_step=f"run.log_image({name!r}, path='figure.png')   (or plot=figure)",
        name=name,
        value=None,
    )
