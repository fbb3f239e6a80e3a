"""YAML files in which every key has a meaning: one without is refused, with its line and the nearest that has one.

Numbers and words keep their spelling where a text is wanted: `0.10`, `yes` and `1e-3` are the texts that were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from onrecord.config_errors import BadConfig

_NULL, _TRUTH, _WHOLE, _REAL = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))


class Section:
    """One mapping of a file. `name`: where it is in the file, "" at the top."""

    def __init__(self, path: Path, node: yaml.MappingNode, name: str = "") -> None:
        self.path = path
        self._node = node
        self._name = name
        self._values: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._bad(key, "", "a key is no text", "keys are words")
            if key.value in self._values:
                raise self._bad(key, key.value, f"{self._of(key.value)} is there twice", "only one of them could count")
            self._values[key.value] = value

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def only(self, known: Iterable[str]) -> None:
        """Raise BadConfig for a key that is none of these."""
        names = list(known)
        for key, _ in self._node.value:
            if key.value not in names:
                from difflib import get_close_matches

                # `target` is spelt much like `arguments`, and is `compute_target`.
                near = [name for name in names if len(key.value) > 3 and key.value in name]
                near = near or get_close_matches(key.value, names, n=1)
                step = f"did you mean {near[0]}?" if near else f"known are: {', '.join(names)}"
                raise self._bad(key, key.value, f"{self._of(key.value)} is not known", "it would have no effect", step)

    def is_null(self, key: str) -> bool:
        """Whether the key is there and says nothing."""
        return key in self._values and self._values[key].tag == _NULL

    def section(self, key: str) -> Section | None:
        """A mapping within; None where there is none."""
        node = self._given(key)
        if node is None:
            return None
        if not isinstance(node, yaml.MappingNode):
            raise self.refuse(key, "it is a section with keys of its own")
        return Section(self.path, node, self._of(key))

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text as it was written."""
        node = self._given(key)
        return default if node is None else self._scalar(key, node)

    def whole(self, key: str, default: Any = None) -> Any:
        """A whole number."""
        return self._of_kind(key, default, (_WHOLE,), "it is a whole number")

    def number(self, key: str, default: Any = None) -> Any:
        """A number."""
        return self._of_kind(key, default, (_WHOLE, _REAL), "it is a number")

    def flag(self, key: str, default: Any = None) -> Any:
        """true or false."""
        return self._of_kind(key, default, (_TRUTH,), "it is true or false")

    def texts(self, key: str) -> list[str] | None:
        """A list of texts, each as it was written; None where there is none."""
        node = self._given(key)
        if node is None:
            return None
        if not isinstance(node, yaml.SequenceNode):
            raise self.refuse(key, "it is a list", f"{key}: [--alpha, 0.03]")
        return [self._scalar(key, item) for item in node.value]

    def text_or_texts(self, key: str) -> str | list[str] | None:
        """A text, or a list of them."""
        return self.texts(key) if isinstance(self._given(key), yaml.SequenceNode) else self.text(key)

    def variables(self, key: str) -> dict[str, str]:
        """Names and texts, each as it was written."""
        section = self.section(key)
        if section is None:
            return {}
        return {name: section._scalar(name, section._values[name]) for name in section}

    def plain(self, key: str) -> Any:
        """Whatever the key says, as Python's values."""
        node = self._given(key)
        return None if node is None else _constructed(node)

    def refuse(self, key: str, why: str, step: str = "") -> BadConfig:
        """The error that says that the value of a key cannot be used."""
        node = self._values[key]
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list" if _is_list(node) else "a section"
        return self._bad(node, key, f"{self._of(key)} is {shown}", why, step)

    def _given(self, key: str) -> yaml.Node | None:
        node = self._values.get(key)
        return None if node is None or node.tag == _NULL else node

    def _scalar(self, key: str, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._bad(node, key, f"{self._of(key)} holds a {'list' if _is_list(node) else 'section'}",
                            "it takes single values only")  # fmt: skip
        return str(node.value)

    def _of_kind(self, key: str, default: Any, tags: Sequence[str], why: str) -> Any:
        node = self._given(key)
        if node is None:
            return default
        if node.tag not in tags:
            raise self.refuse(key, why)
        return _constructed(node)

    def _of(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _bad(self, node: yaml.Node, key: str, what: str, why: str, step: str = "") -> BadConfig:
        line = node.start_mark.line + 1
        return BadConfig(
            f"{self.path}, line {line}: {what}", why=why, next_step=step or f"mend the line in {self.path}",
            field=key, path=str(self.path), line=line,
        )  # fmt: skip


def _is_list(node: yaml.Node) -> bool:
    return isinstance(node, yaml.SequenceNode)


def _constructed(node: yaml.Node) -> Any:
    return yaml.constructor.SafeConstructor().construct_document(node)


def read(path: Path) -> Section:
    """The file's only document. Raises BadConfig, with the line where one is known."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as problem:
        raise BadConfig(
            f"{path} cannot be read", why=problem.strerror or str(problem), next_step="name a file that is there",
            field="", path=str(path), line=0,
        ) from problem  # fmt: skip
    except (UnicodeDecodeError, yaml.YAMLError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 0
        place = f", line {line}" if line else ""
        why = getattr(problem, "problem", None) or str(problem)
        raise BadConfig(
            f"{path}{place}: this is no YAML", why=str(why), next_step=f"mend the line in {path}",
            field="", path=str(path), line=line,
        ) from problem  # fmt: skip
    if not isinstance(node, yaml.MappingNode):
        raise BadConfig(
            f"{path} describes no job", why="it has no keys", next_step="write, for example: script: train.py",
            field="", path=str(path), line=1,
        )  # fmt: skip
    return Section(path, node)


def write(path: Path, document: Mapping[str, Any], heading: str) -> Path:
    """Write a document with a first line that says what it is; returns the file. Raises OSError."""
    text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {heading}\n{text}", encoding="utf-8")
    return path
