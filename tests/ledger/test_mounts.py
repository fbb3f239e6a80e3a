"""Which disks a ledger can be on."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.ledger import mounts
from onrecord.ledger.mounts import file_system, network_file_system

TABLE = r"""
22 28 0:20 / /proc rw,nosuid - proc proc rw
28 1 8:2 / / rw,relatime shared:1 master:7 - ext4 /dev/sda2 rw
40 28 0:45 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
41 40 8:5 / /home/ada/local rw - xfs /dev/sda5 rw
42 28 0:46 / /mnt/with\040blank\134and\011tab rw - cifs //server/share rw
43 28 0:47 / /mnt/sshfs rw - fuse.sshfs ada@host:/ rw
44 28 0:48 / /mnt/c rw - 9p drvfs rw
45 28 0:49 / /data rw - nfs server:/data rw
46 28 8:6 / /data rw - btrfs /dev/sda6 rw
47 28 0:50 / /mnt/zip rw - fuse.archivemount archive rw
48 28 0:51 / /mnt/nfsd rw - nfsd nfsd rw
a line that means nothing
49 28 0:52 / /mnt/odd rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/ledger.db", "ext4"),
        ("/", "ext4"),
        ("/home/ada/ledger.db", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/ada", "ext4"),
        ("/home/ada/local/ledger.db", "xfs"),
        ("/home/ada/locals", "nfs4"),
        ("/mnt/with blank\\and\ttab/x", "cifs"),
        ("/mnt/sshfs/x", "fuse.sshfs"),
        ("/mnt/c/x", "9p"),
        ("/data/x", "btrfs"),
        ("/mnt/odd/x", "ext4"),
    ],
)
def test_the_longest_mount_point_says_the_type(path: str, kind: str) -> None:
    assert file_system(path, TABLE) == kind


def test_an_empty_table_says_nothing() -> None:
    assert file_system("/x", "") is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "lustre", "ceph"])
def test_a_network_disk_is_known_by_its_type(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mounts"
    monkeypatch.setenv(mounts.VARIABLE, str(table))
    table.write_text(f"28 1 8:2 / / rw - ext4 /dev/sda2 rw\n29 28 0:5 / {tmp_path} rw - {kind} server rw\n")
    assert network_file_system(tmp_path / "ledger.db") == kind
    assert network_file_system(tmp_path.parent / "ledger.db") is None
    # As the path is, not as it is spelled.
    (tmp_path.parent / f"link-{kind}").symlink_to(tmp_path)
    assert network_file_system(tmp_path.parent / f"link-{kind}" / "ledger.db") == kind


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuse.archivemount", "nfsd"]
)
def test_a_local_disk_is_not_taken_for_a_network_disk(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mounts"
    monkeypatch.setenv(mounts.VARIABLE, str(table))
    table.write_text(f"28 1 8:2 / / rw - {kind} /dev/sda2 rw\n29 28 0:5 / /elsewhere rw - nfs server rw\n")
    assert network_file_system(tmp_path / "ledger.db") is None


def test_a_system_without_the_table_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mounts.VARIABLE, str(tmp_path / "nowhere"))
    assert network_file_system(tmp_path / "ledger.db") is None
