"""The way over ssh: what can go wrong on it is told, and nothing is left on the other host."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ssh_host

from onrecord.snapshot import shelf_program
from onrecord.snapshot.errors import DiskFull, RemoteError
from onrecord.snapshot.remote_ssh import SshShelf
from onrecord.snapshot.remotes import remote_named
from onrecord.snapshot.shelf import ShelfRemote
from onrecord.snapshot.store import Store
from onrecord.snapshot.transfer import send

LARGE = 5 << 20


def programs(folder: Path) -> list[psutil.Process]:
    """Processes of this machine, as the other host, that serve a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words and Path(words[0]).name.startswith("python") and f"main({str(folder)!r})" in words[-1]:
            found.append(process)
    return found


def shelf(host: ssh_host.SshHost, folder: object) -> SshShelf:
    return SshShelf(ssh_host.NAME, str(folder), command=host.command)


def test_the_program_that_is_sent_needs_no_more_than_python_3_6() -> None:
    source = Path(shelf_program.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
    assert "annotations" not in imported and "missing_ok" not in source


def test_its_end_ends_the_program_on_the_other_host(other_host: ssh_host.SshHost, tmp_path: Path, store: Store) -> None:
    far = ShelfRemote(shelf(other_host, tmp_path / "far"))
    assert far.missing([b"1" * 32])
    assert len(programs(tmp_path / "far")) == 1
    far.close()
    wait_for_none(tmp_path / "far")
    code = (
        "import sys, time; from onrecord.snapshot.remote_ssh import SshShelf;"
        "shelf = SshShelf(sys.argv[1], sys.argv[2], command=sys.argv[3:]);"
        "shelf.sizes(); print('there', flush=True); time.sleep(100)"
    )
    words = [sys.executable, "-c", code, ssh_host.NAME, str(tmp_path / "far"), *other_host.command]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        assert len(programs(tmp_path / "far")) == 1
        process.send_signal(signal.SIGKILL)
    wait_for_none(tmp_path / "far")


def wait_for_none(folder: Path) -> None:
    for _ in range(200):
        if not programs(folder):
            return
        time.sleep(0.05)
    raise AssertionError(programs(folder))


def test_a_program_that_is_killed_is_told_and_the_next_connection_goes_on(
    other_host: ssh_host.SshHost, tmp_path: Path, store: Store
) -> None:
    digests = [store.put_bytes(os.urandom(LARGE)).digest for _ in range(2)]
    far = ShelfRemote(shelf(other_host, tmp_path / "far"))

    def told(done: int, total: int) -> None:
        for process in programs(tmp_path / "far"):
            process.kill()

    with pytest.raises(RemoteError) as caught:
        send(store, far, [], digests, progress=told)
    assert caught.value.why
    assert f"ssh {ssh_host.NAME} python3 --version" in caught.value.next_step
    far = ShelfRemote(shelf(other_host, tmp_path / "far"))
    assert send(store, far, [], digests).objects == 1
    assert list((tmp_path / "far" / "tmp").iterdir()) == []
    far.close()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["no-such-program"], "cannot be started"),
        (["sh", "-c", "echo no route >&2; exit 255"], "no route"),
        (["sh", "-c", "echo Welcome; cat"], "it said Welcome"),
        (["sh", "-c", "exec sh -c 'exec python7 -c pass'"], "python7"),
    ],
    ids=["no ssh", "no host", "a talkative profile", "no python"],
)
def test_what_is_wrong_with_the_connection_is_told(command: list[str], why: str) -> None:
    with pytest.raises(RemoteError, match="does not do what was asked") as caught:
        SshShelf("host", "folder", command=command).sizes()
    assert why in caught.value.why
    assert caught.value.remote == "ssh://host/folder"


def test_a_folder_that_cannot_be_made_is_told(other_host: ssh_host.SshHost, tmp_path: Path, store: Store) -> None:
    (tmp_path / "file").touch()
    far = ShelfRemote(shelf(other_host, tmp_path / "file" / "far"))
    with pytest.raises(RemoteError) as caught:
        send(store, far, [], [store.put_bytes(b"1").digest])
    assert "Not a directory" in caught.value.why
    # The connection is still of use, and what was asked for is answered.
    with pytest.raises(RemoteError):
        send(store, far, [], [store.put_bytes(b"1").digest])
    far.close()


