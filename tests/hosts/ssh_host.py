"""Another host over ssh, which is this machine: an sshd of its own on a free port, with its own keys."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import attrs
import pytest

NAME = "other-host"


@attrs.define
class SshHost:
    """A running sshd; `command` are the words of an ssh that reaches it as `other-host`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def command(self) -> list[str]:
        return ["ssh", "-F", str(self.folder / "ssh_config")]

    @property
    def words(self) -> str:
        """The same as one text, for environment variables."""
        return shlex.join(self.command)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def started(folder: Path) -> SshHost:
    """Start an sshd, or skip where there is none and need not be."""
    sshd = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]))
    if sshd is None or shutil.which("ssh") is None:
        assert "sshd" not in os.environ.get("ONRECORD_TESTS_NEED", ""), "apt-get install openssh-server"
        pytest.skip("no sshd (apt-get install openssh-server)")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _write_settings(folder, port)
    process = subprocess.Popen([sshd, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
    host = SshHost(folder, port, process)
    for _ in range(100):
        if subprocess.run([*host.command, NAME, "true"], capture_output=True, check=False).returncode == 0:
            return host
        time.sleep(0.05)
    host.stop()
    raise AssertionError((folder / "sshd.log").read_text())


def _write_settings(folder: Path, port: int) -> None:
    (folder / "authorized_keys").write_bytes((folder / "user_key.pub").read_bytes())
    (folder / "authorized_keys").chmod(0o600)
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\n"
        "MaxSessions 50\nMaxStartups 100:30:200\n"
    )
    key = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    (folder / "ssh_config").write_text(
        f"Host {NAME}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
    )


def named(folder: Path, hosts: dict[str, SshHost]) -> str:
    """One ssh, as a text, that reaches several of them by names; its settings go into `folder`."""
    settings = folder / "ssh_config"
    texts = [
        (host.folder / "ssh_config").read_text().replace(f"Host {NAME}", f"Host {name}") for name, host in hosts.items()
    ]
    settings.write_text("".join(texts))
    return shlex.join(["ssh", "-F", str(settings)])
