"""The files of a control folder, read and written: names, formats, and what odd content means.

Readers never raise for what lies in a folder: a file that is absent, of another kind, too large or not
what it should be reads as None.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from onrecord.executors.control_group import is_ours
from onrecord.executors.protocol import REASONS, Ended, Launch, Started

LOCK = "supervisor.lock"
LAUNCH = "launch"
STARTING = "starting"
STARTED = "started"
EXIT = "exit"
STOP = "stop"
LOG = "supervisor.log"

MARKER = "ONRECORD_EXECUTION"
"""The environment variable by which what is left of a tree is recognised: a random token per launch."""

LARGEST = 64 * 1024 * 1024  # a launch carries a whole environment; the kernel takes a few MB at most


class Supervisor(NamedTuple):
    """Who the supervisor is, as it wrote it into the lock file and beside the script's identity."""

    pid: int
    start_ticks: int
    boot_id: str
    at: int


class Order(NamedTuple):
    """What a later process needs of the file `launch`."""

    token: str
    stdout: Path
    stderr: Path
    written_at: int
    folder: int
    boot_id: str
    cleanup: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def read_bytes(path: Path) -> bytes | None:
    """The content of a regular file; None for anything else. Never waits, as a FIFO would make it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return None
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read()
    except OSError:
        return None
    finally:
        os.close(fd)


def exists(path: Path) -> bool:
    """Whether the name is there at all, whatever it names."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def _read_json(path: Path) -> dict[str, Any] | None:
    content = read_bytes(path)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _identity(value: object) -> tuple[int, int, str, int] | None:
    if not isinstance(value, dict):
        return None
    pid, ticks, at = _int(value.get("pid")), _int(value.get("start_ticks")), _int(value.get("at"))
    boot = value.get("boot_id")
    if pid is None or pid <= 0 or ticks is None or at is None or not isinstance(boot, str):
        return None
    return pid, ticks, boot, at


def read_started(control: Path, name: str = STARTED) -> Started | None:
    """The script's identity: `started` once it runs, `starting` from just before that."""
    found = _identity(_read_json(control / name))
    return Started(*found) if found else None


def read_supervisor(control: Path) -> Supervisor | None:
    """Who holds, or last held, the lock: as the lock file says, or the record of the start."""
    found = _identity(_read_json(control / LOCK))
    if found is None:
        found = _identity((_read_json(control / STARTED) or {}).get("supervisor"))
    return Supervisor(*found) if found else None


def read_group(control: Path) -> Path | None:
    """The script's own control group, where its supervisor could make one."""
    recorded = (_read_json(control / STARTED) or _read_json(control / STARTING) or {}).get("group")
    return Path(recorded) if isinstance(recorded, str) and is_ours(recorded) else None


def read_exit(control: Path) -> Ended | None:
    """How it ended, as its supervisor (or `recover`) wrote it. Unknown keys are left alone."""
    value = _read_json(control / EXIT)
    at = _int(value.get("at")) if value else None
    if value is None or at is None or value.get("reason") not in REASONS:
        return None
    started = _identity(value.get("started"))
    cpu = value.get("cpu_seconds")
    return Ended(
        reason=value["reason"],
        exit_code=_int(value.get("exit_code")),
        signal=_int(value.get("signal")),
        message=str(value.get("message", "")),
        started=Started(*started) if started else None,
        at=at,
        survivors_killed=_int(value.get("survivors_killed")) or 0,
        core_dumped=value.get("core_dumped") is True,
        cpu_seconds=float(cpu) if isinstance(cpu, (int, float)) else None,
        max_rss_bytes=_int(value.get("max_rss_bytes")),
    )


def encode_exit(ended: Ended) -> bytes:
    """The line that `read_exit` reads; floats are finite by construction, and NaN is refused."""
    started = ended.started._asdict() if ended.started else None
    return json.dumps({"version": 1, **ended._asdict(), "started": started}, allow_nan=False).encode() + b"\n"


def encode_identity(process: Started) -> bytes:
    """The line that `read_started` and `read_supervisor` read."""
    return json.dumps({"version": 1, **process._asdict()}).encode() + b"\n"


def read_order(control: Path) -> Order | None:
    """Token and log files of the launch; files that moved along with the control folder are found there."""
    path = control / LAUNCH
    content = read_bytes(path)
    if not content:
        return None
    pairs = [field.partition(b"=")[::2] for field in content.split(b"\0")]
    fields = dict(pairs)
    logs = [_moved(control, fields, name) for name in (b"stdout", b"stderr")]
    token = fields.get(b"token", b"").decode("ascii", "replace")
    written = fields.get(b"written_at", b"")
    folder = fields.get(b"folder", b"")
    numbers = [int(value) if value.isdigit() else 0 for value in (written, folder)]
    boot = fields.get(b"boot_id", b"").decode("ascii", "replace")
    cleanup = tuple(os.fsdecode(value) for name, value in pairs if name == b"cleanup")
    variables = [os.fsdecode(value).partition("=") for name, value in pairs if name == b"environment"]
    environment = tuple((name, value) for name, _, value in variables)
    return Order(token, logs[0], logs[1], numbers[0], numbers[1], boot, cleanup, environment)


def _moved(control: Path, fields: Mapping[bytes, bytes], name: bytes) -> Path:
    recorded = Path(os.fsdecode(fields.get(name, b"/dev/null")))
    beside = control / os.fsdecode(fields.get(name + b"_from_control", b""))
    return beside if not exists(recorded) and exists(beside) else recorded


def encode_launch(launch: Launch, *, token: str, boot_id: str, written_at: int) -> bytes:
    """The file `launch`: fields `name=value`, each ended by a NUL byte, which none can hold.

    Bytes and not JSON: arguments, variables and paths need not be text. Readers skip names that they do
    not know; `argument`, `environment` and `cleanup` repeat, in order.
    """
    environment = {**launch.environment, "PWD": str(launch.working_directory), MARKER: token}
    fields = [
        ("version", "1"),
        ("token", token),
        ("boot_id", boot_id),
        ("written_at", str(written_at)),
        ("folder", str(launch.control.stat().st_ino)),
        ("working_directory", str(launch.working_directory)),
        ("stdout", str(launch.stdout)),
        ("stderr", str(launch.stderr)),
        ("stdout_from_control", os.path.relpath(launch.stdout, launch.control)),
        ("stderr_from_control", os.path.relpath(launch.stderr, launch.control)),
        ("time_limit_seconds", "" if launch.time_limit_seconds is None else repr(launch.time_limit_seconds)),
        ("grace_seconds", repr(launch.grace_seconds)),
        *(("argument", item) for item in launch.command),
        *(("environment", f"{name}={value}") for name, value in environment.items()),
        *(("cleanup", item) for item in launch.cleanup),
    ]
    return b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in fields)
