"""Names of files of a run: paths from the top of the run with `/` between their parts, and nothing that leaves it."""

from __future__ import annotations

from pathlib import Path

from onrecord.errors import OnRecordError
from onrecord.snapshot.errors import shown

# As long as Azure ML allows; a part as long as any file system takes.
LONGEST = 5_000
LONGEST_PART = 255
# What the conductor itself writes under these names would be hidden by another content.
_OWN = ("onrecord/", "logs/stdout.txt", "logs/stderr.txt")


class BadFileName(OnRecordError):
    """A name that no file of a run can have. Attribute: `name`."""


def checked_file_name(name: object) -> str:
    r"""The name; BadFileName for one that cannot be written into a folder again, or that is onrecord's own.

    >>> checked_file_name("outputs/model.pkl")
    'outputs/model.pkl'
    """
    if not isinstance(name, str):
        raise _bad(name, f"a name is text, and this is of type {type(name).__name__}", "name='outputs/model.pkl'")
    if not name:
        raise _bad(name, "it is empty", "name='outputs/model.pkl'")
    problem = _problem(name)
    if problem:
        raise _bad(name, problem, f"for example {shown(_suggestion(name))}")
    if name.startswith(_OWN[0]) or name in _OWN[1:]:
        raise _bad(name, "onrecord itself writes under this name", f"for example {shown('outputs/' + name)}")
    return name


def _problem(name: str) -> str:
    parts = name.split("/")
    if "\0" in name:
        return "no file system has names with a NUL"
    if name.startswith("/"):
        return "it is an absolute path, and files of a run are named from the run's top"
    if name.endswith("/"):
        return "it ends with a slash, as the name of a folder (run.upload_folder takes one)"
    if ".." in parts:
        return "it leads out of the run ('..')"
    if "" in parts or "." in parts:
        return "it has an empty part, or the part '.'"
    if len(name) > LONGEST:
        return f"it has {len(name):,} characters, and {LONGEST:,} are possible"
    if max(len(part.encode("utf-8", "surrogatepass")) for part in parts) > LONGEST_PART:
        return f"a part of it has more than {LONGEST_PART} bytes, which no file system takes"
    return ""


def _suggestion(name: str) -> str:
    parts = [part[:100] for part in name.replace("\0", "").split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[-200:].lstrip("/") or "outputs/file"


def place_in(folder: Path, name: str) -> Path:
    """Where a file of a run comes to lie below a folder. BadFileName for a name that leads out of it.

    A run that was brought in from elsewhere may have any name.
    """
    if "\0" in name or name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise _bad(name, "it leads out of the folder, or to no file", "run.download_file(name, output_file_path)")
    return folder / name


def _bad(name: object, why: str, next_step: str) -> BadFileName:
    spelled = shown(name) if isinstance(name, str | bytes) else repr(name)
    brief = spelled if len(spelled) <= 80 else f"{spelled[:60]}…"
    return BadFileName(f"'{brief}' cannot be the name of a file of a run", why=why, next_step=next_step, name=name)
