"""A run that is watched in a notebook while it is on, as `azureml.widgets` has it."""

from __future__ import annotations

import sys
import threading
from typing import Any

from onrecord.errors import OnRecordError
from onrecord.run import Run
from onrecord.run_card import run_html, run_text

_LOOK_SECONDS = 1.0


class RunDetails:
    """Shows a run, and brings what is shown up to date until the run has ended."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._thread: threading.Thread | None = None

    def show(self, render_lib: object = None, widget_settings: object = None) -> None:
        """Show the run and return; in a notebook its cell is then kept up to date. In a terminal: as it is now.

        Both arguments are accepted for Azure ML's sake.
        """
        del render_lib, widget_settings
        shown = _displayed(self._html())
        if shown is None:
            print(run_text(self._run))
        elif not self._run.has_ended():
            self._thread = threading.Thread(target=self._follow, args=(shown,), name="onrecord-widget", daemon=True)
            self._thread.start()

    def get_widget_data(self) -> dict[str, Any]:
        """What is shown, as `Run.get_details()`."""
        return self._run.get_details()

    def _html(self) -> str:
        return run_html(self._run)

    def _follow(self, shown: Any) -> None:
        from IPython.display import HTML

        ended, pause = False, threading.Event()
        while not ended:
            pause.wait(_LOOK_SECONDS)
            try:
                ended = self._run.has_ended()
                shown.update(HTML(self._html()))  # type: ignore[no-untyped-call]
            except (OnRecordError, OSError):
                # The workspace is being moved, or the disk is full: what is shown stays.
                return


def _displayed(html: str) -> Any:
    """The handle of what is shown now; None where there is no notebook."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython
    from IPython.display import HTML, display

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return display(HTML(html), display_id=True)  # type: ignore[no-untyped-call]
