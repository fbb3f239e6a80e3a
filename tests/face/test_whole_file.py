"""A file that is written whole or not at all, also by a writer that is killed."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from face_make import clean_environment

from onrecord import whole_file as module
from onrecord.whole_file import whole_file

KILLED = """
import os, signal, sys
from pathlib import Path
from onrecord.whole_file import whole_file
with whole_file(Path(sys.argv[1]), overwrite=True) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["nameless", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways, also on a system that has the better one."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


def test_a_file_appears_whole_with_the_rights_of_a_new_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    with whole_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    (tmp_path / "usual").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    with pytest.raises(FileExistsError), whole_file(path) as file:
        file.write(b"other")
    assert path.read_bytes() == b"whole"
    with whole_file(path, overwrite=True) as file:
        file.write(b"other")
    assert path.read_bytes() == b"other"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "usual"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(KeyError), whole_file(path, overwrite=True) as file:
        file.write(b"half")
        raise KeyError
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"


def test_a_killed_writer_leaves_nothing_where_files_can_be_nameless(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "file")]
    done = subprocess.run(command, env=clean_environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    if module._can_name(tmp_path / ".probe"):
        assert list(tmp_path.iterdir()) == []


def test_what_was_left_a_day_ago_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    names = [".file.0123abcd.part", ".file.89abcdef.part", ".file.0123abcd", ".other.0123abcd.part", "file.part"]
    for name in names:
        (tmp_path / name).write_bytes(b"left")
    then = time.time() - 25 * 3600
    for name in names[:1] + names[2:]:
        os.utime(tmp_path / name, (then, then))
    with whole_file(tmp_path / "file") as file:
        file.write(b"1")
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted(["file", *names[1:]])


def test_a_folder_that_is_not_there_is_an_error_as_always(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "nowhere" / "file"):
        pass
    assert caught.value.errno == errno.ENOENT
