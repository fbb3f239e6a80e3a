"""Files signed and checked with SSH keys, by `ssh-keygen -Y`: FILE.sig beside FILE, in the namespace `onrecord`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from onrecord.errors import OnRecordError

NAMESPACE = "onrecord"
_TIMEOUT_SECONDS = 120


class SshSignatureFailed(OnRecordError):
    """A file could not be signed, or its signature is not what it should be. Attribute: `path`."""


def signature_of(path: Path) -> Path:
    """Where the signature of a file lies."""
    return path.with_name(path.name + ".sig")


def sign_file(path: Path, key: Path, name: Path | None = None) -> Path:
    """Sign a file with an SSH key (a private key, or a public one whose private key an agent holds).

    `name`: what the file will be called. Returns the signature's file, which replaces an earlier one. Raises
    SshSignatureFailed.
    """
    signature = signature_of(path)
    signature.unlink(missing_ok=True)
    code, said = _ssh_keygen("sign", "-f", str(key), "-n", NAMESPACE, str(path))
    if code or not signature.exists():
        raise SshSignatureFailed(
            f"{name or path} could not be signed with {key}",
            why=said,
            next_step=f"ssh-keygen -y -f {key}   (shows whether the key can be used)",
            path=name or path,
        )
    return signature


def check_file(path: Path, allowed_signers: Path) -> str:
    """Who of `allowed_signers` signed the file: the principal's name. Raises SshSignatureFailed."""
    signature = signature_of(path)
    if not signature.is_file():
        raise SshSignatureFailed(
            f"{path} has no SSH signature beside it",
            why=f"there is no {signature}",
            next_step="ask for that file too; it belongs beside the other",
            path=path,
        )
    code, said = _ssh_keygen("find-principals", "-s", str(signature), "-f", str(allowed_signers))
    signers = said.split("\n") if not code else []
    for signer in signers:
        with path.open("rb") as data:
            code, said = _ssh_keygen(
                *("verify", "-f", str(allowed_signers), "-I", signer, "-n", NAMESPACE, "-s", str(signature)), data=data
            )
        if not code:
            return signer
    raise SshSignatureFailed(
        f"{path} is not signed by anyone in {allowed_signers}",
        why=said,
        next_step=f"ssh-keygen -Y check-novalidate -n {NAMESPACE} -s {signature} < {path}   (shows the key)",
        path=path,
    )


def _ssh_keygen(*words: str, data: object = subprocess.DEVNULL) -> tuple[int, str]:
    """The exit code, and what it printed."""
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", *words],
            stdin=data,  # type: ignore[call-overload]
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return 1, f"ssh-keygen: {problem}"
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()
