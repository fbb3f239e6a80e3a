"""Another store, in some folder of this machine, as a remote."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from onrecord.snapshot.errors import RemoteError, shown
from onrecord.snapshot.parcel import Parcel
from onrecord.snapshot.receiving import take_in
from onrecord.snapshot.store import Store
from onrecord.snapshot.transfer import lacks, parcel_of


class StoreRemote:
    """A store to send to and to receive from; objects may be removed from it at any time, by its own collector."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """Its folder."""
        return shown(self._store.folder)

    def whole(self) -> set[bytes]:
        """Nothing: what a listing needs may have been erased."""
        return set()

    def damage(self) -> list[RemoteError]:
        """Nothing: its index is SQLite's."""
        return []

    def missing(self, digests: Collection[bytes]) -> set[bytes]:
        """Those of some addresses that it lacks."""
        return set(digests) - self._store.places(digests).keys()

    def put_many(self, parcels: Iterable[Parcel]) -> None:
        """Take objects, hashed again."""
        take_in(self._store, parcels, self.name)

    def get_many(self, digests: Collection[bytes]) -> Iterator[Parcel]:
        """Objects in the order in which they lie."""
        with self._store.in_use():
            places = self._store.places(digests)
            for digest in digests:
                if digest not in places:
                    raise lacks(self.name, digest)
            for place in sorted(places.values(), key=lambda place: (place.pack or 0, place.offset)):
                yield parcel_of(self._store, place)

    def close(self) -> None:
        """Close its files."""
        self._store.close()
