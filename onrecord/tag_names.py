"""Tags as they are recorded: names that can be asked for, and text."""

from __future__ import annotations

from collections.abc import Mapping

from onrecord.errors import OnRecordError


class BadTag(OnRecordError):
    """A name that a tag cannot have. Attribute: `name`."""


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
    return plain
