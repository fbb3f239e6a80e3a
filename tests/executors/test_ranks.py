"""What the processes of a distributed job are told, and what their arguments become."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onrecord.executors import ranks

PRINTS = "import os, sys; print(*[os.environ.get(name) for name in sys.argv[1:]])"


def run_plan(folder: Path, *command: str, **plan: Any) -> subprocess.CompletedProcess[bytes]:
    records = folder / "records"
    records.mkdir(exist_ok=True)
    whole = {"command": command, "logs": str(folder / "logs"), "records": str(records), "grace_seconds": 5, **plan}
    (records / "ranks.json").write_text(json.dumps(whole))
    words = [sys.executable, "-I", "-S", ranks.__file__, str(records / "ranks.json")]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=60)


def logs_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "logs").iterdir())}


def test_only_names_that_are_known_are_replaced() -> None:
    known = {"RANK": "3", "EMPTY": "", "DEEP": "$RANK ${RANK} $(id)", "5": "no name"}
    table = {
        "--rank=$RANK": "--rank=3",
        "${RANK}$RANK": "33",
        "$EMPTY": "",
        "$OTHER": "$OTHER",
        "${OTHER}x": "${OTHER}x",
        "$DEEP": "$RANK ${RANK} $(id)",
        "a$": "a$",
        "$5": "$5",
        "$$": "$$",
        "$$RANK": "$RANK",
        "$${RANK}": "${RANK}",
        "$$OTHER": "$OTHER",
        "$$$RANK": "$$RANK",
        "${RANK": "${RANK",
        "$RANKS": "$RANKS",
        "$(id) `id` *": "$(id) `id` *",
        "plain": "plain",
        "${{inputs.x}}": "${{inputs.x}}",
    }
    assert ranks.expand(list(table), known) == list(table.values())


def test_processes_are_shared_out_among_nodes_in_order() -> None:
    found = ranks.torch_ranks(4, 2, 29500)
    assert [rank.variables["NODE_RANK"] for rank in found] == ["0", "0", "1", "1"]
    assert [rank.variables["LOCAL_RANK"] for rank in found] == ["0", "1", "0", "1"]
    assert {rank.variables["LOCAL_WORLD_SIZE"] for rank in found} == {"2"}
    assert found[3].variables["AZ_BATCHAI_PYTORCH_INIT_METHOD"] == "tcp://127.0.0.1:29500"


def test_a_cluster_without_parameter_servers_does_not_name_them() -> None:
    (worker,) = ranks.tensorflow_ranks(1, 0, ["127.0.0.1:1000"])
    assert json.loads(worker.variables["TF_CONFIG"])["cluster"] == {"worker": ["127.0.0.1:1000"]}
    told = [
        json.loads(rank.variables["TF_CONFIG"]) for rank in ranks.tensorflow_ranks(2, 1, ["a:1", "b:2", "127.0.0.1:3"])
    ]
    assert [entry["task"] for entry in told] == [
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
        {"type": "ps", "index": 0},
    ]
    assert told[2]["cluster"]["ps"] == ["127.0.0.1:3"]


def test_ports_are_free_and_different() -> None:
    assert len(set(ranks.free_ports(20))) == 20


def test_every_rank_has_its_log_and_the_first_is_passed_on(tmp_path: Path) -> None:
    names = ("RANK", "WORLD_SIZE", "ONRECORD_RANK", "MASTER_ADDR")
    command = (sys.executable, "-c", PRINTS, *names)
    done = run_plan(tmp_path, *command, scheme="pytorch", process_count=3, node_count=1)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0 3 0 127.0.0.1\n", b"")
    assert logs_of(tmp_path) == {f"rank-{rank}.txt": f"{rank} 3 {rank} 127.0.0.1\n" for rank in range(3)}


FAILS = """
import os, sys, time
if os.environ["RANK"] == "1":
    open("up", "w").close()
    {how}
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("raise ValueError('boom')", 1, "rank 1 of 3 failed (logs/rank-1.txt): ValueError: boom"),
        ("sys.exit(7)", 7, "rank 1 of 3 failed (logs/rank-1.txt)"),
        ("os.kill(os.getpid(), 11)", -signal.SIGSEGV, "rank 1 of 3 was killed by SIGSEGV (logs/rank-1.txt)"),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, "rank 1 of 3 was killed by SIGKILL (logs/rank-1.txt)"),
    ],
)
def test_the_first_that_fails_ends_the_others_and_is_named(tmp_path: Path, how: str, code: int, said: str) -> None:
    done = run_plan(
        tmp_path, sys.executable, "-c", FAILS.format(how=how), scheme="pytorch", process_count=3, node_count=1
    )
    assert done.returncode == code
    assert done.stderr.decode().splitlines()[-1] == said


def test_a_command_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    done = run_plan(tmp_path, "/nowhere/python", scheme="pytorch", process_count=2, node_count=1)
    assert done.returncode == 127
    assert b"cannot start /nowhere/python: No such file or directory" in done.stderr


SERVES = """
import json, os, time
if json.loads(os.environ["TF_CONFIG"])["task"]["type"] == "ps":
    while True:
        time.sleep(0.01)
print("worked")
"""


def test_parameter_servers_are_ended_when_all_workers_have_ended(tmp_path: Path) -> None:
    plan = {"scheme": "tensorflow", "worker_count": 2, "parameter_server_count": 1}
    done = run_plan(tmp_path, sys.executable, "-c", SERVES, **plan)
    assert (done.returncode, done.stdout) == (0, b"worked\n")
    assert logs_of(tmp_path) == {"ps-0.txt": "", "rank-0.txt": "worked\n", "rank-1.txt": "worked\n"}


STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w').close()\nwhile True: time.sleep(0.01)"
)


def test_a_stop_reaches_every_process_and_the_stubborn_are_killed(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    plan = {"scheme": "pytorch", "process_count": 2, "node_count": 1, "command": [sys.executable, "-c", STUBBORN]}
    whole = {**plan, "logs": str(tmp_path / "logs"), "records": str(records), "grace_seconds": 0.2}
    (records / "ranks.json").write_text(json.dumps(whole))
    words = [sys.executable, "-I", "-S", ranks.__file__, str(records / "ranks.json")]
    process = subprocess.Popen(words, cwd=tmp_path)
    while not (tmp_path / "up").exists():
        assert process.poll() is None
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    assert [path for path in Path("/proc").glob("[0-9]*") if _works_in(path, tmp_path)] == []


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False
