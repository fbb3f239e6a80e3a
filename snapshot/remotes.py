"""A remote by the way in which people write it."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from onrecord.snapshot.errors import RemoteError

if TYPE_CHECKING:
    from onrecord.snapshot.transfer import Remote

# The words of the ssh to use, as RSYNC_RSH has them.
SSH_VARIABLE = "ONRECORD_SSH"
_URL = re.compile(r"([a-z][a-z0-9+]*)://")
_SCP = re.compile(r"(?P<host>[^/:\s]+):(?P<folder>[^:]*)")


def remote_named(text: str, *, must_exist: bool = False) -> Remote:
    """The remote that `text` names; nothing is asked of it yet. `must_exist` refuses a folder that is not there.

    `ssh://[user@]host[:port]/folder`, `[user@]host:folder` (relative to the home there), `s3://bucket/prefix` and the
    other addresses of obstore, or a folder: another store where it is one, else files as on any other remote.
    Errors: RemoteError.
    """
    scheme = _URL.match(text)
    scp = None if scheme else _SCP.fullmatch(text)
    from onrecord.snapshot.shelf import ShelfRemote

    if (scheme and scheme[1] == "ssh") or scp:
        from onrecord.snapshot.remote_ssh import SshShelf

        command = shlex.split(os.environ.get(SSH_VARIABLE, "")) or ["ssh"]
        if scp:
            return ShelfRemote(SshShelf(scp["host"], scp["folder"] or ".", command=command))
        host, port, folder = _parts(text)
        return ShelfRemote(SshShelf(host, folder, port=port, command=command))
    if scheme and scheme[1] != "file":
        from onrecord.snapshot.remote_bucket import BucketShelf

        return ShelfRemote(BucketShelf.at(text))
    path = Path(unquote(urlsplit(text).path) if scheme else text)
    if not text.strip():
        raise _bad(text, "it is empty: a variable of the shell that is not set gives that")
    if path.exists() and not path.is_dir():
        raise _bad(text, "it is a file")
    if must_exist and not path.exists():
        raise _bad(text, "there is no such folder")
    if (path / "index.db").is_file():
        from onrecord.snapshot.remote_store import StoreRemote
        from onrecord.snapshot.store import Store

        return StoreRemote(Store(path))
    from onrecord.snapshot.remote_folder import FolderShelf

    return ShelfRemote(FolderShelf(path))


def _parts(url: str) -> tuple[str, int | None, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(url, str(error)) from error
    host = parts.netloc.removesuffix(f":{port}") if port else parts.netloc
    folder = unquote(parts.path)
    if not host or folder in ("", "/"):
        raise _bad(url, "it names no host or no folder")
    # As in git and rsync: /~/ is the home of the user there.
    return host, port, folder.removeprefix("/~/") if folder.startswith("/~/") else folder


def _bad(text: str, why: str) -> RemoteError:
    return RemoteError(
        f"{text!r} is no remote",
        why=why,
        next_step="write ssh://host/folder, host:folder, s3://bucket/prefix, or a folder of this machine",
        remote=text,
    )
