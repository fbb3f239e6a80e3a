"""An index whose bytes are not what SQLite wrote."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from onrecord.snapshot.errors import ObjectCorrupt, StoreError
from onrecord.snapshot.store import Store


def changed(folder: Path, *statements: str) -> Store:
    """A store of one object whose index someone has changed."""
    with Store(folder) as store:
        store.put_bytes(b"content")
    connection = sqlite3.connect(folder / "index.db", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return Store(folder)


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM facts",),
        ("UPDATE facts SET value = CAST(x'ff' AS TEXT)",),
        ("PRAGMA writable_schema = 1", "UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT) WHERE name = 'facts'"),
    ],
    ids=["no identity", "text that is not UTF-8", "a schema that is not UTF-8"],
)
def test_a_damaged_index_is_told_as_a_store_that_cannot_be_used(tmp_path: Path, statements: tuple[str, ...]) -> None:
    with changed(tmp_path, *statements) as store, pytest.raises(StoreError) as problem:
        list(store.verify())
    assert problem.value.why and problem.value.next_step


@pytest.mark.parametrize("place", ["offset = -1", "kept = -1", "kept = 1 << 60", "offset = 1 << 62"])
def test_a_place_that_cannot_be_is_a_damaged_object(tmp_path: Path, place: str) -> None:
    with changed(tmp_path, f"UPDATE objects SET {place}") as store:  # noqa: S608
        (fault,) = store.verify()
        assert fault.problem
        with pytest.raises(ObjectCorrupt):
            store.read(fault.digest)


def test_a_pack_whose_name_cannot_be_one_is_a_damaged_object(tmp_path: Path) -> None:
    with changed(tmp_path, "UPDATE packs SET name = 'a' || char(0)") as store:
        (fault,) = store.verify()
        assert "null" in fault.problem


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
@pytest.mark.parametrize("large", [False, True])
def test_something_else_in_the_place_of_a_file_of_the_store_is_a_damaged_object(
    tmp_path: Path, kind: str, large: bool
) -> None:
    with Store(tmp_path / "store") as store:
        if large:
            (tmp_path / "large").write_bytes(bytes(5 * 2**20))
            stored = store.put_file(tmp_path / "large")
        else:
            stored = store.put_bytes(b"content")
    (path,) = [
        path
        for path in (tmp_path / "store").rglob("*")
        if path.is_file() and (path.suffix == ".pack" if not large else path.stat().st_size == 5 * 2**20)
    ]
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with Store(tmp_path / "store") as store:
        (fault,) = store.verify()
        assert (fault.digest, "no regular file" in fault.problem) == (stored.digest, True)
