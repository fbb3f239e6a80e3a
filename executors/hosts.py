"""Starts the processes of a distributed job on several hosts over ssh and goes with them to their end.

A complete program in one file beside `ranks.py` and `host_node.py`, on the standard library alone. It is the script's
stand-in under the supervisor, as `ranks.py` is on one machine:

    python -I -S hosts.py PLAN

Each host gets `host_node.py` over the system's ssh, the working copy, and its part of the processes. Logs and metrics
come back as they are written, files at the end. The first process that fails ends those on all hosts. Whatever ends
this program, the connections end with it, and the program on the other side then ends everything there; one that was
killed itself is asked after over a new connection.
"""

from __future__ import annotations

import filecmp
import json
import os
import queue
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from onrecord.executors import host_node, ranks
else:
    # Started by its path, without any package around it.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import host_node
    import ranks

PING_SECONDS = 5.0
READY_SECONDS = 120.0
_PAUSE_SECONDS = 0.05
_FRAME = struct.Struct("<4sI")
_SPOOL_MARK = b"RSP"


# A stop must still be told to the host, and what was written brought back: ssh does not hear of it.
_DEAF = ("/bin/sh", "-c", 'trap "" TERM; exec "$@"', "sh")


class Host:
    """The connection to one host, and what is known of its part of the job."""

    def __init__(self, number: int, told: dict[str, Any], plan: dict[str, Any]) -> None:
        self.number = number
        self.name: str = told["name"]
        self.address: str = told["address"]
        self.words: list[str] = told["words"]
        self.plan = plan
        self.ready: dict[str, Any] | None = None
        self.ended: dict[str, Any] | None = None
        self.is_done = False
        self.is_gone = False
        self.spooled = b""
        self.returned = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the job
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._sending = threading.Lock()
        self.process = self._connect()

    def _connect(self) -> subprocess.Popen[bytes]:
        with open(host_node.__file__, "rb") as file:
            program = file.read()
        start = f"import sys; exec(compile(sys.stdin.buffer.read({len(program)}), 'host_node', 'exec')); main()"
        self._program = program
        far = f"exec {shlex.quote(self.plan['python'])} -I -S -c {shlex.quote(start)}"
        return subprocess.Popen([*_DEAF, *self.words, far], stdin=-1, stdout=-1, stderr=self.errors)

    def _input(self) -> IO[bytes]:
        stdin = self.process.stdin
        assert stdin is not None  # noqa: S101 - a pipe was asked for
        return stdin

    def tell(self, kind: bytes, content: bytes = b"") -> None:
        """Send one message; a connection that has ended says so by itself."""
        try:
            with self._sending:
                host_node.send(self._input(), kind, content)
        except (OSError, ValueError):
            return

    def order(self, order: dict[str, Any]) -> None:
        """Send the program and the order."""
        try:
            with self._sending:
                self._input().write(self._program)
                host_node.send(self._input(), b"O", json.dumps(order).encode())
        except (OSError, ValueError):
            return

    def send_copy(self) -> None:
        """Send the working copy, and the outputs that the run goes on from."""
        try:
            with self._sending:
                out: Any = host_node.TarWriter(self._input())
                with tarfile.open(fileobj=out, mode="w|") as archive:
                    archive.add(self.plan["work"], "work")
                    if self.plan["resumed"]:
                        archive.add(self.plan["resumed"], "resume-from")
                host_node.send(self._input(), b"t")
        except (OSError, ValueError):
            return

    def listen(self, heard: queue.Queue[tuple[Host, bytes, bytes]]) -> None:
        """Put every message into the queue; an empty kind when no more can come."""
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101 - a pipe was asked for
        # What a login shell there has to say comes first.
        before = b""
        while not before.endswith(host_node.MARK):
            letter = stdout.read(1)
            before = before[-100:] + letter
            if not letter:
                heard.put((self, b"", b""))
                return
        while True:
            message = host_node.receive(stdout)
            heard.put((self, *(message or (b"", b""))))
            if message is None:
                return

    def why(self) -> str:
        """What ssh, or the program there, said last."""
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else f"the connection ended ({self.process.returncode})"

    def close(self) -> None:
        """End the connection, and with it all that the host still does for the job."""
        try:
            self._input().close()
        except OSError:
            pass
        try:
            self.process.wait(self.plan["grace_seconds"])
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Job:
    """All hosts of one job."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.stop = ranks.Stop()
        self.heard: queue.Queue[tuple[Host, bytes, bytes]] = queue.Queue(256)
        self.hosts = [Host(number, told, plan) for number, told in enumerate(plan["hosts"])]
        self.tail = ranks.Tail(os.path.join(plan["logs"], "rank-0.txt"))
        self.failed: Host | None = None
        self.problem = ""
        self.is_ending = False
        self.has_begun = False

    def run(self) -> int:
        """Start everything and wait; the status of the job as `Popen.returncode` spells it."""
        here = os.path.dirname(os.path.abspath(__file__))
        programs = {}
        for name in ("supervisor.py", "ranks.py"):
            with open(os.path.join(here, name), encoding="utf-8") as file:
                programs[name] = file.read()
        for host in self.hosts:
            folder = f"{self.plan['folder']}-{host.number}"
            order = {"folder": folder, "run_id": self.plan["run_id"], "kept": self.plan["kept"], "programs": programs}
            order["ports"] = self._share(host.number)[1] - self._share(host.number)[0]
            threading.Thread(target=self._begin, args=(host, order), daemon=True).start()
            threading.Thread(target=host.listen, args=(self.heard,), daemon=True).start()
        try:
            self._follow()
        finally:
            for host in self.hosts:
                host.close()
            self._end_strays()
        for host in self.hosts:
            self._take_back(host)
        while self.tail.pass_on():
            pass
        return self._status()

    def _begin(self, host: Host, order: dict[str, Any]) -> None:
        host.order(order)
        host.send_copy()

    def _share(self, number: int) -> tuple[int, int]:
        """Which processes a host has: from, and up to."""
        count, hosts = self.plan["process_count"], len(self.plan["hosts"])
        return number * count // hosts, (number + 1) * count // hosts

    # ---- while it runs -------------------------------------------------------------------------

    def _follow(self) -> None:
        pinged, begun = time.monotonic(), time.monotonic()
        while not all(host.is_done or host.is_gone for host in self.hosts):
            try:
                self._hear(*self.heard.get(timeout=_PAUSE_SECONDS))
            except queue.Empty:
                pass
            self.tail.pass_on()
            now = time.monotonic()
            if now - pinged > PING_SECONDS:
                pinged = now
                for host in self.hosts:
                    threading.Thread(target=host.tell, args=(b"P",), daemon=True).start()
            if self.stop.asked:
                self._end()
            if not self.has_begun and now - begun > READY_SECONDS:
                late = [host.name for host in self.hosts if host.ready is None]
                self._fail(None, f"nothing was heard of {', '.join(late)} for {READY_SECONDS:g} s")
                return

    def _hear(self, host: Host, kind: bytes, content: bytes) -> None:
        if kind == b"R":
            host.ready = json.loads(content)
            if all(other.ready is not None for other in self.hosts) and not self.is_ending:
                self._go()
        elif kind == b"L":
            (length,) = host_node.NAME.unpack_from(content)
            name = content[host_node.NAME.size : host_node.NAME.size + length].decode()
            _append(os.path.join(self.plan["logs"], f"{name}.txt"), content[host_node.NAME.size + length :])
        elif kind == b"M":
            self._take_points(host, content)
        elif kind == b"T":
            host.returned.write(content)
        elif kind == b"E":
            host.ended = json.loads(content)
            if _code(host.ended) and not self.is_ending:
                self._fail(host, "")
        elif kind == b"t":
            host.is_done = True
        elif kind == b"X":
            self._fail(host, content.decode("utf-8", "replace"))
        elif not host.is_done:
            host.is_gone = True
            if not self.is_ending:
                self._fail(host, host.why())

    def _go(self) -> None:
        plan = self.plan
        self.has_begun = True
        ports = [port for host in self.hosts for port in (host.ready or {})["ports"]]
        if plan["scheme"] == "pytorch":
            made = ranks.torch_ranks(plan["process_count"], len(self.hosts), ports[0], self.hosts[0].address)
        else:
            owners = [host for host in self.hosts for _ in (host.ready or {})["ports"]]
            places = [f"{host.address}:{port}" for host, port in zip(owners, ports, strict=True)]
            made = ranks.tensorflow_ranks(plan["process_count"], 0, places)
        for host in self.hosts:
            first, last = self._share(host.number)
            ready = host.ready or {}
            there = os.path.join(ready["folder"], "resume-from") if plan["resumed"] else ""
            moved = {plan["resumed"]: there} if plan["resumed"] else {}
            part = {
                "scheme": "told",
                "ranks": [
                    {"name": one.name, "variables": one.variables, "is_server": False} for one in made[first:last]
                ],
                "command": [moved.get(word, word) for word in plan["command"]],
                "expanded": plan["expanded"],
                "process_count": plan["process_count"],
                "grace_seconds": max(1.0, plan["grace_seconds"] - 4),
            }
            variables = {name: moved.get(value, value) for name, value in plan["variables"].items()}
            variables[plan["workspace_variable"]] = ready["workspace"]
            told = {"plan": part, "variables": variables, "token": plan["token"],
                    "grace_seconds": max(2.0, plan["grace_seconds"] - 3)}  # fmt: skip
            host.tell(b"G", json.dumps(told).encode())

    def _take_points(self, host: Host, piece: bytes) -> None:
        """Points go into the run's spool by whole frames: other hosts' come in between."""
        host.spooled += piece
        end = 0
        while len(host.spooled) - end >= _FRAME.size:
            mark, length = _FRAME.unpack_from(host.spooled, end)
            size = length + -length % 4 + 4
            if mark[:3] != _SPOOL_MARK or len(host.spooled) - end < size:
                break
            end += size
        if end:
            _append(self.plan["spool"], host.spooled[:end])
            host.spooled = host.spooled[end:]

    def _fail(self, host: Host | None, problem: str) -> None:
        if not self.is_ending:
            self.failed, self.problem = host, problem
        self._end()

    def _end(self) -> None:
        if not self.is_ending:
            self.is_ending = True
            for host in self.hosts:
                host.tell(b"S")

    # ---- afterwards ----------------------------------------------------------------------------

    def _end_strays(self) -> None:
        """Ask once more after hosts whose program was cut off after it had started something."""
        for host in self.hosts:
            if host.ready is not None and host.ended is None:
                again = Host(host.number, self.plan["hosts"][host.number], self.plan)
                again.order(
                    {"folder": f"{self.plan['folder']}-{host.number}", "run_id": self.plan["run_id"], "end": True}
                )
                again.close()

    def _take_back(self, host: Host) -> None:
        """Put what a host's processes wrote into the working copy; of two files with one name, both."""
        if not host.is_done:
            return
        host.returned.seek(0)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(self.plan["work"])) as folder:
            with tarfile.open(fileobj=host.returned, mode="r|") as archive:
                host_node.safe_extract(archive, folder, files_only=True)
            for place, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(place, name)
                    self._put(path, os.path.relpath(path, folder), host.number)

    def _put(self, path: str, name: str, number: int) -> None:
        target = os.path.join(self.plan["work"], name)
        if os.path.exists(target) and not filecmp.cmp(path, target, shallow=False):
            top, _, rest = name.partition(os.sep)
            target = os.path.join(self.plan["work"], top, f"node-{number}", rest)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.move(path, target)

    def _status(self) -> int:
        if self.failed is not None and self.failed.ended is not None and not self.problem:
            ranks.say(str(self.failed.ended.get("words", "")).strip() or str(self.failed.ended["message"]))
            return _code(self.failed.ended)
        if self.problem:
            ranks.say(f"host {self.failed.name}: {self.problem}" if self.failed is not None else self.problem)
            return 1
        return -signal.SIGTERM if self.stop.asked else 0


def _code(ended: dict[str, Any]) -> int:
    if ended.get("signal") is not None:
        return -int(ended["signal"])
    code = ended.get("exit_code")
    return int(code) if code is not None else 1


def _append(path: str, data: bytes) -> None:
    with open(path, "ab", buffering=0) as file:
        file.write(data)


def main(arguments: list[str]) -> None:
    """Run the plan that the first argument names, and end as its job ended."""
    with open(arguments[0], encoding="utf-8") as file:
        plan = json.load(file)
    os.makedirs(plan["logs"], exist_ok=True)
    ranks.end_as(Job(plan).run())


if __name__ == "__main__":
    main(sys.argv[1:])
