"""Files given to a run under a name: stored, and recorded as versions of it.

Nothing is recorded before its content is durable in the objects. The conductor may record the same file at the
same time, from the run's folder: the read model of files takes the same content twice for one version.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from onrecord.errors import OnRecordError
from onrecord.file_names import checked_file_name
from onrecord.ledger.events import Event, FileUploaded
from onrecord.ledger.text import storable
from onrecord.snapshot.collect import Before, Request, Taken, collect
from onrecord.snapshot.errors import SnapshotError, disk_full, is_full, shown
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.snapshot.store import Store, Stored

if TYPE_CHECKING:
    from onrecord.ledger.query import FileRow
    from onrecord.workspace import Workspace

# So many events hold the ledger's lock for some 10 ms.
_AT_ONCE = 1_000
_PIECE = 1 << 20

Given = str | os.PathLike[str] | BinaryIO


class BadUpload(OnRecordError):
    """What cannot be stored as a file of a run. Attribute: `name`, what it was to be called."""


class Upload(NamedTuple):
    """A file to be: its name in the run, and its content: a path, or a stream of bytes, read to its end."""

    name: str
    given: Given


class _Content(NamedTuple):
    digest: str
    size: int
    bytes_stored: int


def upload(workspace: Workspace, run_id: str, uploads: Sequence[Upload]) -> list[FileRow]:
    """Give files to a run, each a new version of its name where its content is new; the versions, in order.

    All of up to 1,000 files are recorded, or none; beyond, in steps of so many. Durable on return. Raises
    BadFileName and BadUpload before anything is stored; SourceError, FileChanging, DiskFull, what a stream
    raises; UnknownRun.
    """
    names = checked_uploads(workspace, uploads)
    _refuse_erased(workspace, run_id)
    rest = iter(uploads)
    while batch := list(islice(rest, _AT_ONCE)):
        _upload_some(workspace, run_id, batch)
    after = _standing(workspace, run_id, names)
    return [after[storable(name)] for name in names]


def _upload_some(workspace: Workspace, run_id: str, uploads: Sequence[Upload]) -> None:
    before = _standing(workspace, run_id, [one.name for one in uploads])
    # An object that is there already must not be erased with another run before this one refers to it.
    with workspace.store.in_use():
        contents = store_contents(workspace, uploads, before)
        events: list[Event] = []
        for one, content in zip(uploads, contents, strict=True):
            row = before.get(storable(one.name))
            if row is None or (row.digest, row.removed_at, row.uploaded) != (content.digest, None, True):
                events.append(FileUploaded(name=one.name, **content._asdict()))
        if events:
            workspace.journal.append(run_id, events)


def store_contents(
    workspace: Workspace, uploads: Sequence[Upload], before: dict[str, FileRow] | None = None
) -> list[_Content]:
    """Store contents, durable on return, in order; whoever refers to them is in a block of `store.in_use()`.

    `before`: what there was under a name, of which one that only grew takes its growth.
    """
    streams = {at for at, one in enumerate(uploads) if hasattr(one.given, "read")}
    requests = [
        _request(one, (before or {}).get(storable(one.name))) for at, one in enumerate(uploads) if at not in streams
    ]
    taken = iter(collect(workspace.store, requests) if requests else [])
    return [
        _of_stored(_store_stream(workspace, one)) if at in streams else _of_taken(one, next(taken))
        for at, one in enumerate(uploads)
    ]


def files_below(folder: str | os.PathLike[str], skipped: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Each file below a folder: its name from there with `/` between the parts, and its path; sorted.

    Links to files are followed, links to folders are not. `skipped`: a folder that is left out. Raises BadUpload
    for what is no folder, or cannot be read.
    """
    top = Path(folder)
    if not top.is_dir():
        what = "it is a file; run.upload_file takes it" if top.exists() else "there is nothing of this name"
        raise BadUpload(
            f"{shown(top)} is no folder", why=what, next_step=f"ls -ld {shown(top)}", name=os.fspath(folder)
        )

    def refuse(error: OSError) -> None:
        place = shown(error.filename or top)
        raise BadUpload(
            f"cannot read {place}", why=error.strerror or "", next_step=f"ls -ld {place}", name=os.fspath(folder)
        )

    for name_of_folder, folders, names in os.walk(top, onerror=refuse):
        here = Path(name_of_folder)
        folders[:] = sorted(one for one in folders if not _is_same(here / one, skipped))
        for name in sorted(names):
            yield (here / name).relative_to(top).as_posix(), here / name


# ---- contents ------------------------------------------------------------------------------------------


def _request(one: Upload, row: FileRow | None) -> Request:
    known = Before(row.digest, row.size) if row is not None else None
    return Request(Path(os.path.realpath(os.fspath(one.given))), known)  # type: ignore[arg-type]


def _of_taken(one: Upload, result: Taken | SnapshotError | None) -> _Content:
    if isinstance(result, Taken):
        return _Content(result.now.digest, result.now.size, result.bytes_stored)
    if result is not None:
        raise result
    raise _refusal(one, "it was removed while it was read", "the same again")


def _of_stored(stored: Stored) -> _Content:
    return _Content(stored.digest, stored.size, stored.bytes_stored)


