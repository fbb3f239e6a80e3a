"""`python -m onrecord` and the command `onrecord`."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command and end the process with its exit code; Ctrl-C at any moment ends it quietly with 130."""
    try:
        from onrecord.cli.main import run

        code = run(sys.argv[1:])
        _stay_quiet()
    except KeyboardInterrupt:
        # While the command was being imported, or after it was done: nothing is left to be tidied up.
        os._exit(_INTERRUPTED)
    sys.exit(code)


def _stay_quiet() -> None:
    """What was to be done is done: an interrupt from here on must not make a failure of it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
