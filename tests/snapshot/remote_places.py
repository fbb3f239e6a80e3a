"""Every kind of remote, for tests that hold for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "hosts"))

import s3_host
import ssh_host

from onrecord.snapshot.remote_bucket import BucketShelf
from onrecord.snapshot.remote_folder import FolderShelf
from onrecord.snapshot.remote_ssh import SshShelf
from onrecord.snapshot.remote_store import StoreRemote
from onrecord.snapshot.shelf import ShelfRemote
from onrecord.snapshot.store import Store
from onrecord.snapshot.transfer import Remote

KINDS = ("store", "folder", "ssh", "memory", "s3")


@pytest.fixture(scope="session")
def other_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssh_host.SshHost]:
    """A host that ssh reaches."""
    host = ssh_host.started(tmp_path_factory.mktemp("host"))
    yield host
    host.stop()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_host.S3Host]:
    """A server that speaks S3."""
    host = s3_host.started(tmp_path_factory.mktemp("s3"))
    yield host
    host.stop()


@attrs.define
class Place:
    """A place for objects; each `open` is a new connection to the same one."""

    kind: str
    folder: Path
    request: pytest.FixtureRequest
    memory: Any = None

    @property
    def address(self) -> str:
        """How a user would write it."""
        if self.kind == "ssh":
            return f"ssh://{ssh_host.NAME}{self.folder}"
        return f"s3://bucket{self.folder}" if self.kind == "s3" else str(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to get there."""
        if self.kind == "ssh":
            return {"ONRECORD_SSH": self.request.getfixturevalue("other_host").words}
        return self.request.getfixturevalue("object_store").environment if self.kind == "s3" else {}

    def open(self) -> Remote:
        """A new connection, closed when the test is over."""
        remote = self._connected()
        self.request.addfinalizer(remote.close)
        return remote

    def _connected(self) -> Remote:
        if self.kind == "store":
            return StoreRemote(Store(self.folder))
        if self.kind == "folder":
            return ShelfRemote(FolderShelf(self.folder))
        if self.kind == "ssh":
            host = self.request.getfixturevalue("other_host")
            return ShelfRemote(SshShelf(ssh_host.NAME, str(self.folder), command=host.command))
        if self.kind == "memory":
            obstore = pytest.importorskip("obstore.store")
            self.memory = self.memory or obstore.MemoryStore()
            return ShelfRemote(BucketShelf(self.memory, "memory:///"))
        pytest.importorskip("obstore")
        host = self.request.getfixturevalue("object_store")
        return ShelfRemote(BucketShelf.at(self.address, **host.options))


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of each kind."""
    return Place(request.param, tmp_path / "far" / "away", request)
