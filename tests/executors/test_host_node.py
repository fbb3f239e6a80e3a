"""What is sent to another host: messages, archives, and a host whose Python is too old."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from onrecord.executors import host_node


def archive(*members: tuple[str, bytes, bytes]) -> io.BytesIO:
    """A tar of members: name, kind, and content or the link's target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = content.decode() if kind == tarfile.SYMTYPE else ""
            member.size = 0 if kind == tarfile.SYMTYPE else len(content)
            tar.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def extracted(folder: Path, source: io.BytesIO, **options: bool) -> list[str]:
    folder.mkdir()
    with tarfile.open(fileobj=source, mode="r|") as tar:
        host_node.safe_extract(tar, str(folder), **options)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_names_that_lead_out_of_the_folder_are_not_extracted(tmp_path: Path) -> None:
    file = tarfile.REGTYPE
    hostile = archive(
        ("../up", file, b"x"), ("/tmp/absolute-of-a-test", file, b"x"), ("a/../../up", file, b"x"), ("in/x", file, b"x")
    )
    assert extracted(tmp_path / "here", hostile) == ["in/x"]
    assert not (tmp_path / "up").exists()
    assert not Path("/tmp/absolute-of-a-test").exists()


def test_of_what_comes_back_no_links_are_made(tmp_path: Path) -> None:
    hostile = archive(("out", tarfile.SYMTYPE, str(tmp_path).encode()), ("out/x", tarfile.REGTYPE, b"x"))
    assert extracted(tmp_path / "here", hostile, files_only=True) == ["out/x"]
    assert not (tmp_path / "x").exists()


def test_a_message_that_was_cut_off_is_the_end() -> None:
    whole = io.BytesIO()
    host_node.send(whole, b"L", b"content")
    assert host_node.receive(io.BytesIO(whole.getvalue())) == (b"L", b"content")
    for length in range(len(whole.getvalue())):
        assert host_node.receive(io.BytesIO(whole.getvalue()[:length])) is None


def answer(*messages: tuple[bytes, bytes], before: str = "pass") -> tuple[bytes, bytes] | None:
    """The first message of the program to these, in a process of its own."""
    given = io.BytesIO()
    for kind, content in messages:
        host_node.send(given, kind, content)
    code = f"import sys; {before}; from onrecord.executors import host_node; host_node.main()"
    done = subprocess.run([sys.executable, "-c", code], input=given.getvalue(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    mark, _, rest = done.stdout.partition(host_node.MARK)
    assert mark == b""
    return host_node.receive(io.BytesIO(rest))


def order(folder: Path) -> tuple[bytes, bytes]:
    told = {"folder": str(folder), "run_id": "r", "programs": {}, "kept": ["outputs"], "ports": 2}
    return b"O", json.dumps(told).encode()


def test_a_python_that_is_too_old_says_so(tmp_path: Path) -> None:
    said = answer(order(tmp_path / "x"), before="sys.version_info = (3, 9, 0)")
    assert said is not None
    assert (said[0], b"is Python 3.9, and 3.11 or newer is needed" in said[1]) == (b"X", True)


def test_a_connection_that_ends_early_leaves_nothing_behind(tmp_path: Path) -> None:
    assert answer() is None
    said = answer(order(tmp_path / "x"), (b"T", b"no tar at all" * 100))
    assert said is not None
    assert said[0] == b"X"
    whole = (b"T", archive(("work/a", tarfile.REGTYPE, b"x")).getvalue()), (b"t", b"")
    ready = answer(order(tmp_path / "x"), *whole)
    assert ready is not None
    assert (ready[0], len(json.loads(ready[1])["ports"])) == (b"R", 2)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = answer(order(tmp_path / "file" / "x"))
    assert said is not None
    assert (said[0], b"Not a directory" in said[1]) == (b"X", True)


def test_asking_after_what_never_began_is_no_error(tmp_path: Path) -> None:
    told = {"folder": str(tmp_path / "nowhere"), "run_id": "r", "end": True}
    assert answer((b"O", json.dumps(told).encode())) is None
