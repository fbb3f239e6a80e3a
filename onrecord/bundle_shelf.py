"""The objects of a bundle as something that contents in parts can be read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onrecord.bundle import Bundle, object_name
from onrecord.snapshot.encoding import PARTS, RAW
from onrecord.snapshot.growth import Part, with_parts
from onrecord.snapshot.index import Place


class Shelf:
    """What `growth` asks of a store, answered from a bundle; addresses are checked by whoever reads."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._sizes = {bytes.fromhex(digest): size for digest, size in bundle.manifest.objects}
        self._grown = {
            bytes.fromhex(digest): [Part(bytes.fromhex(one), size) for one, size in parts]
            for digest, _, parts in bundle.manifest.grown
        }

    @property
    def have(self) -> set[str]:
        """The address of everything in the bundle."""
        return {digest.hex() for digest in (*self._sizes, *self._grown)}

    def grown(self) -> list[Place]:
        """Everything that is in parts."""
        return list(self.places(self._grown).values())

    def with_parts(self, digests: Iterable[str]) -> set[str]:
        """Some addresses, and those that they are read through."""
        return {digest.hex() for digest in with_parts(self, map(bytes.fromhex, digests))}

    def places(self, digests: Iterable[bytes]) -> dict[bytes, Place]:
        """What is known of some objects."""
        found = {}
        for digest in digests:
            if digest in self._grown:
                size = sum(part.size for part in self._grown[digest])
                found[digest] = Place(digest, size, PARTS, None, 0, size)
            elif digest in self._sizes:
                found[digest] = Place(digest, self._sizes[digest], RAW, None, 0, self._sizes[digest])
        return found

    def parts(self, place: Place) -> list[Part]:
        """What a content in parts is made of."""
        return self._grown[place.digest]

    def pieces_at(self, place: Place) -> Iterator[bytes]:
        """The bytes of an object."""
        yield from self._bundle.pieces(object_name(place.digest.hex()))
