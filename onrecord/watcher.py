"""Hints that files changed, from the operating system; a hint may be missing, so nobody relies on it alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

# Of a burst only a part is heard of (the kernel's queue holds 16,384), and a look at everything is cheaper by then.
MOST = 5_000


class Watcher:
    """Watches folders of `root`, also those inside them. Costs one thread and, at first use, 40 ms of import.

    What is written to a file that is open is not told, only that it was closed: a log that is written line by line
    would keep the thread busy with hints of what is known.
    """

    def __init__(self, root: Path, folders: list[str]) -> None:
        from watchdog.events import (
            DirCreatedEvent,
            DirMovedEvent,
            FileClosedEvent,
            FileCreatedEvent,
            FileDeletedEvent,
            FileMovedEvent,
            FileSystemEvent,
            FileSystemEventHandler,
        )
        from watchdog.observers import Observer

        self._lock = threading.Lock()
        # What changed before the watch began was seen by nobody.
        self._hints: set[str] | None = None
        self._prefix = f"{root}/"
        take = self._take

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                for path in (event.src_path, event.dest_path):
                    if path:
                        take(os.fsdecode(path))

        kinds: list[type[FileSystemEvent]] = [DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent]
        kinds += [FileDeletedEvent, FileMovedEvent]
        self._observer = Observer()
        self._observer.daemon = True
        for folder in folders:
            try:
                self._observer.schedule(Handler(), str(root / folder), recursive=True, event_filter=kinds)
            except OSError:
                # No watches left for this user: the regular looks remain.
                continue
        try:
            self._observer.start()
        except OSError:
            pass

    def hints(self) -> set[str] | None:
        """Names of what changed since the last time this was asked, None for too many to tell."""
        with self._lock:
            hints, self._hints = self._hints, set()
        return hints

    def stop(self) -> None:
        """End the thread."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)

    def _take(self, path: str) -> None:
        with self._lock:
            if self._hints is not None:
                self._hints.add(path.removeprefix(self._prefix))
                if len(self._hints) > MOST:
                    self._hints = None
