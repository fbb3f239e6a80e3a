"""What a filter means, worked out in Python over runs held in memory: slow, plain, and without any SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from onrecord.ledger.arguments import number
from onrecord.ledger.filter_tree import (
    And,
    Compare,
    Exists,
    Field,
    Filter,
    Kin,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    Words,
)
from onrecord.ledger.query import Facts, RunRow

_ASCII = {upper: upper + 32 for upper in range(65, 91)}


class Said(NamedTuple):
    """What people said of a run; None where they said nothing."""

    description: str | None
    notes: str | None
    archived: int


class Oracle:
    """Runs with their facts; `parents` gives the parent of each run that has one."""

    def __init__(
        self,
        rows: list[RunRow],
        facts: Mapping[str, Facts],
        measures: Mapping[tuple[str, str, str], Any],
        said: Mapping[str, Said],
    ) -> None:
        self.rows = rows
        self.facts = facts
        self.measures = measures
        self.said = said
        self.parents = {row.run_id: row.parent for row in rows if row.parent}

    def answer(self, wanted: Filter) -> list[str]:
        """Ids of the runs that the filter asks for, in its order, all of them."""
        rows = [row for row in self.rows if wanted.where is None or self.holds(wanted.where, row)]
        if not wanted.order:
            return [row.run_id for row in sorted(rows, key=lambda row: -_place(self.rows, row))]
        rows.sort(key=lambda row: _place(self.rows, row), reverse=wanted.order[-1].descending)
        for key in reversed(wanted.order):
            having = [row for row in rows if self.value(key.field, row) is not None]
            lacking = [row for row in rows if self.value(key.field, row) is None]
            having.sort(key=lambda row: _sortable(self.value(key.field, row)), reverse=key.descending)
            rows = having + lacking
        return [row.run_id for row in rows]

    def holds(self, node: Node, row: RunRow) -> bool:
        """Whether the condition is true of the run."""
        match node:
            case And(parts):
                return all(self.holds(part, row) for part in parts)
            case Or(parts):
                return any(self.holds(part, row) for part in parts)
            case Not(part):
                return not self.holds(part, row)
            case Exists(field):
                return self.value(field, row) is not None
            case Compare(field, operator, value):
                return self.compares(field, operator, value, row)
            case OneOf(field, values):
                return any(self.compares(field, "=", value, row) for value in values)
            case Matches(field, how, text):
                return _matches(self.text(field, row), how, text)
            case Kin(side, run):
                low, high = (row.run_id, run) if side == "descendant" else (run, row.run_id)
                return self.descends(low, high)
            case Words(text):
                return self.says(text, row)

    def descends(self, low: str, high: str) -> bool:
        """Whether the run `low` was started from `high`, or from one that was."""
        seen = {low}
        while (above := self.parents.get(low)) is not None and above not in seen:
            if above == high:
                return True
            seen.add(above)
            low = above
        return False

    def compares(self, field: Field, operator: str, value: Any, row: RunRow) -> bool:
        """A comparison; params compare as numbers with numbers and as text with text."""
        found = self.text(field, row) if isinstance(value, str) else self.value(field, row)
        if found is None or isinstance(found, str) != isinstance(value, str):
            return False
        found = found.encode() if isinstance(found, str) else found
        value = value.encode() if isinstance(value, str) else value
        return bool({
            "=": found == value, "<": found < value, "<=": found <= value, ">": found > value, ">=": found >= value
        }[operator])  # fmt: skip

    def text(self, field: Field, row: RunRow) -> str | None:
        """The text of a field that holds text."""
        if field.table == "params":
            return self.facts[row.run_id].params.get(field.name)
        found = self.value(field, row)
        return found if isinstance(found, str) or found is None else str(found)

    def value(self, field: Field, row: RunRow) -> Any:
        """The field's value, None where the run has none."""
        facts = self.facts[row.run_id]
        if field.table == "metrics":
            return self.measures.get((row.run_id, field.name, field.measure))
        if field.table == "params":
            text = facts.params.get(field.name)
            return text if text is None or number(text) is None else number(text)
        if field.table in ("tags", "properties"):
            return getattr(facts, field.table).get(field.name)
        if field.name in Said._fields:
            return getattr(self.said[row.run_id], field.name)
        return _column(field.name, row)

    def says(self, text: str, row: RunRow) -> bool:
        """Full text over ASCII words: one after the other, the last one perhaps only begun."""
        words = re.findall(r"[a-z0-9]+", text.lower())
        tags = " ".join(f"{name} {value}" for name, value in self.facts[row.run_id].tags.items())
        error = "\n".join((row.error or {}).values())
        said = self.said[row.run_id]
        words_of = (row.name, row.experiment, "train.py", tags, error, said.description or "", said.notes or "")
        for place in words_of:
            heard = re.findall(r"[a-z0-9]+", place.lower())
            for start in range(len(heard) - len(words) + 1):
                some = heard[start : start + len(words)]
                if words and some[:-1] == words[:-1] and some[-1].startswith(words[-1]):
                    return True
        return False


def _column(name: str, row: RunRow) -> Any:
    times = {"created": row.created_at, "started": row.started_at, "ended": row.ended_at}
    if name in times:
        return times[name]
    if name == "duration":
        return None if row.started_at is None or row.ended_at is None else row.ended_at - row.started_at
    if name in ("error", "error_code"):
        return (row.error or {}).get("message" if name == "error" else "code")
    return {"name": row.display_name, "type": row.run_type}.get(name) or getattr(row, name)


def _matches(found: str | None, how: str, text: str) -> bool:
    if found is None:
        return False
    if how == "like":
        return re.fullmatch(_pattern(text), found.translate(_ASCII), re.DOTALL) is not None
    found, text = found.translate(_ASCII), text.translate(_ASCII)
    return text in found if how == "contains" else found.startswith(text)


def _pattern(text: str) -> str:
    parts, place = list[str](), 0
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 1
            parts.append(re.escape(text[place : place + 1].translate(_ASCII) or "\\"))
        else:
            parts.append({"%": ".*", "_": "."}.get(character, re.escape(character.translate(_ASCII))))
        place += 1
    return "".join(parts)


def _sortable(value: Any) -> tuple[int, Any]:
    return (1, value.encode()) if isinstance(value, str) else (0, value)


def _place(rows: list[RunRow], row: RunRow) -> int:
    return rows.index(row)
