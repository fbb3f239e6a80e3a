"""Jobs on several hosts: two ssh servers on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from face_make import lives, onrecord, project, submit, wait_until

from onrecord import Environment, MpiConfiguration, PyTorchConfiguration, Run, TensorflowConfiguration, Workspace
from onrecord.compute_target import BadTarget, target_named
from onrecord.distributed import BadDistribution

sys.path.append(str(Path(__file__).parents[1] / "hosts"))

import ssh_host

TWO = PyTorchConfiguration("Gloo", 4, 2)
# Each process, and a child of it in a session of its own, say who they are; then the first argument is executed.
TELLS = """
import os, pathlib, subprocess, sys, time
rank = os.environ["RANK"]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
told = pathlib.Path(sys.argv[2])
(told / rank).write_text(f"{os.getpid()} {child.pid}")
# One that fails ends the others, which then could not say who they were.
while sum(len(path.read_text().split()) for path in told.iterdir()) < 8:
    time.sleep(0.01)
exec(sys.argv[1])
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An ssh that reaches `node-a` and `node-b`."""
    folder = tmp_path_factory.mktemp("hosts")
    hosts = {name: ssh_host.started(folder / name) for name in ("node-a", "node-b")}
    yield ssh_host.named(folder, hosts)
    for host in hosts.values():
        host.stop()


@pytest.fixture
def cluster(tmp_path: Path, ssh: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a target `cluster` of both hosts, whose folders lie in `far`."""
    monkeypatch.setenv("ONRECORD_SSH", ssh)
    Workspace.create(tmp_path / "w")
    describe(tmp_path / "w", ["node-a", "node-b"])
    return tmp_path / "w"


def describe(folder: Path, hosts: list[str], **more: str) -> None:
    table = {"hosts": hosts, "python": sys.executable, "folder": str(folder.parent / "far"), **more}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in table.items()]
    (folder / ".onrecord" / "config.toml").write_text("[targets.cluster]\n" + "".join(lines))


def started(folder: Path, code: str, job: Any = TWO, **options: Any) -> tuple[Run, list[int]]:
    """A run on both hosts whose four processes have said who they are, with their pids and those of their children."""
    told = folder.parent / "told"
    told.mkdir(exist_ok=True)
    project(folder, {"train.py": TELLS})
    run = submit(folder, arguments=[code, told], compute_target="cluster", distributed_job_config=job, **options)
    wait_until(lambda: sum(len(path.read_text().split()) for path in told.iterdir()) == 8)
    return run, [int(word) for path in sorted(told.iterdir()) for word in path.read_text().split()]


def finished(run: Run) -> tuple[str, str]:
    run.wait_for_completion(raise_on_error=False)
    return run.status, (run.workspace.query.run(run.id).error or {}).get("message", "")


def far(folder: Path) -> list[str]:
    """What is left in the hosts' folder."""
    place = folder.parent / "far"
    return [path.name for path in place.iterdir()] if place.exists() else []


LEARNS = """
import json, os, pathlib, sys
import onrecord
run = onrecord.Run.get_context()
rank = os.environ["RANK"]
for step in range(100):
    run.log("loss", int(rank) + step / 1000, step=step)
pathlib.Path("outputs/same").write_text(rank[0])
pathlib.Path(f"outputs/{rank}/deep").mkdir(parents=True)
pathlib.Path(f"outputs/{rank}/deep/model").write_text(rank)
pathlib.Path("logs/mine-" + rank).write_text("log")
names = ("NODE_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "MASTER_ADDR", "A", "AZUREML_NODE_COUNT")
print(sys.argv[1:], [os.environ[name] for name in names], flush=True)
"""


