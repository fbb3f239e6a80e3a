"""A folder on another host as a shelf: the system's ssh, and a small program that it runs there.

The host needs Python 3.6 and nothing of ours: the program (`shelf_program`) is sent along. ssh takes its settings from
the user's files, asks for passwords on the terminal, and ends with us; the program there ends when its input does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from onrecord.snapshot import shelf_program
from onrecord.snapshot.errors import RemoteError, disk_full, shown
from onrecord.snapshot.shelf import PIECE_BYTES, Span
from onrecord.snapshot.shelf_program import LENGTH

# A network that is gone is noticed after a minute, not never.
_OPTIONS = ("-T", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
_PIECE = 1 << 20
# Asked for before the first answer is read; the requests must fit the pipes.
_READS_AHEAD = 32
_PATIENCE_SECONDS = 10.0


class SshShelf:
    """The files below a folder of another host; the connection is made when it is first used.

    `host`: as ssh takes it, with or without `user@`. `folder`: relative to the user's home where it does not begin
    with a slash. `command`: the words of the ssh to use.
    """

    def __init__(self, host: str, folder: str, *, port: int | None = None, command: Sequence[str] = ("ssh",)) -> None:
        self.name = shown(f"ssh://{host}{f':{port}' if port else ''}/{folder.removeprefix('/')}")
        self._folder = folder
        words = [*command, *_OPTIONS, *(("-p", str(port)) if port else ())]
        # A host whose name begins with a dash is no option.
        self._words = [*words, "--", host]
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def sizes(self) -> dict[str, int]:
        """The names of all files, with their bytes."""
        self._ask({"do": "sizes"})
        return {str(name): int(size) for name, size in self._answer()["sizes"].items()}

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Parts of files, asked for ahead of the answers."""
        asked = answered = 0
        try:
            while answered < len(spans):
                for span in spans[asked : answered + _READS_AHEAD]:
                    self._ask({"do": "read", **span._asdict()})
                    asked += 1
                data = self._exactly(self._answer()["length"])
                answered += 1
                yield data
        finally:
            if answered < asked:
                # Answers that nobody reads any more are still on their way.
                self._kill()

    def pieces(self, name: str) -> Iterator[bytes]:
        """A whole file."""
        start = 0
        while piece := next(self.read([Span(name, start, PIECE_BYTES)])):
            start += len(piece)
            yield piece

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """A new file, hashed again there before it has its name."""
        self._ask({"do": "write", "name": name})
        digest = hashlib.sha256()
        try:
            for piece in pieces:
                for start in range(0, len(piece), _PIECE):
                    part = piece[start : start + _PIECE]
                    digest.update(part)
                    self._send(LENGTH.pack(len(part)) + part)
        except BaseException:
            # The other side must not take for whole what was cut off.
            self._kill()
            raise
        self._send(LENGTH.pack(0) + digest.digest())
        self._answer()

    def close(self) -> None:
        """End the connection."""
        process, self._process = self._process, None
        if process is not None:
            try:
                # The program there ends with its input.
                process.communicate(timeout=_PATIENCE_SECONDS)
            except (subprocess.TimeoutExpired, OSError):
                process.kill()
                process.communicate()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.close()

    def _connected(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            program = Path(shelf_program.__file__).read_bytes()
            start = f"import sys; exec(sys.stdin.buffer.read({len(program)})); main({self._folder!r})"
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the connection
            try:
                self._process = subprocess.Popen(
                    [*self._words, f"exec python3 -IS -c {shlex.quote(start)}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                )
            except OSError as error:
                self.close()
                raise self._failed(f"{self._words[0]} cannot be started: {error.strerror}") from error
            self._send(program)
        return self._process

    def _ask(self, request: dict[str, Any]) -> None:
        self._send(json.dumps(request).encode() + b"\n")

    def _send(self, data: bytes) -> None:
        stdin = self._connected().stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        try:
            stdin.write(data)
            stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _answer(self) -> dict[str, Any]:
        stdout = self._connected().stdout
        assert stdout is not None  # noqa: S101 - it was asked for
        line = stdout.readline()
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            if line.endswith(b"\n"):
                raise self._strange(line) from None
            raise self._ended() from None
        if "error" in said:
            if said.get("code") in ("ENOSPC", "EDQUOT"):
                raise disk_full(self.name)
            raise self._failed(str(said["error"]))
        return said

    def _exactly(self, length: int) -> bytes:
        stdout = self._connected().stdout
        assert stdout is not None  # noqa: S101 - it was asked for
        data = stdout.read(length)
        if len(data) != length:
            raise self._ended()
        return data

    def _ended(self) -> RemoteError:
        said = b""
        if self._process is not None and self._errors is not None:
            try:
                self._process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
            said = os.pread(self._errors.fileno(), 4096, max(0, os.fstat(self._errors.fileno()).st_size - 4096))
        self._kill()
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return self._failed("; ".join(shown(line) for line in lines[-2:]) or "the connection ended")

    def _strange(self, line: bytes) -> RemoteError:
        self._kill()
        said = shown(line[:60].rstrip())
        return self._failed(f"it said {said}: a shell's profile there must print nothing when nobody is at a terminal")

    def _failed(self, why: str) -> RemoteError:
        return RemoteError(
            f"{self.name} does not do what was asked for",
            why=why,
            next_step=f"try it: {shlex.join(self._words[:1] + self._words[-1:])} python3 --version",
            remote=self.name,
        )
