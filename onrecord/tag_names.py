"""Tags and texts as they are recorded: names that can be asked for, and text of a size that can be shown."""

from __future__ import annotations

from collections.abc import Mapping

from onrecord.errors import OnRecordError

# Bytes. They are in every list of runs.
_LONGEST_NAME, _LONGEST_VALUE = 1_000, 100_000


class BadTag(OnRecordError):
    """A name that a tag cannot have. Attribute: `name`."""


class BadText(OnRecordError):
    """A text that cannot be recorded. Attribute: `field`."""


def checked_text(field: str, text: object, most: int, *, must_say: bool = False) -> str:
    """The text of a name, a description, a note; `most` bytes. Raises BadText, and TooLong, before it is recorded."""
    if not isinstance(text, str):
        raise BadText(f"a {field} is text, and this is of type {type(text).__name__}", field=field)
    if must_say and not text.strip():
        raise BadText(f"an empty {field}", why="it would say nothing", next_step='run.add_note("…")', field=field)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > most:
        from onrecord.run_errors import TooLong

        raise TooLong(
            f"the {field} has {size:,} bytes, and {most:,} are kept",
            next_step="run.upload_file keeps a text of any size as a file of the run",
            found=size,
            most=most,
        )
    return text


def checked_tags(tags: Mapping[str, object]) -> dict[str, str]:
    """Names and values as text, None as the empty one. Raises BadTag for an empty name, which no filter can ask for."""
    plain = {str(name): "" if value is None else str(value) for name, value in tags.items()}
    if "" in plain:
        raise BadTag(
            "a tag without a name",
            why=f"runs are found by the names of their tags, and nothing stands before {'=' + plain['']!r}",
            next_step="NAME=VALUE, or NAME alone: onrecord run --tag team=vision …",
            name="",
        )
    for name, value in plain.items():
        checked_text("name of a tag", name, _LONGEST_NAME)
        checked_text(f"value of the tag '{name}'", value, _LONGEST_VALUE)
    return plain
