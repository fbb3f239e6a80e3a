"""What a script runs in: the interpreter and the environment variables."""

from __future__ import annotations

import sys
from typing import Any

import attrs


@attrs.define
class PythonSection:
    """The Python of an environment.

    `user_managed_dependencies`: nothing is installed, the interpreter is used as it is.
    `interpreter_path`: a path, or a name looked up on the PATH; None is the interpreter that submits.
    """

    user_managed_dependencies: bool = False
    interpreter_path: str | None = None


@attrs.define
class Environment:
    """A named description of what a script runs in.

    >>> environment = Environment("user-managed-env")
    >>> environment.python.user_managed_dependencies = True
    >>> environment.environment_variables["OMP_NUM_THREADS"] = "1"
    """

    name: str
    python: PythonSection = attrs.field(factory=PythonSection, kw_only=True)
    environment_variables: dict[str, str] = attrs.field(factory=dict, kw_only=True)

    def interpreter(self) -> str:
        """The interpreter to start: a path, or a name to look up on the PATH."""
        return self.python.interpreter_path or sys.executable

    def as_document(self) -> dict[str, Any]:
        """The definition as plain values, as the ledger keeps it."""
        return {
            "name": self.name,
            "python": {
                "user_managed_dependencies": self.python.user_managed_dependencies,
                "interpreter_path": self.python.interpreter_path,
            },
            "environment_variables": {key: str(value) for key, value in self.environment_variables.items()},
        }


def environment_from(document: dict[str, Any]) -> Environment:
    """The environment behind its document."""
    from cattrs import structure

    return structure(document, Environment)
