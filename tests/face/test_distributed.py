"""Jobs of several processes: one run, its logs by rank, and the truth about which of them failed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from face_make import onrecord, project, run_to_end, shown, submit, wait_until

from onrecord import MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration
from onrecord.distributed import BadDistribution
from onrecord.rank_plan import NoMpi, find_launcher

TELLS = "import os, sys; print('I am', sys.argv[1], 'of', os.environ['WORLD_SIZE'])\n"


def test_all_ranks_share_one_run_and_each_has_its_log(tmp_path: Path) -> None:
    job = PyTorchConfiguration("Gloo", process_count=3)
    run = run_to_end(tmp_path, TELLS, arguments=["$AZ_BATCHAI_TASK_INDEX"], distributed_job_config=job)
    assert run.status == "Completed"
    for rank in range(3):
        assert run.read_file(f"logs/rank-{rank}.txt") == f"I am {rank} of 3\n".encode()
    assert run.read_file("logs/stdout.txt") == b"I am 0 of 3\n"
    assert run.get_details()["runDefinition"]["distribution"]["process_count"] == 3


def test_the_rank_that_failed_is_named_in_the_error(tmp_path: Path) -> None:
    source = "import os, time\nif os.environ['RANK'] == '1': raise ValueError('boom')\ntime.sleep(600)\n"
    run = run_to_end(tmp_path, source, distributed_job_config=PyTorchConfiguration("gloo", 2))
    error = run.workspace.query.run(run.id).error or {}
    wanted = "the script ended with exit code 1: rank 1 of 2 failed (logs/rank-1.txt): ValueError: boom"
    assert (run.status, error["message"]) == ("Failed", wanted)
    assert "Traceback" in error["details"]


def test_a_rank_killed_by_a_signal_is_named_with_it(tmp_path: Path) -> None:
    source = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 11)\ntime.sleep(600)\n"
    run = run_to_end(tmp_path, source, distributed_job_config=PyTorchConfiguration("gloo", 2))
    row = run.workspace.query.run(run.id)
    assert (row.signal, (row.error or {})["code"]) == (11, "KilledBySignal")
    assert "rank 1 of 2 was killed by SIGSEGV" in (row.error or {})["message"]


def test_a_request_to_cancel_ends_every_rank(tmp_path: Path) -> None:
    source = "import os, time, pathlib\npathlib.Path('outputs', os.environ['RANK']).write_text(str(os.getpid()))\n"
    project(tmp_path, {"train.py": source + "time.sleep(600)\n"})
    run = submit(tmp_path, distributed_job_config=PyTorchConfiguration("gloo", 2))
    outputs = run.workspace.layout.run(run.id).work / "outputs"
    wait_until(lambda: all((outputs / rank).exists() and (outputs / rank).read_text() for rank in "01"))
    pids = [int((outputs / rank).read_text()) for rank in "01"]
    run.cancel()
    assert run.wait_for_completion()["status"] == "Canceled"
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_workers_of_tensorflow_know_their_cluster(tmp_path: Path) -> None:
    source = "import json, os; told = json.loads(os.environ['TF_CONFIG']); print(told['task'], len(told['cluster']))\n"
    run = run_to_end(tmp_path, source, distributed_job_config=TensorflowConfiguration(2, 0))
    assert run.read_file("logs/rank-1.txt") == b"{'type': 'worker', 'index': 1} 1\n"


ALLREDUCE = """
import sys
import numpy
from mpi4py import MPI
world = MPI.COMM_WORLD
total = numpy.zeros(4)
world.Allreduce(numpy.full(4, world.rank + 1.0), total, op=MPI.SUM)
print(f"rank {world.rank} of {world.size}: {total[0]:g}", flush=True)
if sys.argv[1:] and world.rank == 2:
    exec(sys.argv[1])
if sys.argv[1:]:
    world.Barrier()
"""


def test_four_processes_sum_up_by_mpi(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    run = run_to_end(tmp_path, ALLREDUCE, distributed_job_config=MpiConfiguration(4))
    assert run.status == "Completed", run.workspace.query.run(run.id).error
    for rank in range(4):
        assert run.read_file(f"logs/rank-{rank}.txt") == f"rank {rank} of 4: 10\n".encode()
    assert run.read_file("logs/stdout.txt") == b"rank 0 of 4: 10\n"


@pytest.mark.parametrize(("how", "code"), [("sys.exit(3)", 3), ("raise ValueError('boom')", 1)])
def test_the_mpi_process_that_failed_first_is_named(tmp_path: Path, how: str, code: int) -> None:
    pytest.importorskip("mpi4py")
    run = run_to_end(tmp_path, ALLREDUCE, arguments=[how], distributed_job_config=MpiConfiguration(4))
    row = run.workspace.query.run(run.id)
    assert (row.status, row.exit_code) == ("Failed", code)
    assert "rank 2 of 4 failed (logs/rank-2.txt)" in (row.error or {})["message"]


DDP = """
import os, torch
import torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
torch.manual_seed(rank)
for _ in range(5):
    loss = model(torch.randn(16, 8)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"{size} processes, weights {model.module.weight.sum().item():.6f}")
dist.destroy_process_group()
"""


@pytest.mark.timeout(300)
def test_two_processes_train_one_model_by_gloo(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run = run_to_end(tmp_path, DDP, distributed_job_config=PyTorchConfiguration("Gloo", 2))
    assert run.status == "Completed", run.workspace.query.run(run.id).error
    first, second = (run.read_file(f"logs/rank-{rank}.txt").splitlines()[-1] for rank in (0, 1))
    assert first == second
    assert first.startswith(b"2 processes, weights ")


MIRRORED = """
import json, os
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]

@tf.function
def step():
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(float(index + 1)))

print("sum", float(strategy.run(step)), "of", strategy.num_replicas_in_sync)
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_workers_sum_up_by_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    run = run_to_end(tmp_path, MIRRORED, distributed_job_config=TensorflowConfiguration(2, 0))
    assert run.status == "Completed", run.workspace.query.run(run.id).error
    for rank in (0, 1):
        assert run.read_file(f"logs/rank-{rank}.txt").splitlines()[-1] == b"sum 3.0 of 2"


def test_the_command_runs_a_script_in_several_processes(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TELLS})
    done = onrecord("run", "--nproc", "2", "train.py", "$RANK", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"I am 0 of 2\n")
    assert shown(tmp_path)["status"] == "Completed"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MpiConfiguration(0), "process_count_per_node is 0"),
        (lambda: MpiConfiguration(node_count=True), "node_count is True"),
        (lambda: PyTorchConfiguration("mpi"), "communication_backend is 'mpi'"),
        (lambda: PyTorchConfiguration("nccl", 3, 2).as_document(), "3 processes cannot be shared out evenly"),
        (lambda: TensorflowConfiguration(1, -1), "parameter_server_count is -1"),
    ],
)
def test_a_job_that_cannot_be_is_refused_with_what_to_write(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(BadDistribution, match=words):
        make()


def test_a_configuration_of_another_kind_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": ""})
    with pytest.raises(BadDistribution, match="distributed_job_config is 'mpi'"):
        submit(tmp_path, distributed_job_config="mpi")


def test_a_machine_without_mpi_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NoMpi, match="pip install mpich"):
        find_launcher(str(tmp_path / "python"), {"PATH": str(tmp_path)})
    assert Path(sys.executable).exists()
