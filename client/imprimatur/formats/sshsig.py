"""SSHSIG: signatures made by ``ssh-keygen -Y sign``, with ordinary Ed25519 keys or security keys.

Source: OpenSSH PROTOCOL.sshsig and PROTOCOL.u2f. The namespace is part of the signed bytes, so a signature made for
one purpose never counts for another.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from imprimatur.formats import ed25519
from imprimatur.formats.encoding import b64, un_b64
from imprimatur.formats.keys import KeyPair

ED25519 = "ssh-ed25519"
SK_ED25519 = "sk-ssh-ed25519@openssh.com"

_MAGIC = b"SSHSIG"
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_WRAP = 70
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}
_MAX_ARMOR = 8192
_USER_PRESENT = 0x01
_USER_VERIFIED = 0x04
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")


class SshSigError(ValueError):
    """The key or signature is malformed, of an unsupported kind, or made for something else. Says what to do."""


@dataclass(frozen=True, slots=True)
class SshKey:
    """An SSH public key. ``application`` is set for security keys only (usually ``ssh:``)."""

    type: str
    blob: bytes
    fingerprint: str
    public_key: bytes
    application: str | None = None

    @property
    def line(self) -> str:
        """The key as in a ``.pub`` file, without comment: its one spelling in our documents."""
        return f"{self.type} {b64(self.blob)}"


@dataclass(frozen=True, slots=True)
class SshSignature:
    """A parsed SSHSIG. ``flags`` and ``counter`` come from the security key's hardware, ``None`` for ordinary keys."""

    key: SshKey
    namespace: str
    hash_name: str
    signature: bytes
    flags: int | None = None
    counter: int | None = None

    @property
    def user_verified(self) -> bool:
        """Whether a security key says that it checked a PIN or a fingerprint."""
        return self.flags is not None and bool(self.flags & _USER_VERIFIED)


def parse_public_key(line: str) -> SshKey:
    """The key in one line of a ``.pub`` file (type, base64, optional comment). Raises :class:`SshSigError`."""
    if "\n" in line.strip() or len(line) > 2048:
        raise SshSigError("give one public key, on one line")
    words = line.split()
    if len(words) < 2:
        raise SshSigError("not an SSH public key; paste the whole line of the .pub file")
    if words[0] not in (ED25519, SK_ED25519):
        raise SshSigError(_unsupported(words[0]))
    try:
        blob = un_b64(words[1])
    except ValueError:
        raise SshSigError("the key is not valid base64; paste the whole line of the .pub file") from None
    key = _parse_blob(blob)
    if key.type != words[0]:
        raise SshSigError("the key's type and its contents disagree")
    return key


def parse(armored: str) -> SshSignature:
    """Read an armored signature without verifying it. Raises :class:`SshSigError`."""
    reader = _Reader(dearmor(armored))
    if reader.take(6) != _MAGIC:
        raise SshSigError("not an SSHSIG signature")
    if reader.number() != 1:
        raise SshSigError("unknown SSHSIG version")
    key = _parse_blob(reader.string())
    namespace = reader.text()
    if reader.string():
        raise SshSigError("the reserved field of the signature is not empty")
    hash_name = reader.text()
    if hash_name not in _HASHES:
        raise SshSigError("the signature uses an unknown hash; use ssh-keygen's default, sha512")
    inner = _Reader(reader.string())
    reader.end()
    if inner.text() != key.type:
        raise SshSigError("the signature's type is not its key's type")
    value = inner.string()
    if len(value) != 64:
        raise SshSigError("an Ed25519 signature has 64 bytes")
    flags = counter = None
    if key.type == SK_ED25519:
        flags = inner.take(1)[0]
        counter = inner.number()
    inner.end()
    return SshSignature(key, namespace, hash_name, value, flags, counter)


def verify(armored: str, message: bytes, namespace: str, key: SshKey) -> bool:
    """Whether this is ``key``'s signature over ``message`` in ``namespace``.

    Raises :class:`SshSigError` when it is no signature at all or was made for another namespace or by another key; a
    security key must have been touched. Returns False when the cryptography says no.
    """
    signature = parse(armored)
    if signature.namespace != namespace:
        raise SshSigError(f"the signature was made for another purpose; sign with -n {namespace}")
    if signature.key.blob != key.blob:
        raise SshSigError(f"the signature was made by {signature.key.fingerprint}, not by {key.fingerprint}")
    signed = signed_data(message, namespace, signature.hash_name)
    if signature.flags is not None and signature.counter is not None:
        if not signature.flags & _USER_PRESENT:
            raise SshSigError("the security key was not touched; sign without no-touch-required")
        signed = (
            hashlib.sha256((key.application or "").encode("utf-8")).digest()
            + bytes([signature.flags])
            + signature.counter.to_bytes(4, "big")
            + hashlib.sha256(signed).digest()
        )
    return ed25519.verify(key.public_key, signed, signature.signature)


