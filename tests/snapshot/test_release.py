"""A large file becomes an object without a copy, and a folder gives up what the store holds, never anything else."""

from __future__ import annotations

import mmap
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onrecord.snapshot.collect import Request, Taken, collect
from onrecord.snapshot.release import release
from onrecord.snapshot.store import Store

LARGE = 5 << 20


def moved(store: Store, path: Path) -> Taken:
    [result] = collect(store, [Request(path, last=True, movable=True)])
    assert isinstance(result, Taken), result
    return result


def give_up(store: Store, path: Path, taken: Taken) -> int:
    status = taken.status
    expected = status.st_size, status.st_mtime_ns, status.st_ino
    return release(store, taken.now.digest, path, expected, store.folder.parent / "spare")


def loose(store: Store, taken: Taken) -> Path:
    return store.folder / "loose" / taken.now.digest


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.bin"
    path.write_bytes(os.urandom(LARGE))
    return path


def test_a_large_file_becomes_an_object_without_a_copy_and_gives_up_its_name(store: Store, output: Path) -> None:
    data, inode = output.read_bytes(), output.stat().st_ino
    taken = moved(store, output)
    assert loose(store, taken).stat().st_ino == inode == output.stat().st_ino
    assert give_up(store, output, taken) == LARGE
    assert not output.exists()
    assert loose(store, taken).stat().st_nlink == 1
    assert loose(store, taken).stat().st_mode & 0o222 == 0
    assert store.read(taken.now.digest) == data
    assert list(store.verify()) == []
    assert not (store.folder.parent / "spare").exists()


def _open_for_writing(path: Path) -> object:
    return path.open("r+b")


def _mapped_for_writing(path: Path) -> object:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _with_another_name(path: Path) -> object:
    return os.link(path, path.with_name("other name"))


@pytest.mark.parametrize("hold", [_open_for_writing, _mapped_for_writing, _with_another_name])
def test_what_someone_may_still_write_is_copied(store: Store, output: Path, hold: Callable[[Path], object]) -> None:
    held = hold(output)
    taken = moved(store, output)
    assert loose(store, taken).stat().st_ino != output.stat().st_ino
    assert store.read(taken.now.digest) == output.read_bytes()
    assert give_up(store, output, taken) == LARGE
    assert not output.exists()
    if hasattr(held, "close"):
        held.close()


def test_nothing_is_given_up_that_is_not_in_the_store_whole(store: Store, output: Path) -> None:
    with output.open("r+b"):
        taken = moved(store, output)
    copy = loose(store, taken)
    copy.chmod(0o644)
    with copy.open("r+b") as file:
        file.write(b"damage")
    assert give_up(store, output, taken) == 0
    copy.unlink()
    assert give_up(store, output, taken) == 0
    assert output.exists()


def test_a_file_that_changed_since_is_not_given_up(store: Store, output: Path) -> None:
    with output.open("r+b"):
        taken = moved(store, output)
    with output.open("ab") as file:
        file.write(b"more")
    assert give_up(store, output, taken) == 0
    output.unlink()
    output.symlink_to("/dev/null")
    assert give_up(store, output, taken) == 0
    assert output.is_symlink()


def test_a_writer_that_died_before_the_end_leaves_the_file_with_its_own_name_alone(store: Store, output: Path) -> None:
    data = output.read_bytes()
    child = os.fork()
    if child == 0:
        from onrecord.snapshot.writer import Writer

        Writer._publish = lambda *_: os._exit(1)
        moved(store, output)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert output.stat().st_nlink == 2
    store.put_bytes(b"the next writer clears up")
    assert output.stat().st_nlink == 1
    assert output.read_bytes() == data
    assert store.read(moved(store, output).now.digest) == data


@pytest.fixture
def sharing_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system whose files can share blocks."""
    disk, image = tmp_path / "disk", tmp_path / "image"
    disk.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(320 << 20)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs mkfs.xfs and the right to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def free_bytes(disk: Path) -> int:
    os.sync()
    status = os.statvfs(disk)
    return status.f_bfree * status.f_bsize


def test_where_blocks_can_be_shared_the_file_stays_and_costs_nothing(sharing_disk: Path) -> None:
    path = sharing_disk / "checkpoint.bin"
    path.write_bytes(os.urandom(50 << 20))
    path.chmod(0o640)
    with Store(sharing_disk / "objects") as store:
        data, mtime = path.read_bytes(), path.stat().st_mtime_ns
        free = free_bytes(sharing_disk)
        with path.open("r+b"):
            taken = moved(store, path)
        assert loose(store, taken).stat().st_ino != path.stat().st_ino
        assert give_up(store, path, taken) == len(data)
        deadline = time.monotonic() + 60
        # The blocks of the former file are freed a moment later.
        while free - free_bytes(sharing_disk) > 5 << 20:
            assert time.monotonic() < deadline, "it still takes the room of two files"
            time.sleep(0.1)
        assert path.read_bytes() == data
        assert (path.stat().st_mode & 0o777, path.stat().st_mtime_ns) == (0o640, mtime)
        with path.open("r+b") as file:
            file.write(b"written later")
        assert store.read(taken.now.digest) == data
        assert list(store.verify()) == []
