"""Many runs at the same time: each has its own end, exit code, point and file."""

from __future__ import annotations

from crash_scene import Scene, until

from onrecord import Experiment, ScriptRunConfig
from onrecord.verification import verify

SCRIPT = """
import sys, time
from pathlib import Path
from onrecord import Run
number, folder = int(sys.argv[1]), Path(sys.argv[2])
Run.get_context().log("number", number)
Path("outputs/number.txt").write_text(str(number))
print(number, flush=True)
(folder / str(number)).touch()
while not (folder / "go").exists():
    time.sleep(0.05)
sys.exit(number % 3)
"""


def test_runs_that_all_run_at_once_lose_nothing(scene: Scene, long_form: bool) -> None:
    count = 50 if long_form else 12
    (scene.source / "together.py").write_text(SCRIPT)
    experiment, meeting = Experiment(scene.workspace, "together"), scene.outside
    runs = [
        experiment.submit(ScriptRunConfig(scene.source, "together.py", [number, meeting])) for number in range(count)
    ]
    until(lambda: len(list(meeting.iterdir())) == count, "not all of them run at once", seconds=120)
    (meeting / "go").touch()
    for number, run in enumerate(runs):
        details = run.wait_for_completion(raise_on_error=False)
        assert (details["status"], details["exitCode"]) == ("Failed" if number % 3 else "Completed", number % 3)
        assert run.get_metrics() == {"number": number}
        assert run.read_file("outputs/number.txt") == run.read_file("logs/stdout.txt").strip() == b"%d" % number
    assert verify(scene.workspace).findings == []