def _store_stream(workspace: Workspace, one: Upload) -> Stored:
    """Store what a stream still has to give. Nobody waits for it: a slow one is first written beside the objects."""
    pieces = _pieces(one)
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) >= LOOSE_FROM:
            break
    if len(head) < LOOSE_FROM:
        return workspace.store.put_bytes(bytes(head))
    try:
        # It has no name, so that nothing of it is left by whoever is killed meanwhile.
        with tempfile.TemporaryFile(dir=workspace.layout.root) as spooled:
            spooled.write(head)
            for piece in pieces:
                spooled.write(piece)
            spooled.flush()
            return _store_large(workspace.store, spooled.fileno())
    except OSError as error:
        if is_full(error):
            raise disk_full(workspace.layout.root) from error
        raise


def _store_large(store: Store, fd: int) -> Stored:
    os.lseek(fd, 0, os.SEEK_SET)
    with store.writer() as writer:
        digest, size = writer.add_large(fd, os.fstat(fd).st_size)
        new = writer.commit()
    return Stored(digest.hex(), size, new.pop(digest, 0))


def _pieces(one: Upload) -> Iterator[bytes]:
    read = one.given.read  # type: ignore[union-attr]
    while True:
        piece = read(_PIECE)
        if isinstance(piece, str):
            raise _refusal(one, "it is a stream of text", "open it with mode 'rb', or io.BytesIO(text.encode())")
        if piece is None or not isinstance(piece, bytes | bytearray | memoryview):
            what = "nothing at the moment" if piece is None else f"a {type(piece).__name__}"
            raise _refusal(one, f"it is a stream that gave {what} in place of bytes", "open it with mode 'rb'")
        if not piece:
            return
        yield bytes(piece)


# ---- what is refused -----------------------------------------------------------------------------------


def checked_uploads(workspace: Workspace, uploads: Sequence[Upload]) -> list[str]:
    """Refuse names and paths that cannot be stored, before anything is; the names. Raises BadFileName, BadUpload."""
    names = [checked_file_name(one.name) for one in uploads]
    _refuse_twice(names)
    for one in uploads:
        if not hasattr(one.given, "read"):
            _refuse_path(workspace, one)
    return names


def _refuse_twice(names: Sequence[str]) -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise BadUpload(f"'{shown(name)}' is named twice", next_step="give each file a name of its own", name=name)
        seen.add(name)


def _refuse_path(workspace: Workspace, one: Upload) -> None:
    if not isinstance(one.given, str | os.PathLike):
        kind = type(one.given).__name__
        raise _refusal(one, f"a {kind} is neither a path nor a stream", "a path, an open file, or io.BytesIO(data)")
    path = Path(one.given)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _refusal(one, _missing(path, error), f"ls -l {shown(path.parent)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise _refusal(one, f"{shown(path)} is a folder", f"run.upload_folder({one.name!r}, {shown(path)!r})")
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(one, f"{shown(path)} is no regular file", "give its content as a stream: open(path, 'rb')")
    if _is_ours(workspace, path.resolve()):
        # Reading the ledger's file would also drop the locks that SQLite holds for this process.
        raise _refusal(one, f"{shown(path)} belongs to the workspace itself", "onrecord backup copies the ledger")


def _missing(path: Path, error: OSError | ValueError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"{shown(path)}: {getattr(error, 'strerror', None) or error}"
    from difflib import get_close_matches

    try:
        near = get_close_matches(path.name, [one.name for one in path.parent.iterdir()], 3)
    except OSError:
        near = []
    hint = f"; near ones: {', '.join(map(shown, near))}" if near else ""
    where = "" if path.is_absolute() else f" in {shown(Path.cwd())}"
    return f"there is no file {shown(path)}{where}{hint}"


def _is_ours(workspace: Workspace, path: Path) -> bool:
    if _is_same(path, workspace.layout.ledger):
        return True
    return path.is_relative_to(workspace.layout.root.resolve()) and not path.is_relative_to(
        workspace.layout.runs.resolve()
    )


def _is_same(path: Path, other: Path | None) -> bool:
    try:
        return other is not None and path.samefile(other)
    except OSError:
        return False


def _refuse_erased(workspace: Workspace, run_id: str) -> None:
    if workspace.query.run(run_id).erased:
        raise BadUpload(
            f"run {run_id} takes no files", why="what was known of it was erased", next_step="onrecord ls", name=run_id
        )


def _refusal(one: Upload, why: str, next_step: str) -> BadUpload:
    return BadUpload(f"cannot store '{shown(one.name)}'", why=why, next_step=next_step, name=one.name)


def _standing(workspace: Workspace, run_id: str, names: Iterable[str]) -> dict[str, FileRow]:
    """The newest version of each of some names, by the name as the ledger spells it."""
    wanted = {storable(name) for name in names}
    if len(wanted) > 20:
        return {row.name: row for row in workspace.query.files(run_id, removed=True) if row.name in wanted}
    found = (workspace.query.file_versions(run_id, name) for name in wanted)
    return {versions[-1].name: versions[-1] for versions in found if versions}
