"""`python -m onrecord.azureml SCRIPT [ARGS]`: run a script in this process, with Azure ML's modules."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def main() -> None:
    """Run the script as `python SCRIPT` would; its end is this process's."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m onrecord.azureml SCRIPT [ARGS]...", file=sys.stderr)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    path = Path(sys.argv[1])
    try:
        source = path.read_bytes()
    except OSError as problem:
        print(f"onrecord: cannot read {path}: {problem.strerror}", file=sys.stderr)
        sys.exit(2)
    from onrecord.azureml import install

    sys.argv = sys.argv[1:]
    sys.path[0] = str(path.absolute().parent)
    install()
    # It stays the main module: what the script leaves for the interpreter's end, and its workers, look for it there.
    module = ModuleType("__main__")
    module.__dict__.update(__file__=str(path), __builtins__=__builtins__, __spec__=None, __loader__=None)
    sys.modules["__main__"] = module
    exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - what it is for


if __name__ == "__main__":
    main()
