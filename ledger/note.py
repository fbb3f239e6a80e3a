"""Signed notes with Ed25519 keys, byte for byte those of https://c2sp.org/signed-note and Go's x/mod/sumdb/note.

A note is a text, an empty line, and lines `— NAME base64(4 bytes key id | signature)`. A public key is written
NAME+KEYID+base64(01 | 32 bytes), a private one PRIVATE+KEY+NAME+KEYID+base64(01 | 32 bytes seed).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import attrs

from onrecord.ledger.errors import BadEvidence, ProofFailed, SigningUnavailable

_DASH = "— "
_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
# As many as Go reads; nobody makes a reader check signatures without end.
_MOST_SIGNATURES = 100


@attrs.frozen
class Signature:
    """One line of a note: the key's name, its id (4 bytes) and the signature's bytes."""

    name: str
    key_id: bytes
    value: bytes


@attrs.frozen
class Note:
    """`text` ends in a newline and is what the signatures are over; without any it is a note still to be signed."""

    text: str
    signatures: tuple[Signature, ...] = ()


@attrs.frozen
class PublicKey:
    """A key that signatures are checked with: its name and 32 bytes."""

    name: str
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256(name | newline | 01 | key), cut."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_encode(_ED25519 + self.raw)}"


@attrs.frozen
class PrivateKey:
    """A key to sign with: its name and its seed of 32 bytes, which stay out of texts about it."""

    name: str
    seed: bytes = attrs.field(repr=False)

    def public(self) -> PublicKey:
        """What others check the signatures with. Raises SigningUnavailable."""
        raw: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return PublicKey(self.name, raw)

    def secret_text(self) -> str:
        """The form in which a private key is kept. Raises SigningUnavailable."""
        return f"{_PRIVATE}{self.name}+{self.public().key_id.hex()}+{_encode(_ED25519 + self.seed)}"


def is_key_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no spaces, no plus, no control characters."""
    return bool(name) and name.isprintable() and "+" not in name and not any(mark.isspace() for mark in name)


def parse_public_key(text: str) -> PublicKey:
    """The key behind NAME+KEYID+KEY. Raises BadEvidence."""
    name, raw, key_id = _parse_key(text.strip(), "public key")
    key = PublicKey(name, raw)
    if key.key_id != key_id:
        raise _bad("public key", "its id does not fit its name and its bytes")
    return key


def parse_private_key(text: str) -> PrivateKey:
    """The key behind PRIVATE+KEY+NAME+KEYID+SEED. Raises BadEvidence, SigningUnavailable."""
    clean = text.strip()
    if not clean.startswith(_PRIVATE):
        raise _bad("private key", f"it does not start with {_PRIVATE}")
    name, seed, key_id = _parse_key(clean.removeprefix(_PRIVATE), "private key")
    key = PrivateKey(name, seed)
    if key.public().key_id != key_id:
        raise _bad("private key", "its id does not fit its name and its bytes")
    return key


def parse_note(text: str) -> Note:
    """The text and the signatures of a note; a text without signatures is a note without any. Raises BadEvidence."""
    if any(mark < " " and mark != "\n" for mark in text):
        raise _bad("note", "it holds control characters (was it sent through something that changes line ends?)")
    if not text.endswith("\n"):
        raise _bad("note", "it does not end with a newline (it is cut short)")
    body, blank, rest = text.rpartition("\n\n")
    if not blank:
        return Note(text)
    lines = rest.removesuffix("\n").split("\n")
    if len(lines) > _MOST_SIGNATURES:
        raise _bad("note", f"it has more than {_MOST_SIGNATURES} signatures")
    first = body.count("\n") + 3
    return Note(body + "\n", tuple(_parse_signature(line, first + place) for place, line in enumerate(lines)))


def format_note(note: Note) -> str:
    """The note as text, which `parse_note` reads back."""
    if not note.signatures:
        return note.text
    lines = [f"{_DASH}{each.name} {_encode(each.key_id + each.value)}\n" for each in note.signatures]
    return f"{note.text}\n{''.join(lines)}"


def sign(note: Note, key: PrivateKey) -> Note:
    """The note with the key's signature last; an earlier one of the same key goes. Raises SigningUnavailable."""
    public = key.public()
    value = _ed25519().Ed25519PrivateKey.from_private_bytes(key.seed).sign(note.text.encode())
    kept = [each for each in note.signatures if (each.name, each.key_id) != (public.name, public.key_id)]
    return Note(note.text, (*kept, Signature(public.name, public.key_id, value)))


def verify(note: Note, keys: Iterable[PublicKey]) -> list[PublicKey]:
    """Those of `keys` that signed the note, in the order of its lines; signatures of other keys are passed over.

    Raises ProofFailed where a known key's signature is wrong, and where none of the keys has signed;
    SigningUnavailable.
    """
    known: dict[tuple[str, bytes], PublicKey] = {(key.name, key.key_id): key for key in keys}
    signed: dict[PublicKey, None] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not _is_valid(key, signature.value, note.text.encode()):
            raise ProofFailed(
                f"the signature of {key.name} is not over this text",
                why="the note was changed after it was signed, or the signature belongs to another note",
                kind="note",
            )
        signed[key] = None
    if not signed:
        names = ", ".join(str(key) for key in known.values()) or "no key"
        raise ProofFailed(
            "the note is not signed by a key that you trust",
            why=f"signed by {_signers(note.signatures)}; trusted: {names}",
            kind="note",
        )
    return list(signed)


def _signers(signatures: Sequence[Signature]) -> str:
    return ", ".join(f"{each.name}+{each.key_id.hex()}" for each in signatures) or "nobody"


def _is_valid(key: PublicKey, value: bytes, text: bytes) -> bool:
    ed25519 = _ed25519()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key.raw).verify(value, text)
    except InvalidSignature:
        return False
    return True


def _parse_signature(line: str, number: int) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    value = decode_base64(encoded)
    if not line.startswith(_DASH) or not space or not is_key_name(name) or value is None or len(value) < 5:
        raise _bad("note", "a signature is written — NAME BASE64", number)
    return Signature(name, value[:4], value[4:])


def _parse_key(text: str, kind: str) -> tuple[str, bytes, bytes]:
    name, _, rest = text.partition("+")
    hexadecimal, _, encoded = rest.partition("+")
    raw = decode_base64(encoded)
    try:
        key_id = bytes.fromhex(hexadecimal)
    except ValueError:
        key_id = b""
    if not is_key_name(name) or len(hexadecimal) != 8 or len(key_id) != 4 or raw is None or len(raw) != 33:
        raise _bad(kind, "a key is written NAME+8 HEX DIGITS+BASE64")
    if raw[:1] != _ED25519:
        raise _bad(kind, f"its algorithm is number {raw[0]}; only 1, Ed25519, is known")
    return name, raw[1:], key_id


def decode_base64(text: str) -> bytes | None:
    """The bytes behind standard base64 in its one exact spelling (RFC 4648 section 4), or None."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if _encode(value) == text else None


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bad(kind: str, why: str, line: int = 0) -> BadEvidence:
    place = f"line {line} of this {kind}" if line else f"this {kind}"
    return BadEvidence(f"{place} cannot be read", why=why, kind=kind, line=line)


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as problem:
        raise SigningUnavailable(
            "Ed25519 signatures need the package cryptography",
            why="it is not installed here; everything that needs no such signature works without it",
            next_step="pip install 'onrecord[sign]'   (or sign with --ssh-key, which needs only ssh-keygen)",
            package="cryptography",
        ) from problem
    return ed25519
