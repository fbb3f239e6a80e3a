"""Starts the processes of a distributed job on this machine and goes with them to their end.

A complete program in one file that needs nothing but Python's standard library. It is the script's stand-in
under the supervisor: what it starts belongs to the run's process tree, and its own end is the script's.

    python -I -S ranks.py PLAN            starts every process and waits for all of them
    python -I -S ranks.py PLAN member     one process that an MPI launcher started

PLAN is a JSON file (`plan_text`). Each process writes to a file of its own, `logs/rank-N.txt`; what rank 0 writes
is passed on as it comes. The first process that fails ends the others, and is named on standard error. This
program then ends as that process did: with its exit code, or by its signal.

Sources of the variables: torch.distributed (env:// initialization, torchrun), TensorFlow's TF_CONFIG, the
launchers of Open MPI (OMPI_COMM_WORLD_*) and MPICH (PMI_*, MPI_LOCALRANKID), Azure ML (AZ_BATCH*).
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import Any

MEMBER = "member"
ADDRESS = "127.0.0.1"  # the host's own name need not resolve
RANK, WORLD_SIZE = "ONRECORD_RANK", "ONRECORD_WORLD_SIZE"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.1
_LAST_WORDS_BYTES = 4000
_REFERENCE = re.compile(r"\$(\$)?(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
# MPICH in the log of the process that called MPI_Abort, Open MPI in what its launcher says.
_ABORT = re.compile(r"Abort\(\d+\) on node \d+ \(rank (\d+) in|MPI_ABORT was invoked on rank (\d+) in")
_TRACE = "Traceback (most recent call last)"
_EXIT_CANNOT_START = 127  # what a shell says of a command that is not there


class Rank:
    """One process of the job: `name` as its log has it, `variables` that it has beside the run's own."""

    def __init__(self, name: str, variables: dict[str, str], is_server: bool = False) -> None:
        self.name = name
        self.variables = variables
        self.process: subprocess.Popen[bytes] | None = None
        self.is_server = is_server


def expand(arguments: list[str], variables: Mapping[str, str]) -> list[str]:
    """Arguments with `$NAME` and `${NAME}` replaced, where the name is one of `variables`; all else as it is.

    What was put in is not looked at again. `$$NAME` is the text `$NAME`; a `$` that no name follows is only a `$`.

    >>> expand(["--rank", "$RANK", "costs $5", "${OTHER}", "$$RANK"], {"RANK": "3"})
    ['--rank', '3', 'costs $5', '${OTHER}', '$RANK']
    """

    def value(found: re.Match[str]) -> str:
        return found[0][1:] if found[1] else variables.get(found[2] or found[3], found[0])

    return [_REFERENCE.sub(value, argument) for argument in arguments]


def command_of(plan: dict[str, Any], variables: Mapping[str, str]) -> list[str]:
    """The command line of one process: of the plan's, the part that is `expanded` with its variables."""
    command: list[str] = plan["command"]
    start, stop = plan.get("expanded", (0, len(command)))
    return [*command[:start], *expand(command[start:stop], variables), *command[stop:]]


# ---- what each process is told -------------------------------------------------------------------------


