"""`python -m onrecord.azureml SCRIPT [ARGS]`: run a script that imports Azure ML's modules."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from onrecord.azureml import install

_USAGE = (
    "usage: python -m onrecord.azureml SCRIPT [ARGS]...\nRuns SCRIPT with Azure ML's modules standing for onrecord's."
)


def main(words: list[str]) -> int:
    """Run the script; returns 2 where there is none."""
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stderr if not words else sys.stdout)
        return 0 if words else 2
    script = Path(words[0])
    if not script.is_file():
        print(f"onrecord: there is no script {script}\n  next: {_USAGE.splitlines()[0]}", file=sys.stderr)
        return 2
    install()
    sys.argv = words
    # What `python SCRIPT` looks in first, in place of what `python -m` does.
    sys.path[0:0] = [str(script.resolve().parent)]
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
