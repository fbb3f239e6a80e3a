"""One host's part of a job of several hosts: sent there over ssh, it starts the host's processes and ends them.

A complete program in one file that needs nothing but Python's standard library (3.11). Its standard input is its life
line: when that ends, or nothing comes for a minute, so do all processes that it has started. They run under the
supervisor that every script has, whose file is sent along, so that nothing of theirs survives.

Both ways go messages: one byte that says which, four bytes of length (big-endian), and the content.
To the host: `O` the order (JSON), `T` a piece of the working copy (tar) and `t` its end, `G` the plan and the variables
(JSON), `P` a sign of life, `S` the wish to end. From it: `R` ready (JSON), `L` a piece of a log (length and name before
it), `M` a piece of the spool, `E` how it ended (JSON), `T` and `t` what was written, `X` why it could not be.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

HEAD = struct.Struct(">cI")
NAME = struct.Struct(">H")
MARK = b"\0onrecord host\0"  # before the first message
PIECE_BYTES = 1 << 18
SILENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 30.0


def send(file: IO[bytes], kind: bytes, content: bytes = b"") -> None:
    """Write one message."""
    file.write(HEAD.pack(kind, len(content)) + content)
    file.flush()


def receive(file: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Read one message; None at the end, also in the middle of one."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, length = HEAD.unpack(head)
    content = file.read(length)
    return (kind, content) if len(content) == length else None


class TarReader:
    """The pieces of a tar file that come as messages, as a file to read from."""

    def __init__(self, take: Any) -> None:
        self._take = take
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        while not self._rest:
            piece = self._take()
            if not piece:
                return b""
            self._rest = piece
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class TarWriter:
    """A file to write a tar to, which goes out as messages."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        """One piece."""
        for start in range(0, len(data), PIECE_BYTES):
            send(self._file, b"T", data[start : start + PIECE_BYTES])
        return len(data)


def safe_extract(archive: tarfile.TarFile, folder: str, *, files_only: bool = False) -> None:
    """Extract what stays inside `folder`; `files_only`: no links, through which a later name could leave it."""
    for member in archive:
        name = os.path.normpath(member.name)
        if os.path.isabs(name) or name.split(os.sep)[0] == ".." or (files_only and not member.isfile()):
            continue
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extract(member, folder, filter="fully_trusted")
        else:
            archive.extract(member, folder)


def free_ports(count: int) -> list[int]:
    """Ports of this host on which nobody listens, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("", 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()


class Node:
    """This host's part: its folder, its supervisor, and what was passed on of its files."""

    def __init__(self, order: dict[str, Any], out: IO[bytes]) -> None:
        self.out = out
        self.root = os.path.abspath(os.path.expanduser(order["folder"]))
        self.run = os.path.join(self.root, ".onrecord", "runs", order["run_id"])
        self.work = os.path.join(self.run, "work")
        self.programs = order["programs"]
        self.kept = order["kept"]
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.logs: dict[str, str] = {}
        self.read_to: dict[str, int] = {}

    def prepare(self, take: Any, ports: int) -> None:
        """Unpack the working copy, and say what was found."""
        os.makedirs(self.run, mode=0o700)
        source: Any = TarReader(take)
        with tarfile.open(fileobj=source, mode="r|") as archive:
            safe_extract(archive, self.run)
        for name, text in self.programs.items():
            with open(os.path.join(self.run, name), "w") as file:
                file.write(text)
        for name in ("outputs", "logs"):
            os.makedirs(os.path.join(self.work, name), exist_ok=True)
        for name in (os.path.join(self.root, ".onrecord", "config.toml"), os.path.join(self.run, "spool")):
            open(name, "a").close()
        ready = {"folder": self.run, "workspace": os.path.join(self.root, ".onrecord"), "ports": free_ports(ports)}
        send(self.out, b"R", json.dumps(ready).encode())

    def go(self, told: dict[str, Any]) -> None:
        """Start the processes under a supervisor."""
        logs = os.path.join(self.work, "logs")
        plan = {**told["plan"], "logs": logs, "records": self.run, "stderr": os.path.join(self.run, "stderr")}
        path = os.path.join(self.run, "ranks.json")
        with open(path, "w") as file:
            json.dump(plan, file)
        self.logs = {rank["name"]: os.path.join(logs, rank["name"] + ".txt") for rank in plan["ranks"]}
        words = [sys.executable, "-I", "-S", os.path.join(self.run, "ranks.py"), path]
        environment = {**os.environ, **told["variables"], "PWD": self.work, "ONRECORD_EXECUTION": told["token"]}
        fields = {
            "version": "1", "token": told["token"], "working_directory": self.work, "stdout": os.devnull,
            "stderr": plan["stderr"], "grace_seconds": repr(told["grace_seconds"]),
        }  # fmt: skip
        lines = ["{}={}".format(*pair) for pair in fields.items()]
        lines += ["argument=" + word for word in words]
        lines += ["environment={}={}".format(*pair) for pair in environment.items()]
        with open(os.path.join(self.run, "launch"), "wb") as file:
            file.write(b"".join(os.fsencode(line) + b"\0" for line in lines))
        log = open(os.path.join(self.run, "supervisor.log"), "ab")
        program = os.path.join(self.run, "supervisor.py")
        self.supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", program, self.run], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip

    def ended(self) -> dict[str, Any] | None:
        """How it ended, once it has."""
        found = read_exit(self.run)
        if found is None and self.supervisor is not None and self.supervisor.poll() is not None:
            found = read_exit(self.run) or {"reason": "lost", "message": "its supervisor was killed"}
        return found

    def stop(self) -> None:
        """Ask the supervisor to end everything."""
        if self.supervisor is not None and self.supervisor.poll() is None:
            self.supervisor.terminate()

    def pass_on(self) -> bool:
        """Send what logs and spool have received; whether there was any."""
        sent = False
        for name, path in [*self.logs.items(), ("", os.path.join(self.run, "spool"))]:
            try:
                with open(path, "rb") as file:
                    file.seek(self.read_to.get(path, 0))
                    piece = file.read(PIECE_BYTES)
            except OSError:
                continue
            if piece:
                self.read_to[path] = self.read_to.get(path, 0) + len(piece)
                head = NAME.pack(len(name)) + name.encode() if name else b""
                send(self.out, b"L" if name else b"M", head + piece)
                sent = True
        return sent

    def give_back(self, ended: dict[str, Any]) -> None:
        """Send the last of everything, and leave nothing here."""
        while self.pass_on():
            pass
        with open(os.path.join(self.run, "stderr"), "rb") as file:
            words = file.read()[-8000:].decode("utf-8", "replace")
        send(self.out, b"E", json.dumps({**ended, "words": words}).encode())
        ours = {os.path.basename(path) for path in self.logs.values()}
        out: Any = TarWriter(self.out)
        with tarfile.open(fileobj=out, mode="w|") as archive:
            for folder in self.kept:
                top = os.path.join(self.work, folder)
                for place, _, names in os.walk(top):
                    for name in names:
                        path = os.path.join(place, name)
                        if os.path.isfile(path) and not (place == top and folder == "logs" and name in ours):
                            archive.add(os.path.realpath(path), os.path.relpath(path, self.work), recursive=False)
        send(self.out, b"t")
        shutil.rmtree(self.root, ignore_errors=True)


def read_exit(run: str) -> dict[str, Any] | None:
    """What the supervisor wrote last, once it is there."""
    try:
        with open(os.path.join(run, "exit")) as file:
            found: dict[str, Any] = json.load(file)
            return found
    except (OSError, ValueError):
        return None


def end_what_is_left(order: dict[str, Any]) -> None:
    """End what a program like this one left behind when it was killed."""
    run = os.path.join(os.path.expanduser(order["folder"]), ".onrecord", "runs", order["run_id"])
    try:
        with open(os.path.join(run, "supervisor.lock")) as file:
            known = json.load(file)
        with open("/proc/{}/stat".format(known["pid"])) as file:
            is_same = int(file.read().rpartition(")")[2].split()[19]) == known["start_ticks"]
    except (OSError, ValueError, IndexError):
        return
    if not is_same:
        return
    open(os.path.join(run, "stop"), "a").close()
    os.kill(known["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while read_exit(run) is None and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)


def listen(source: IO[bytes], heard: queue.Queue[tuple[bytes, bytes] | None]) -> None:
    """Put every message into the queue, and None when no more can come."""
    while True:
        try:
            message = receive(source)
        except OSError:
            message = None
        heard.put(message)
        if message is None:
            return


def accompany(node: Node, heard: queue.Queue[tuple[bytes, bytes] | None]) -> None:
    """Pass on what the processes write until they have ended, or nobody hears it any more."""
    alone, last = False, time.monotonic()
    while True:
        try:
            message = heard.get(timeout=_PAUSE_SECONDS)
            last = time.monotonic()
            if message is None:
                alone = True
            elif message[0] == b"S":
                node.stop()
        except queue.Empty:
            pass
        if alone or time.monotonic() - last > SILENCE_SECONDS:
            alone = True
            node.stop()
        ended = node.ended()
        if ended is not None:
            return None if alone else node.give_back(ended)
        if not alone:
            try:
                node.pass_on()
            except OSError:
                alone = True


def main() -> None:
    """Do what the order on standard input says, and nothing after it has ended."""
    source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # A hang-up of the connection is the end of the input, and is answered there.
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    out.write(MARK)
    out.flush()
    first = receive(source)
    if first is None:
        return
    order = json.loads(first[1].decode())
    if order.get("end"):
        end_what_is_left(order)
        return
    if sys.version_info < (3, 11):
        found = "{} is Python {}.{}, and 3.11 or newer is needed".format(sys.executable, *sys.version_info)
        send(out, b"X", (found + ": python = '/path/to/python3.11' under [targets.NAME] in config.toml").encode())
        return
    heard: queue.Queue[tuple[bytes, bytes] | None] = queue.Queue(64)
    threading.Thread(target=listen, args=(source, heard), daemon=True).start()

    def take() -> bytes:
        message = heard.get(timeout=SILENCE_SECONDS)
        if message is None:
            raise OSError("the connection ended")
        return message[1] if message[0] == b"T" else b""

    node = Node(order, out)
    try:
        node.prepare(take, order["ports"])
        while True:
            message = heard.get(timeout=SILENCE_SECONDS)
            if message is None or message[0] == b"S":
                shutil.rmtree(node.root, ignore_errors=True)
                return
            if message[0] == b"G":
                break
        node.go(json.loads(message[1].decode()))
    except (OSError, tarfile.TarError, queue.Empty) as error:
        shutil.rmtree(node.root, ignore_errors=True)
        try:
            send(out, b"X", str(error or "nothing was heard").encode())
        except OSError:
            pass
        return
    accompany(node, heard)