def test_processes_of_two_hosts_are_one_run(cluster: Path) -> None:
    project(cluster, {"train.py": LEARNS, "data/$x": "1"})
    run = submit(
        cluster, arguments=["$RANK", "$A"], compute_target="cluster", distributed_job_config=TWO,
        environment_variables={"A": "$RANK"},
    )  # fmt: skip
    assert finished(run) == ("Completed", "")
    for rank in range(4):
        told = [str(rank // 2), str(rank % 2), "2", "4", "127.0.0.1", "$RANK", "2"]
        assert run.read_file(f"logs/rank-{rank}.txt").decode() == f"['{rank}', '$RANK'] {told}\n"
        assert run.read_file(f"outputs/{rank}/deep/model") == str(rank).encode()
        assert run.read_file(f"logs/mine-{rank}") == b"log"
    assert run.read_file("logs/stdout.txt") == run.read_file("logs/rank-0.txt")
    # Two files of one name, from two hosts.
    assert {run.read_file("outputs/same") in (b"0", b"1"), run.read_file("outputs/node-1/same") in (b"2", b"3")} == {
        True
    }
    assert sorted(run.get_metrics()["loss"]) == sorted(rank + step / 1000 for rank in range(4) for step in range(100))
    assert run.get_details()["runDefinition"]["distribution"]["hosts"] == ["node-a", "node-b"]
    # The interpreter that is here says nothing of those over there.
    assert "onrecord/environment.json" not in run.get_file_names()
    assert far(cluster) == []


def test_the_process_that_failed_ends_those_on_the_other_host_and_is_named(cluster: Path) -> None:
    run, pids = started(cluster, "if rank == '3': raise ValueError('boom')\ntime.sleep(600)")
    wanted = "the script ended with exit code 1: rank 3 of 4 failed (logs/rank-3.txt): ValueError: boom"
    assert finished(run) == ("Failed", wanted)
    assert not [pid for pid in pids if lives(pid)]
    assert far(cluster) == []


@pytest.mark.long
def test_a_process_killed_by_a_signal_is_named_with_it(cluster: Path) -> None:
    run, pids = started(cluster, "if rank == '1': os.kill(os.getpid(), 11)\ntime.sleep(600)")
    assert "rank 1 of 4 was killed by SIGSEGV" in finished(run)[1]
    assert run.workspace.query.run(run.id).signal == 11
    assert not [pid for pid in pids if lives(pid)]


@pytest.mark.long
def test_a_request_to_cancel_reaches_every_host_and_brings_back_what_was_written(cluster: Path) -> None:
    code = "pathlib.Path('outputs', rank).write_text(rank); time.sleep(600)"
    run, pids = started(cluster, code)
    run.cancel()
    assert finished(run)[0] == "Canceled"
    assert not [pid for pid in pids if lives(pid)]
    assert [run.read_file(f"outputs/{rank}") for rank in range(4)] == [b"0", b"1", b"2", b"3"]
    assert far(cluster) == []


@pytest.mark.long
def test_processes_that_ignore_the_wish_to_end_are_killed_on_every_host(cluster: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    run, pids = started(cluster, code, max_run_duration_seconds=4)
    assert finished(run)[0] == "Canceled"
    wait_until(lambda: not [pid for pid in pids if lives(pid)])


def children(pid: int, name: bytes) -> list[int]:
    """Processes below `pid` whose command line holds `name`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if name in (path / "cmdline").read_bytes() and parent == pid:
                found.append(int(path.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.long
def test_nothing_survives_on_a_host_when_everything_here_is_killed(cluster: Path) -> None:
    run, pids = started(cluster, "time.sleep(600)")
    control = run.workspace.layout.run(run.id).path
    launcher = json.loads((control / "started").read_text())
    os.kill(launcher["supervisor"]["pid"], signal.SIGKILL)
    for pid in [*children(launcher["pid"], b"node-"), launcher["pid"]]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not [pid for pid in pids if lives(pid)])
    assert finished(run)[0] == "Failed"


@pytest.mark.long
def test_a_program_on_a_host_that_is_killed_is_asked_after(cluster: Path) -> None:
    run, pids = started(cluster, "time.sleep(600)")
    lock = next((cluster.parent / "far").glob("*-1/.onrecord/runs/*/supervisor.lock"))
    supervisor = json.loads(lock.read_text())["pid"]
    node = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(node, signal.SIGKILL)
    status, message = finished(run)
    assert (status, "host node-b: " in message) == ("Failed", True), message
    assert not [pid for pid in pids if lives(pid)]


@pytest.mark.long
def test_a_host_that_cannot_be_reached_is_named(cluster: Path) -> None:
    describe(cluster, ["node-a", "node-c.invalid"])
    project(cluster, {"train.py": "print(1)\n"})
    run = submit(cluster, compute_target="cluster", distributed_job_config=TWO)
    status, message = finished(run)
    assert (status, "host node-c.invalid: " in message) == ("Failed", True), message
    assert far(cluster) == []


@pytest.mark.long
def test_a_host_without_the_python_that_is_asked_for_is_named(cluster: Path) -> None:
    describe(cluster, ["node-a"], python="/nowhere/python3")
    project(cluster, {"train.py": ""})
    run = submit(cluster, compute_target="cluster", distributed_job_config=PyTorchConfiguration("Gloo", 2))
    assert "/nowhere/python3" in finished(run)[1]


@pytest.mark.long
def test_workers_of_tensorflow_know_the_hosts_of_their_cluster(cluster: Path) -> None:
    source = (
        "import json, os; told = json.loads(os.environ['TF_CONFIG']); print(told['task']['index'], told['cluster'])\n"
    )
    project(cluster, {"train.py": source})
    run = submit(cluster, compute_target="cluster", distributed_job_config=TensorflowConfiguration(2, 0))
    assert finished(run) == ("Completed", "")
    words = [run.read_file(f"logs/rank-{rank}.txt").split(None, 1) for rank in (0, 1)]
    assert [word[0] for word in words] == [b"0", b"1"]
    assert words[0][1] == words[1][1]
    assert words[0][1].count(b"127.0.0.1:") == 2


@pytest.mark.long
def test_outputs_that_a_run_goes_on_from_are_carried_along(cluster: Path) -> None:
    project(cluster, {"train.py": "open('outputs/ck', 'w').write('7')\n"})
    first = submit(cluster)
    assert finished(first) == ("Completed", "")
    source = (
        "import os, sys; print(open(sys.argv[-1] + '/ck').read(), sys.argv[-1] == os.environ['ONRECORD_RESUME_FROM'])\n"
    )
    project(cluster, {"train.py": source})
    run = submit(cluster, compute_target="cluster", distributed_job_config=TWO, resume_from=first)
    assert finished(run) == ("Completed", "")
    assert run.read_file("logs/rank-3.txt") == b"7 True\n"


@pytest.mark.long
def test_the_command_line_names_hosts(cluster: Path, monkeypatch: pytest.MonkeyPatch, ssh: str) -> None:
    from face_make import clean_environment

    describe(cluster, [])
    project(cluster, {"train.py": "import os; print(os.environ['NODE_RANK'], os.environ['WORLD_SIZE'])\n"})
    words = ("run", "--target", "cluster", "--hosts", "node-a,node-b", "train.py")
    done = onrecord(*words, cwd=cluster, env=clean_environment(ONRECORD_SSH=ssh))
    assert (done.returncode, done.stdout) == (0, b"0 2\n"), done.stderr


DDP = """
import os, torch
import torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
print("sum", total.item(), "on node", os.environ["NODE_RANK"])
dist.destroy_process_group()
"""


@pytest.mark.timeout(300)
def test_processes_of_two_hosts_meet_by_gloo(cluster: Path) -> None:
    torch = pytest.importorskip("torch")
    where = {"PYTHONPATH": str(Path(torch.__file__).parents[1])}
    project(cluster, {"train.py": DDP})
    run = submit(
        cluster, compute_target="cluster", distributed_job_config=PyTorchConfiguration("Gloo", 2, 2),
        environment_variables=where,
    )  # fmt: skip
    assert finished(run) == ("Completed", "")
    assert [run.read_file(f"logs/rank-{rank}.txt") for rank in (0, 1)] == [
        b"sum 3.0 on node 0\n",
        b"sum 3.0 on node 1\n",
    ]


@pytest.mark.parametrize(
    ("job", "hosts", "words"),
    [
        (None, ["a"], "a job of one process cannot be sent"),
        (MpiConfiguration(2), ["a"], "an MPI job cannot be sent"),
        (TensorflowConfiguration(2, 1), ["a"], "parameter servers"),
        (PyTorchConfiguration("Gloo", 4, 4), ["a", "b"], "wants 4 nodes, and there are 2 hosts"),
        (TWO, ["-oProxyCommand=x", "b"], "is no host"),
        (TWO, ["a b", "b"], "is no host"),
    ],
)
def test_a_job_that_no_hosts_can_have_is_refused(tmp_path: Path, job: Any, hosts: list[str], words: str) -> None:
    Workspace.create(tmp_path / "w")
    describe(tmp_path / "w", hosts)
    project(tmp_path / "w", {"train.py": ""})
    with pytest.raises(BadDistribution, match=words):
        submit(tmp_path / "w", compute_target="cluster", distributed_job_config=job)


def test_an_environment_that_is_built_here_is_refused_for_hosts(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "w")
    describe(tmp_path / "w", ["a", "b"])
    project(tmp_path / "w", {"train.py": ""})
    environment = Environment("built")
    environment.python.conda_dependencies.add_pip_package("numpy")
    with pytest.raises(BadDistribution, match="not on other hosts"):
        submit(tmp_path / "w", compute_target="cluster", distributed_job_config=TWO, environment=environment)


@pytest.mark.parametrize(("line", "words"), [("hosts = 'a'", "a list of names"), ("folder = 3", "it is a path")])
def test_hosts_that_are_not_described_as_they_should_be_are_refused(tmp_path: Path, line: str, words: str) -> None:
    workspace = Workspace.create(tmp_path)
    workspace.layout.config.write_text(f"[targets.cluster]\n{line}\n")
    with pytest.raises(BadTarget, match=words):
        target_named(workspace, "cluster")
