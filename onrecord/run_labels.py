"""What a run is called and marked with: its name, description, notes, tags and properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from onrecord.run_errors import PropertyExists
from onrecord.run_handle import RunHandle
from onrecord.tag_names import checked_tags, checked_text

if TYPE_CHECKING:
    from onrecord.ledger.query import NoteRow

# Bytes in UTF-8. A name is a line in every list; what is longer than a description or a note belongs in a file.
LONGEST_NAME = 1_000
LONGEST_TEXT = 1_000_000


class RunLabels(RunHandle):
    """Names, descriptions and tags may change, properties and notes are only added; each change is an event."""

    @property
    def display_name(self) -> str:
        """The name that it was given last, or the experiment's name with the run's number."""
        return self._row().display_name

    @display_name.setter
    def display_name(self, name: str) -> None:
        # An empty name is that of the experiment with the run's number again. Raises TooLong.
        from onrecord.ledger.events import RunRenamed

        clean = " ".join(checked_text("name", name, LONGEST_NAME).split())
        self.workspace.journal.append(self.id, [RunRenamed(name=clean)])

    @property
    def description(self) -> str:
        """What is said of it; empty where nothing is."""
        return self.workspace.query.descriptions([self.id]).get(self.id, "")

    @description.setter
    def description(self, text: str | None) -> None:
        # None and the empty text take it away. Raises TooLong.
        from onrecord.ledger.events import RunDescribed

        clean = checked_text("description", text or "", LONGEST_TEXT)
        self.workspace.journal.append(self.id, [RunDescribed(description=clean)])

    @property
    def notes(self) -> list[NoteRow]:
        """Notes about it, oldest first: `text`, `author`, and `at` in microseconds since the epoch, UTC."""
        return self.workspace.query.notes([self.id])[self.id]

    def add_note(self, text: str) -> None:
        """Add a note, with the time and the name of whoever runs this process. Raises TooLong, BadText."""
        from onrecord.ledger.events import RunNoted
        from onrecord.submission import user_name

        clean = checked_text("note", text, LONGEST_TEXT, must_say=True)
        self.workspace.journal.append(self.id, [RunNoted(text=clean, by=user_name())])

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return self.get_tags()

    def get_tags(self) -> dict[str, str]:
        """Its tags."""
        return self.workspace.query.tags(self.id)[self.id]

    def tag(self, key: str, value: object = None) -> None:
        """Set one tag; without a value it is empty."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags to new values. Raises BadTag for an empty name."""
        from onrecord.ledger.events import RunTagged

        self.workspace.journal.append(self.id, [RunTagged(tags=checked_tags(tags))])

    def remove_tags(self, tags: list[str]) -> None:
        """Remove tags by name; names that are not there are ignored."""
        from onrecord.ledger.events import RunTagged

        self.workspace.journal.append(self.id, [RunTagged(removed=[str(name) for name in tags])])

    @property
    def properties(self) -> dict[str, str]:
        """Its properties, as `get_properties()`."""
        return self.get_properties()

    def get_properties(self) -> dict[str, str]:
        """Its properties; git facts under `onrecord.git.*` and under Azure ML's and MLflow's names."""
        from onrecord.git_facts import with_aliases

        return with_aliases(self.workspace.query.properties(self.id)[self.id])

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Add properties; each is written once. Raises PropertyExists, and then none is added."""
        from onrecord.ledger.errors import StaleVersion
        from onrecord.ledger.events import PropertiesAdded

        plain = {str(key): str(value) for key, value in properties.items()}
        while True:
            head, known = self._row().head, self.workspace.query.properties(self.id)[self.id]
            self._refuse_known(known, plain)
            try:
                self.workspace.journal.append(self.id, [PropertiesAdded(properties=plain)], expected=head)
            except StaleVersion:
                continue
            return

    def _refuse_known(self, known: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        for name in wanted:
            if name in known:
                raise PropertyExists(
                    f"run {self.id} has the property '{name}' already",
                    why=f"properties are written once; its value stays {known[name]!r}",
                    next_step=f"use a tag for what changes: run.tag({name!r}, …)",
                    run_id=self.id,
                    name=name,
                    value=known[name],
                )
