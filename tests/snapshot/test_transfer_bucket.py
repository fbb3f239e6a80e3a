"""The way to an object store: errors in words, and what an interrupted upload leaves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from s3_host import S3Host

from onrecord.snapshot.errors import RemoteError
from onrecord.snapshot.receiving import receive
from onrecord.snapshot.remote_bucket import BucketShelf
from onrecord.snapshot.remotes import remote_named
from onrecord.snapshot.shelf import ShelfRemote, Span
from onrecord.snapshot.store import Store
from onrecord.snapshot.transfer import send

pytest.importorskip("obstore")


def test_its_address_and_the_usual_variables_are_enough(
    object_store: S3Host, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    digests = [store.put_bytes(os.urandom(size)).digest for size in (100, 30 << 20)]
    far = remote_named("s3://bucket/some/place")
    assert send(store, far, [], digests).objects == 2
    with Store(tmp_path / "other") as other:
        assert receive(other, remote_named("s3://bucket/some/place"), [], digests).objects == 2
        assert list(other.verify(digests)) == []
    assert remote_named("s3://bucket/other").missing([bytes.fromhex(digests[0])])


def test_an_upload_that_is_given_up_leaves_no_object(object_store: S3Host) -> None:
    shelf = BucketShelf.at("s3://bucket/given-up", **object_store.options)

    def pieces() -> object:
        yield os.urandom(12 << 20)
        raise RuntimeError("the source is gone")

    with pytest.raises(Exception, match="the source is gone"):
        shelf.write(f"loose/{'ab' * 32}", pieces())  # type: ignore[arg-type]
    assert shelf.sizes() == {}


def test_parts_come_in_the_order_in_which_they_were_asked_for(object_store: S3Host) -> None:
    shelf = BucketShelf.at("s3://bucket/parts", **object_store.options)
    contents = {f"loose/{name * 32}": os.urandom(50_000) for name in ("ab", "cd")}
    for name, content in contents.items():
        shelf.write(name, [content])
    spans = [Span(name, start, length) for name in contents for start, length in ((30_000, 10), (0, 0), (5, 20_000))]
    assert list(shelf.read(spans)) == [contents[span.name][span.start : span.start + span.length] for span in spans]
    assert {name: b"".join(shelf.pieces(name)) for name in contents} == contents


def test_what_is_wrong_is_told_in_one_line(object_store: S3Host) -> None:
    shelf = BucketShelf.at("s3://no-such-bucket/x", **object_store.options)
    with pytest.raises(RemoteError, match="s3://no-such-bucket/x does not do") as caught:
        ShelfRemote(shelf).whole()
    assert "\n" not in caught.value.why and caught.value.why
    assert "AWS_ACCESS_KEY_ID" in caught.value.next_step
    with pytest.raises(RemoteError):
        remote_named("gopher://host/x")


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(RemoteError, match="without obstore") as caught:
        remote_named("s3://bucket/x")
    assert caught.value.next_step == "pip install 'onrecord[remote]'"
