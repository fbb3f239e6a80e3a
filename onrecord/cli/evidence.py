"""What the commands about checkpoints, proofs and receipts share: reading files, writing them, saying what holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from onrecord.ledger.checkpoint import Checkpoint, parse_checkpoint
from onrecord.ledger.errors import BadEvidence
from onrecord.ledger.note import PrivateKey, PublicKey, parse_private_key, parse_public_key
from onrecord.ssh_signature import check_file, sign_file, signature_of
from onrecord.wording import Style, counted, narrate, printable

Function = TypeVar("Function", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)
# One to be read, `-` for stdin: that it is missing is a mistake in the command line, not an answer to the question.
GIVEN_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


def read_text(path: Path) -> str:
    """The text of a file, `-` for stdin. Raises BadEvidence where it is not UTF-8."""
    data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise BadEvidence(f"{path} cannot be read", why="it is not text in UTF-8", kind="file", line=0) from problem


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file. Raises BadEvidence."""
    return parse_checkpoint(read_text(path))


def read_private_key(path: Path) -> PrivateKey:
    """The key in a file that `onrecord keygen` made. Raises BadEvidence, SigningUnavailable."""
    return parse_private_key(read_text(path))


def read_public_keys(given: tuple[str, ...]) -> list[PublicKey]:
    """Public keys, each written out or in a file. Raises BadEvidence."""
    return [parse_public_key(each if "+" in each else read_text(Path(each))) for each in given]


def write_evidence(text: str, output: Path | None, ssh_key: Path | None = None) -> None:
    """Write a checkpoint, proof or receipt to a file, or to stdout; sign the file with an SSH key."""
    if output is None:
        if ssh_key is not None:
            raise click.UsageError("--ssh-key signs a file: name it with -o FILE")
        sys.stdout.write(text)
        return
    if ssh_key is None:
        output.write_text(text)
        narrate(printable(f"wrote {output}"))
        return
    # Signed under another name: what could not be signed must not lie there as if it were.
    unsigned = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        unsigned.write_text(text)
        signature = sign_file(unsigned, ssh_key, name=output).replace(signature_of(output))
        unsigned.replace(output)
    finally:
        unsigned.unlink(missing_ok=True)
    narrate(printable(f"wrote {output}"))
    narrate(printable(f"wrote {signature}"))


def signer_of(path: Path, allowed_signers: Path | None) -> str | None:
    """Who signed a file with an SSH key, where that is asked for. Raises SshSignatureFailed."""
    return check_file(path, allowed_signers) if allowed_signers else None


def say_it_holds(facts: list[tuple[str, str]]) -> None:
    """Print what was confirmed, for people."""
    style = Style(sys.stdout)
    for name, value in facts:
        print(f"  {style.dim(name.ljust(12))} {printable(value)}")


def checkpoint_document(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint in JSON: `origin`, `size` in events, `root` in 64 hex digits."""
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


def described(checkpoint: Checkpoint) -> str:
    """A checkpoint in one line."""
    return f"{counted(checkpoint.size, 'event')} of {checkpoint.origin}, root {checkpoint.root.hex()}"


def output_option(function: Function) -> Function:
    """The option --output."""
    return click.option("-o", "--output", type=FILE, metavar="FILE", help="Write here (default: stdout).")(function)


def signing_options(function: Function) -> Function:
    """The options --sign and --ssh-key."""
    function = click.option("--ssh-key", type=FILE, metavar="FILE", help="Sign the file with ssh-keygen: FILE.sig.")(
        function
    )
    return click.option("--sign", "key_file", type=GIVEN_FILE, metavar="KEYFILE", help="Sign with a key of keygen.")(
        function
    )


def trust_options(function: Function) -> Function:
    """The options --key and --allowed-signers."""
    function = click.option(
        "--allowed-signers", type=GIVEN_FILE, metavar="FILE", help="FILE.sig must be by one of these (ssh-keygen)."
    )(function)
    return click.option(
        "--key", "keys", multiple=True, metavar="KEY|FILE", help="It must be signed by this public key; repeatable."
    )(function)