def test_what_changes_on_the_way_gets_no_name(tmp_path: Path) -> None:
    import hashlib
    import io

    folder = shelf_program.Folder(str(tmp_path / "far"))
    name = f"loose/{'ab' * 32}"
    piece = shelf_program.LENGTH.pack(4) + b"data" + shelf_program.LENGTH.pack(0)
    with pytest.raises(ValueError, match="not what was sent"):
        shelf_program.answer(folder, {"do": "write", "name": name}, io.BytesIO(piece + bytes(32)))
    with pytest.raises(EOFError):
        shelf_program.answer(folder, {"do": "write", "name": name}, io.BytesIO(piece[:6]))
    assert folder.sizes() == {}
    good = io.BytesIO(piece + hashlib.sha256(b"data").digest())
    shelf_program.answer(folder, {"do": "write", "name": name}, good)
    assert folder.sizes() == {name: 4}
    for bad in ("../../etc/passwd", "packs/short", "/etc/passwd", "tmp/x"):
        with pytest.raises(ValueError, match="no file of the name"):
            folder.read(bad, 0, 10)
    assert list((tmp_path / "far" / "tmp").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own takes the right to mount one")
def test_a_full_disk_over_there_is_told_and_what_was_sent_counts(
    other_host: ssh_host.SshHost, tmp_path: Path, store: Store
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        digests = [store.put_bytes(os.urandom(LARGE)).digest for _ in range(3)]
        far = ShelfRemote(shelf(other_host, disk / "far"))
        with pytest.raises(DiskFull, match="no space left in ssh://") as caught:
            send(store, far, [], digests)
        assert caught.value.next_step
        assert len(far.missing([bytes.fromhex(digest) for digest in digests])) == 1
        assert list((disk / "far" / "tmp").iterdir()) == []
        subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
        assert send(store, far, [], digests).objects == 1
        far.close()
        wait_for_none(disk / "far")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_remote_is_known_by_how_it_is_written(
    tmp_path: Path, other_host: ssh_host.SshHost, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONRECORD_SSH", other_host.words)
    digest = store.put_bytes(b"content").digest
    for text in (f"ssh://{ssh_host.NAME}{tmp_path}/one", f"{ssh_host.NAME}:{tmp_path}/two", str(tmp_path / "three")):
        far = remote_named(text)
        assert send(store, far, [], [digest]).objects == 1
        far.close()
    assert sorted(path.name for path in tmp_path.iterdir() if (path / "packs").is_dir()) == [
        "objects",
        "one",
        "three",
        "two",
    ]
    near = remote_named(str(store.folder))
    assert near.missing([bytes.fromhex(digest)]) == set()
    near.close()
    assert remote_named(f"file://{tmp_path}/three").missing([bytes.fromhex(digest)]) == set()


@pytest.mark.parametrize("text", ["ssh://host", "ssh:///folder", "ssh://host:port/folder", "ssh://host/"])
def test_what_is_no_remote_is_refused(text: str) -> None:
    with pytest.raises(RemoteError, match="is no remote") as caught:
        remote_named(text)
    assert "ssh://host/folder" in caught.value.next_step


def test_a_host_is_never_taken_for_an_option(tmp_path: Path) -> None:
    far = remote_named(f"ssh://-oProxyCommand=touch%20{tmp_path}%2Fowned/folder")
    with pytest.raises(RemoteError):
        far.missing([b"1" * 32])
    far = remote_named(f"-oProxyCommand=touch${{IFS}}{tmp_path}owned:folder")
    assert list(tmp_path.iterdir()) == []


def test_the_home_of_the_user_there_is_spelled_as_git_spells_it() -> None:
    for text, folder in (
        ("ssh://ada@host:2222/~/runs", "runs"),
        ("ssh://host/srv/runs", "/srv/runs"),
        ("ada@host:runs", "runs"),
        ("host:", "."),
    ):
        far = remote_named(text)
        assert isinstance(far, ShelfRemote) and isinstance(far._shelf, SshShelf)
        assert far._shelf._folder == folder
        assert ("2222" in far._shelf._words) == (":2222" in text)
