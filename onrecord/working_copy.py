"""The end of a run's working copy: large files that the objects hold are given up, and lie on the disk once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onrecord.capture import Capture
from onrecord.layout import RunFolder
from onrecord.ledger.events import Event, WorkingCopyReleased
from onrecord.ledger.ids import decode
from onrecord.ledger.journal import Journal
from onrecord.patience import say
from onrecord.snapshot.errors import SnapshotError
from onrecord.snapshot.release import release
from onrecord.snapshot.store import Store


def is_given_up(journal: Journal, run_id: str) -> bool:
    """Whether a run's files were all on record, and its folder had begun to give some up."""
    sql = "SELECT 1 FROM events WHERE stream = ? AND type = ? LIMIT 1"
    return bool(journal.fetch(sql, (decode(run_id), WorkingCopyReleased.type)))


def give_up_copies(
    folder: RunFolder, store: Store, capture: Capture, record: Callable[[Sequence[Event]], None], begun: bool
) -> None:
    """Give up every large file of a folder after the last look; `begun`: it is on record already that this happens.

    The event is on the disk, and with it all before it, when the first file goes: whoever carries on after a crash
    does not take what is missing for removed.
    """
    large = capture.large()
    if not large:
        return
    if not begun:
        record([WorkingCopyReleased(files=len(large), bytes=sum(seen.size for _, _, seen in large))])
    with store.in_use():
        for path, digest, seen in large:
            try:
                release(store, digest, path, (seen.size, seen.modified, seen.inode), folder.path / "sharing")
            except (OSError, SnapshotError) as problem:
                # It stays, and costs room.
                say(f"{path} stays beside its object: {problem}\n")