def torch_ranks(processes: int, nodes: int, port: int, address: str = ADDRESS) -> list[Rank]:
    """The processes of a PyTorch job, with what `init_process_group("gloo")` and torchrun's scripts look for."""
    local = processes // nodes
    out = []
    for rank in range(processes):
        variables = {
            "RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_RANK": str(rank % local),
            "LOCAL_WORLD_SIZE": str(local),
            "NODE_RANK": str(rank // local),
            "GROUP_RANK": str(rank // local),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
            "AZ_BATCHAI_PYTORCH_INIT_METHOD": f"tcp://{address}:{port}",
            "AZ_BATCHAI_TASK_INDEX": str(rank),
            "AZUREML_NODE_COUNT": str(nodes),
        }
        if processes > 1 and "OMP_NUM_THREADS" not in os.environ:
            # As torchrun: processes that each take every core only stand in one another's way.
            variables["OMP_NUM_THREADS"] = "1"
        out.append(Rank(f"rank-{rank}", variables | _place(rank, processes)))
    return out


def tensorflow_ranks(workers: int, servers: int, places: list[str]) -> list[Rank]:
    """The workers and parameter servers of a TensorFlow job, which listen at `places` (`address:port`)."""
    cluster = {"worker": places[:workers]}
    if servers:
        # An empty list of parameter servers is refused by TensorFlow 2.13 and later.
        cluster["ps"] = places[workers:]
    out = []
    for index in range(workers + servers):
        kind, place = ("worker", index) if index < workers else ("ps", index - workers)
        told = {"cluster": cluster, "task": {"type": kind, "index": place}, "environment": "cloud"}
        name = f"rank-{index}" if kind == "worker" else f"ps-{place}"
        out.append(Rank(name, {"TF_CONFIG": json.dumps(told), **_place(index, workers + servers)}, kind == "ps"))
    return out


def _place(rank: int, size: int) -> dict[str, str]:
    return {RANK: str(rank), WORLD_SIZE: str(size)}


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nobody listens, all different."""
    sockets = []
    try:
        for _ in range(count):
            held = socket.socket()
            sockets.append(held)
            held.bind((ADDRESS, 0))
        return [int(held.getsockname()[1]) for held in sockets]
    finally:
        for held in sockets:
            held.close()


# ---- one process ---------------------------------------------------------------------------------------


def start(rank: Rank, plan: dict[str, Any]) -> None:
    """Start one process, in a group of its own, with both outputs in its log."""
    environment = {**os.environ, **rank.variables}
    fd = _open_log(plan["logs"], rank.name)
    try:
        rank.process = subprocess.Popen(
            command_of(plan, environment),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            process_group=0,
        )
    finally:
        os.close(fd)


def _open_log(logs: str, name: str) -> int:
    os.makedirs(logs, exist_ok=True)  # noqa: PTH103 - pathlib is not needed for one call
    path = os.path.join(logs, f"{name}.txt")  # noqa: PTH118
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


class Tail:
    """Passes on what one file receives."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0

    def pass_on(self) -> bool:
        """Write what is new to standard output; whether there was any."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123
                file.seek(self.position)
                piece = file.read(1 << 20)
        except OSError:
            return False
        self.position += len(piece)
        left = memoryview(piece)
        while left:
            left = left[os.write(1, left) :]
        return bool(piece)


class Stop:
    """Whether the end of the job was asked for."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


# ---- all of them ---------------------------------------------------------------------------------------


def run_ranks(ranks: list[Rank], plan: dict[str, Any]) -> int:
    """Start all processes and wait; the status of the job as `Popen.returncode` spells it."""
    logs, grace = plan["logs"], plan["grace_seconds"]
    stop = Stop()
    try:
        for rank in ranks:
            start(rank, plan)
    except OSError as error:
        end([rank for rank in ranks if rank.process is not None], grace)
        say(f"cannot start {plan['command'][0]}: {error.strerror or error}")
        return _EXIT_CANNOT_START
    tail = Tail(os.path.join(logs, f"{ranks[0].name}.txt"))  # noqa: PTH118
    failed = follow(ranks, tail, stop)
    end(ranks, grace)
    while tail.pass_on():
        pass
    if failed is None:
        return -signal.SIGTERM if stop.asked else 0
    code = failed.process.returncode if failed.process is not None else 1
    tell_failure(failed.name, code, plan.get("process_count", len(ranks)), logs)
    return int(code)


def follow(ranks: list[Rank], tail: Tail, stop: Stop) -> Rank | None:
    """Wait until every worker has ended, one has failed, or the end was asked for; the one that failed."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        codes = [(rank, rank.process.poll()) for rank in ranks if rank.process is not None]
        for rank, code in codes:
            if code and not stop.asked:
                return rank
        if stop.asked or all(code is not None for rank, code in codes if not rank.is_server):
            return None
        pause = _FIRST_PAUSE_SECONDS if tail.pass_on() else min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        time.sleep(pause)


def end(ranks: list[Rank], grace: float) -> None:
    """SIGTERM to whatever still runs, SIGKILL after the grace; waits for all."""
    living = [rank.process for rank in ranks if rank.process is not None and rank.process.poll() is None]
    for process in living:
        _signal_group(process.pid, signal.SIGTERM)
        _signal_group(process.pid, signal.SIGCONT)
    deadline = time.monotonic() + grace
    for process in living:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def tell_failure(name: str, code: int, count: int, logs: str) -> None:
    """Name the process that failed, after its last words, on standard error."""
    words = _last_words(os.path.join(logs, f"{name}.txt"))  # noqa: PTH118
    if words:
        say(words)
    error = words.splitlines()[-1].strip()[:300] if words.startswith(_TRACE) else ""
    kind, _, number = name.partition("-")
    who = f"rank {number}" if kind == "rank" else f"parameter server {number}"
    how = f"was killed by {signal_name(-code)}" if code < 0 else "failed"
    say(f"{who} of {count} {how} (logs/{name}.txt){': ' + error if error else ''}")


def _end_of(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LAST_WORDS_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _last_words(path: str) -> str:
    # What the MPI adds below a traceback is about the job, not about the error.
    text = "\n".join(line for line in _end_of(path).splitlines() if not _ABORT.search(line))
    start_of_trace = text.rfind(_TRACE)
    words = text[start_of_trace:] if start_of_trace >= 0 else "\n".join(text.splitlines()[-20:])
    return words.strip()


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def say(text: str) -> None:
    """One text on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


# ---- MPI -----------------------------------------------------------------------------------------------


def run_mpi(plan: dict[str, Any], plan_path: str) -> int:
    """Let the launcher of an MPI start the processes, each through this program."""
    stop = Stop()
    for name in os.listdir(plan["records"]):  # noqa: PTH208
        if name.startswith("ended-"):
            os.unlink(os.path.join(plan["records"], name))  # noqa: PTH108, PTH118
    launcher, count = plan["launcher"], plan["process_count"]
    environment = {**os.environ, "AZ_BATCH_MASTER_NODE": f"{ADDRESS}:{free_ports(1)[0]}"}
    environment["AZ_BATCHAI_MPI_MASTER_NODE"] = ADDRESS
    if _is_open_mpi(launcher):
        extra = ["--oversubscribe"]
        if os.geteuid() == 0:
            environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    else:
        extra = []
    member = [sys.executable, "-I", "-S", os.path.abspath(__file__), plan_path, MEMBER]  # noqa: PTH100
    try:
        process = subprocess.Popen(
            [launcher, "-n", str(count), *extra, *member], env=environment, stdin=subprocess.DEVNULL, process_group=0
        )
    except OSError as error:
        say(f"cannot start {launcher}: {error.strerror or error}")
        return _EXIT_CANNOT_START
    whole = Rank("mpi", {})
    whole.process = process
    tail = Tail(os.path.join(plan["logs"], "rank-0.txt"))  # noqa: PTH118
    follow([whole], tail, stop)
    end([whole], plan["grace_seconds"])
    while tail.pass_on():
        pass
    if stop.asked:
        return -signal.SIGTERM
    failed = first_failure(plan["records"]) or aborted(plan, process.returncode)
    if failed is None:
        return int(process.returncode)
    rank, code = failed
    tell_failure(f"rank-{rank}", code, count, plan["logs"])
    return code


def _is_open_mpi(launcher: str) -> bool:
    try:
        said = subprocess.run([launcher, "--version"], capture_output=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"Open MPI" in said or b"OpenRTE" in said


def first_failure(records: str) -> tuple[int, int] | None:
    """The rank that failed first, and its status; None where none did by itself."""
    failures = []
    for name in os.listdir(records):  # noqa: PTH208
        if name.startswith("ended-"):
            with open(os.path.join(records, name)) as file:  # noqa: PTH118, PTH123
                at, rank, code, was_asked = map(int, file.read().split())
            if code and not was_asked:
                failures.append((at, rank, code))
    return min(failures)[1:] if failures else None


def aborted(plan: dict[str, Any], code: int) -> tuple[int, int] | None:
    """The rank that called MPI_Abort, by what the MPI said of it: it kills whoever could put it on record."""
    places = [os.path.join(plan["logs"], f"rank-{rank}.txt") for rank in range(plan["process_count"])]  # noqa: PTH118
    for place in [*places, plan["stderr"]]:
        found = _ABORT.search(_end_of(place))
        if found and code:
            return int(found[1] or found[2]), code
    return None


def run_member(plan: dict[str, Any]) -> int:
    """One process of an MPI job: its output in its own log, its end on record for the launcher."""
    known = os.environ
    rank = int(known.get("OMPI_COMM_WORLD_RANK") or known.get("PMI_RANK") or known.get("PMIX_RANK") or 0)
    size = int(known.get("OMPI_COMM_WORLD_SIZE") or known.get("PMI_SIZE") or plan["process_count"])
    local = known.get("OMPI_COMM_WORLD_LOCAL_RANK") or known.get("MPI_LOCALRANKID") or str(rank)
    variables = {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_RANK": local,
        "OMPI_COMM_WORLD_LOCAL_SIZE": known.get("OMPI_COMM_WORLD_LOCAL_SIZE") or str(size // plan["node_count"]),
        "AZ_BATCHAI_TASK_INDEX": str(rank),
        **_place(rank, size),
    }
    stop = Stop()
    fd = _open_log(plan["logs"], f"rank-{rank}")
    for target in (1, 2):
        os.dup2(fd, target)
    os.close(fd)
    try:
        # Descriptors too: MPICH's launcher speaks to the script through one that it names in a variable.
        process = subprocess.Popen(
            command_of(plan, {**known, **variables}),
            env={**known, **variables},
            stdin=subprocess.DEVNULL,
            close_fds=False,
        )
    except OSError as error:
        say(f"cannot start {plan['command'][0]}: {error.strerror or error}")
        _record_end(plan["records"], rank, _EXIT_CANNOT_START, False)
        return _EXIT_CANNOT_START
    passed_on = False
    while True:
        try:
            code = process.wait(0.1)
            break
        except subprocess.TimeoutExpired:
            if stop.asked and not passed_on:
                process.terminate()
                passed_on = True
    _record_end(plan["records"], rank, code, stop.asked)
    return code


def _record_end(records: str, rank: int, code: int, was_asked: bool) -> None:
    path = os.path.join(records, f"ended-{rank}")  # noqa: PTH118
    with open(f"{path}.part", "w") as file:  # noqa: PTH123
        file.write(f"{time.time_ns()} {rank} {code} {int(was_asked)}")
    os.replace(f"{path}.part", path)  # noqa: PTH105


# ---- the program ---------------------------------------------------------------------------------------


def launch(plan: dict[str, Any], plan_path: str) -> int:
    """Start what the plan says and wait for it; the status of the job."""
    if plan["scheme"] == "mpi":
        return run_mpi(plan, plan_path)
    if plan["scheme"] == "told":
        # The processes of one host among several.
        ranks = [Rank(told["name"], told["variables"], told["is_server"]) for told in plan["ranks"]]
    elif plan["scheme"] == "pytorch":
        ranks = torch_ranks(plan["process_count"], plan["node_count"], free_ports(1)[0])
    else:
        workers, servers = plan["worker_count"], plan["parameter_server_count"]
        places = [f"{ADDRESS}:{port}" for port in free_ports(workers + servers)]
        ranks = tensorflow_ranks(workers, servers, places)
    return run_ranks(ranks, plan)


def end_as(code: int) -> None:
    """End this process as another one ended."""
    if code < 0:
        import resource

        # Its own memory is of no interest to whoever looks for the script's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def main(arguments: list[str]) -> None:
    """Run the plan that the first argument names, and end as its job ended."""
    path = os.path.abspath(arguments[0])  # noqa: PTH100
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        plan = json.load(file)
    end_as(run_member(plan) if arguments[1:] == [MEMBER] else launch(plan, path))


if __name__ == "__main__":
    main(sys.argv[1:])