def sign(key: KeyPair, message: bytes, namespace: str) -> str:
    """An armored signature, byte for byte what ``ssh-keygen -Y sign`` makes with the same Ed25519 key."""
    _check_namespace(namespace)
    value = key.sign(signed_data(message, namespace))
    kind = ED25519.encode("ascii")
    blob = (
        _MAGIC
        + (1).to_bytes(4, "big")
        + _string(public_key_blob(key.public_key))
        + _string(namespace.encode("ascii"))
        + _string(b"")
        + _string(b"sha512")
        + _string(_string(kind) + _string(value))
    )
    return armor(blob)


def signed_data(message: bytes, namespace: str, hash_name: str = "sha512") -> bytes:
    """The bytes an SSH key signs for a message in a namespace."""
    digest = _HASHES[hash_name](message).digest()
    return (
        _MAGIC
        + _string(namespace.encode("utf-8"))
        + _string(b"")
        + _string(hash_name.encode("ascii"))
        + _string(digest)
    )


def public_key_blob(public_key: bytes) -> bytes:
    """The SSH wire form of an ordinary Ed25519 public key."""
    return _string(ED25519.encode("ascii")) + _string(public_key)


def armor(blob: bytes) -> str:
    """The text form of a signature, wrapped as ssh-keygen wraps it, with a final newline."""
    text = b64(blob)
    lines = [text[start : start + _WRAP] for start in range(0, len(text), _WRAP)]
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


def dearmor(text: str) -> bytes:
    """The bytes of an armored signature. Line ends and wrapping may have suffered from pasting; the base64 may not.

    Raises :class:`SshSigError`.
    """
    if len(text) > _MAX_ARMOR:
        raise SshSigError("too long for an SSH signature")
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise SshSigError(f"paste the whole signature, from {_BEGIN} to {_END}")
    try:
        return un_b64("".join(lines[1:-1]))
    except ValueError:
        raise SshSigError("the signature is damaged (its base64 does not decode)") from None


def allowed_signers_line(
    principal: str, key: SshKey, namespaces: Sequence[str], valid_after: datetime | None = None
) -> str:
    """One line for the ``allowed_signers`` file of ``ssh-keygen -Y verify``. ``valid_after`` has a resolution of
    seconds. Raises :class:`SshSigError` for names that the file format would read as patterns or options."""
    if not _PRINCIPAL.fullmatch(principal):
        raise SshSigError("a principal has letters, digits and . _ @ + - only")
    if not namespaces:
        raise SshSigError("name at least one namespace; a key without one would sign for every purpose")
    for namespace in namespaces:
        _check_namespace(namespace)
    options = 'namespaces="' + ",".join(namespaces) + '"'
    if valid_after is not None:
        if valid_after.tzinfo is None:
            raise ValueError("a time needs a time zone")
        options += f',valid-after="{valid_after.astimezone(UTC):%Y%m%d%H%M%SZ}"'
    return f"{principal} {options} {key.line}"


def _check_namespace(namespace: str) -> None:
    if not _NAMESPACE.fullmatch(namespace):
        raise SshSigError("a namespace has letters, digits and . _ @ - only")


@functools.lru_cache(maxsize=1024)  # checking the point costs milliseconds, and the same few keys come again
def _parse_blob(blob: bytes) -> SshKey:
    reader = _Reader(blob)
    kind = reader.text()
    if kind not in (ED25519, SK_ED25519):
        raise SshSigError(_unsupported(kind))
    public_key = reader.string()
    application = reader.text() if kind == SK_ED25519 else None
    reader.end()
    try:
        ed25519.check_public_key(public_key)
    except ValueError as error:
        raise SshSigError(f"unusable Ed25519 key: {error}") from None
    fingerprint = "SHA256:" + b64(hashlib.sha256(blob).digest()).rstrip("=")
    return SshKey(kind, blob, fingerprint, public_key, application)


def _unsupported(kind: str) -> str:
    advice = "make one with: ssh-keygen -t ed25519 (or -t ed25519-sk for a security key)"
    if "-cert-" in kind:
        return f"SSH certificates are not accepted, only plain keys; {advice}"
    if kind.startswith(("ssh-rsa", "ssh-dss", "ecdsa-", "sk-ecdsa-")):
        return f"only Ed25519 keys are accepted; {advice}"
    return f"not an SSH key of a known type; {advice}"


def _string(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


class _Reader:
    """Reads SSH wire data and refuses to run past its end or to leave anything over."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._raw[self._at : self._at + count]
        if len(piece) != count:
            raise SshSigError("cut short")
        self._at += count
        return piece

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError:
            raise SshSigError("a name in it is not ASCII") from None

    def end(self) -> None:
        if self._at != len(self._raw):
            raise SshSigError("followed by stray bytes")
