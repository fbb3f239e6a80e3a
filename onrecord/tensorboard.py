"""TensorBoard on runs, also while they are on: what they write to `logs/`, and what they log as metrics."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from onrecord.errors import OnRecordError
from onrecord.event_file import event_file_name
from onrecord.logs_mirror import LogsMirror
from onrecord.run import Run
from onrecord.tensorboard_export import MetricsFile
from onrecord.tensorboard_export import export_to_tensorboard as export_to_tensorboard

_ADDRESS = re.compile(r"TensorBoard \S+ at (https?://\S+)")
_COMES_UP_SECONDS = 60.0
_FIRST_LOOK_SECONDS = 1.0
_LOOK_SECONDS = 5.0
# A folder of its own for what `run.log` recorded, so that it stands beside what the script itself wrote.
METRICS = "onrecord"


class NoTensorboard(OnRecordError):
    """TensorBoard is not installed, or does not come up. Attribute: `output`, what it said."""


class Tensorboard:
    """A TensorBoard server of its own process on some runs and, as they appear, the runs below them.

    `runs`: a run or several; without any, `local_root` is served as it is. Each run has the folder `local_root/RUN_ID`
    (or its display name) with a copy of its `logs/`, and in it `onrecord` with what it logged. `local_root`: default a
    new temporary folder, which is removed by `stop`. `port`: 0 takes a free one. Nothing leaves this machine: the
    server listens on `host`, 127.0.0.1.
    """

    def __init__(
        self,
        runs: Run | Iterable[Run],
        local_root: str | Path | None = None,
        port: int = 6006,
        use_display_name: bool = False,
        *,
        host: str = "127.0.0.1",
    ) -> None:
        self._runs = [runs] if isinstance(runs, Run) else list(runs)
        self._port = port
        self._host = host
        self._use_display_name = use_display_name
        self._is_temporary = local_root is None
        self.local_root = Path(local_root or tempfile.mkdtemp(prefix="onrecord-tensorboard-"))
        self._shown: dict[str, _Shown] = {}
        self.address = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, start_browser: bool = False) -> str | None:
        """Start the server and return its address; None where it is started already.

        What the runs have so far is there by then. Raises NoTensorboard.
        """
        if self._server is not None:
            return None
        if find_spec("tensorboard") is None:
            raise NoTensorboard(
                "TensorBoard is not installed in this Python",
                why=f"{sys.executable} has no package tensorboard",
                next_step="pip install 'onrecord[tensorboard]'",
                output="",
            )
        self.local_root.mkdir(parents=True, exist_ok=True)
        self.update()
        output = self.local_root / ".tensorboard.log"
        words = ["--logdir", str(self.local_root), "--port", str(self._port), "--host", self._host]
        words += ["--reload_interval", "2", "--reload_multifile", "true"]
        with output.open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tensorboard.main", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        atexit.register(self.stop)
        self.address = address = self._await_address(output)
        self._thread = threading.Thread(target=self._follow, name="onrecord-tensorboard", daemon=True)
        self._thread.start()
        print(address, flush=True)
        if start_browser:
            import webbrowser

            webbrowser.open(address)
        return address

    def stop(self) -> None:
        """End the server. Nothing where it is not started."""
        atexit.unregister(self.stop)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(5)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        for shown in self._shown.values():
            shown.close()
        self._shown.clear()
        self._stopping.clear()
        if self._is_temporary:
            shutil.rmtree(self.local_root, ignore_errors=True)

    def is_alive(self) -> bool:
        """Whether the server runs."""
        return self._server is not None and self._server.poll() is None

    def update(self) -> bool:
        """Bring the folders up to date; whether some run is still on."""
        for run in self._runs:
            for one in (run, *run.workspace.runs(f"descendant of {run.id}")):
                if one.id not in self._shown:
                    self._shown[one.id] = _Shown(one, self.local_root / self._folder_of(one))
        # Each of them, and not only up to the first that is on.
        going_on = [shown.advance() for shown in self._shown.values()]
        return any(going_on)

    def __enter__(self) -> Tensorboard:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _folder_of(self, run: Run) -> str:
        if not self._use_display_name:
            return run.id
        name = re.sub(r"[^\w.\- ]+", "_", run.display_name).strip(" .") or run.id
        taken = {shown.folder.name for shown in self._shown.values()}
        return name if name not in taken else f"{name}-{run.id[:10]}"

    def _await_address(self, output: Path) -> str:
        assert self._server is not None  # noqa: S101
        deadline = time.monotonic() + _COMES_UP_SECONDS
        while time.monotonic() < deadline:
            found = _ADDRESS.search(output.read_text("utf-8", "replace"))
            if found:
                return found[1]
            if self._server.poll() is not None:
                break
            time.sleep(0.05)
        said = output.read_text("utf-8", "replace").strip()
        self.stop()
        raise NoTensorboard(
            f"TensorBoard did not come up on port {self._port}",
            why=said.splitlines()[-1] if said else "it said nothing",
            next_step="choose another port: Tensorboard(runs, port=0) takes a free one (onrecord tensorboard --port 0)",
            output=said,
        )

    def _follow(self) -> None:
        pause = _FIRST_LOOK_SECONDS
        while not self._stopping.wait(pause):
            try:
                # Once all have ended, only runs that are started below them can be new.
                pause = _FIRST_LOOK_SECONDS if self.update() else _LOOK_SECONDS
            except (OnRecordError, OSError):
                # A full disk or a workspace that is being moved: the next look tries again.
                pause = _LOOK_SECONDS


class _Shown:
    """One run's folder."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.folder = folder
        self._run = run
        self._logs = LogsMirror(run, folder)
        created = run.workspace.query.run(run.id).created_at // 1_000_000
        self._metrics: MetricsFile | None = MetricsFile(run, folder / METRICS / event_file_name(created))

    def advance(self) -> bool:
        """Bring it up to date; whether the run is still on."""
        if self._metrics is None:
            return False
        self._logs.advance()
        self._metrics.advance()
        if self._logs.has_ended:
            self.close()
        return not self._logs.has_ended

    def close(self) -> None:
        """Let go of the files."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
