"""WebAuthn assertions and registrations (W3C Web Authentication, level 3), read and verified offline.

An assertion signs `authenticatorData || SHA-256(clientDataJSON)`. The browser writes the second, the authenticator the
first; the bytes of both are kept as they came and never written anew. Whether an attestation is to be trusted is
not asked here.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from imprimatur.formats import canonical, cbor
from imprimatur.formats.cose import CoseKey
from imprimatur.formats.encoding import un_b64u

GET = "webauthn.get"
CREATE = "webauthn.create"

USER_PRESENT = 0x01
USER_VERIFIED = 0x04
BACKUP_ELIGIBLE = 0x08
BACKED_UP = 0x10
ATTESTED = 0x40
EXTENSIONS = 0x80

MAX_CLIENT_DATA = 4096
MAX_AUTHENTICATOR_DATA = 4096
MAX_ATTESTATION = 65_536
MAX_CREDENTIAL_ID = 1023
MAX_ORIGIN = 512

CODES = (
    "client-data",
    "type",
    "challenge",
    "origin",
    "cross-origin",
    "top-origin",
    "authenticator-data",
    "rp-id",
    "user-presence",
    "user-verification",
    "backup-flags",
    "signature",
)
"""The codes of WebAuthnError, in the order in which an assertion is checked."""

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+)(:(?P<port>[1-9][0-9]{0,4}))?", re.ASCII)
_DEFAULT_PORTS = {"https": 443, "http": 80}


class WebAuthnError(ValueError):
    """A check failed. `code` is one of `CODES` and stays; the message is for people and may be worded anew."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ClientData:
    """What the browser says about a ceremony. `raw` are its own bytes, whose SHA-256 is signed.

    `top_origin` is set, even to an empty string, when the member is there at all.
    """

    raw: bytes
    type: str
    challenge: bytes
    origin: str
    cross_origin: bool
    top_origin: str | None

    @classmethod
    def parse(cls, raw: bytes) -> ClientData:
        """Read clientDataJSON: strict UTF-8 and JSON, no key twice; members we do not know are the browser's business.

        Raises WebAuthnError `client-data`.
        """
        raw = bytes(raw)
        if len(raw) > MAX_CLIENT_DATA:
            raise WebAuthnError("client-data", f"the client data has more than {MAX_CLIENT_DATA} bytes")
        try:
            document = canonical.loads(raw)
        except canonical.CanonicalError as error:
            raise WebAuthnError("client-data", f"the client data cannot be read: {error}") from None
        if not isinstance(document, dict):
            raise WebAuthnError("client-data", "the client data is not a JSON object")
        texts = [document.get(name) for name in ("type", "challenge", "origin")]
        cross_origin = document.get("crossOrigin", False)
        top_origin = document.get("topOrigin", "")
        if not all(isinstance(text, str) for text in [*texts, top_origin]) or not isinstance(cross_origin, bool):
            raise WebAuthnError("client-data", "a member of the client data is missing or of the wrong type")
        kind, challenge, origin = map(str, texts)
        try:
            decoded = un_b64u(challenge)
        except ValueError as error:
            raise WebAuthnError("client-data", f"the challenge in the client data is {error}") from None
        return cls(raw, kind, decoded, origin, cross_origin, str(top_origin) if "topOrigin" in document else None)

    def check(self, *, typ: str, challenge: bytes, rp_id: str, origins: Collection[str] | None) -> None:
        """Raise WebAuthnError unless this is a ceremony of this type, for this challenge, on a page of ours.

        The page must be the top one: a ceremony in a frame of another site (crossOrigin, topOrigin) is refused.
        `origins` None means any origin that may use `rp_id` (`origin_fits`).
        """
        if self.type != typ:
            raise WebAuthnError("type", f"the browser did something else than {typ}")
        if self.challenge != challenge:
            raise WebAuthnError("challenge", "the challenge belongs to something else than what was to be signed")
        if isinstance(origins, str):
            raise TypeError("give a collection of origins, not one string")
        if not (origin_fits(self.origin, rp_id) if origins is None else self.origin in origins):
            raise WebAuthnError("origin", "the ceremony took place on a page of another origin")
        if self.cross_origin:
            raise WebAuthnError("cross-origin", "the ceremony took place in a frame of another site's page")
        if self.top_origin is not None:
            raise WebAuthnError("top-origin", "the browser names a page around ours; sign on our own page")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the browser's own bytes."""
        return hashlib.sha256(self.raw).digest()


@dataclass(frozen=True, slots=True)
class AttestedCredential:
    """The credential that a registration made: its id, its COSE key as it came, the model of its authenticator."""

    aaguid: str
    credential_id: bytes
    cose_key: bytes


@dataclass(frozen=True, slots=True)
class AuthenticatorData:
    """What the authenticator says and signs. `flags` is the byte as it came; the properties name its bits."""

    raw: bytes
    rp_id_hash: bytes
    flags: int
    sign_count: int
    credential: AttestedCredential | None

    @classmethod
    def parse(cls, raw: bytes) -> AuthenticatorData:
        """Read authenticator data to its last byte: what the flags announce must be there, and nothing else.

        Raises WebAuthnError `authenticator-data`. The key inside a registration is bounded, not yet judged.
        """
        raw = bytes(raw)
        if not 37 <= len(raw) <= MAX_ATTESTATION:
            raise _authenticator_data("has the wrong length")
        flags, at, credential = raw[32], 37, None
        try:
            if flags & ATTESTED:
                credential, at = _credential(raw, at)
            if flags & EXTENSIONS:
                extensions, at = cbor.load_first(raw, at)
                if not isinstance(extensions, dict) or not all(isinstance(name, str) for name in extensions):
                    raise _authenticator_data("has extensions that are not a map of names")
        except cbor.CborError as error:
            raise _authenticator_data(f"cannot be read: {error}") from None
        if at != len(raw):
            raise _authenticator_data("goes on after its end")
        return cls(raw, raw[:32], flags, int.from_bytes(raw[33:37], "big"), credential)

    def check(self, rp_id: str) -> None:
        """Raise WebAuthnError unless a present and verified user did this for `rp_id`, with flags that make sense."""
        if self.rp_id_hash != hashlib.sha256(rp_id.encode("utf-8")).digest():
            raise WebAuthnError("rp-id", "the key was used for another site")
        if not self.user_present:
            raise WebAuthnError("user-presence", "the authenticator was not touched")
        if not self.user_verified:
            raise WebAuthnError("user-verification", "the authenticator asked for no PIN, fingerprint or face")
        if self.backed_up and self.device_bound:
            raise WebAuthnError("backup-flags", "the authenticator calls a key backed up that cannot be backed up")

    @property
    def user_present(self) -> bool:
        """UP: somebody touched it."""
        return bool(self.flags & USER_PRESENT)

    @property
    def user_verified(self) -> bool:
        """UV: it checked a PIN, a fingerprint or a face."""
        return bool(self.flags & USER_VERIFIED)

    @property
    def device_bound(self) -> bool:
        """BE is not set: the private key can never leave its device."""
        return not self.flags & BACKUP_ELIGIBLE

    @property
    def backed_up(self) -> bool:
        """BS: the private key exists elsewhere now."""
        return bool(self.flags & BACKED_UP)


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified assertion tells. `sign_count` is 0 for keys that do not count (every synced passkey)."""

    sign_count: int
    device_bound: bool
    backed_up: bool
    origin: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What an attestation object holds. Nothing in it is proven: `fmt` "none" carries no signature at all."""

    credential_id: bytes
    cose_key: bytes
    aaguid: str
    fmt: str
    authenticator: AuthenticatorData

    @property
    def flags(self) -> int:
        """The flags byte of the authenticator data."""
        return self.authenticator.flags


def verify_assertion(
    *,
    credential: CoseKey,
    client_data: bytes,
    authenticator_data: bytes,
    signature: bytes,
    challenge: bytes,
    rp_id: str,
    origins: Collection[str] | None,
) -> Assertion:
    """Verify one answer of `navigator.credentials.get()` to `challenge`; user verification is always required.

    `client_data` and `authenticator_data` are the bytes as they came. `origins` are the pages that may ask, None for
    any that the browser lets use `rp_id`. Whether the key is allowed, counts up or is revoked is the caller's to ask.
    Raises WebAuthnError with the code of the first check that fails, in the order of `CODES`.

    Source: Web Authentication level 3, section 7.2, with crossOrigin and topOrigin refused.
    """
    browser = ClientData.parse(client_data)
    browser.check(typ=GET, challenge=challenge, rp_id=rp_id, origins=origins)
    if len(authenticator_data) > MAX_AUTHENTICATOR_DATA:
        raise _authenticator_data("has the wrong length")
    authenticator = AuthenticatorData.parse(authenticator_data)
    if authenticator.credential is not None:
        raise _authenticator_data("holds a new credential, which has no place in a signature")
    authenticator.check(rp_id)
    if not credential.verify(authenticator.raw + browser.digest, signature):
        raise WebAuthnError("signature", "the signature does not verify with this key")
    return Assertion(authenticator.sign_count, authenticator.device_bound, authenticator.backed_up, browser.origin)


def parse_registration(attestation_object: bytes) -> Registration:
    """Read the attestation object of `navigator.credentials.create()`; its key is one we accept, in its one spelling.

    Raises WebAuthnError `authenticator-data` and CoseError. Neither site, flags nor attestation statement are judged.
    """
    if len(attestation_object) > MAX_ATTESTATION:
        raise _authenticator_data("has the wrong length")
    try:
        document = cbor.loads(attestation_object)
    except cbor.CborError as error:
        raise _authenticator_data(f"cannot be read: {error}") from None
    if not isinstance(document, dict) or set(document) != {"fmt", "attStmt", "authData"}:
        raise _authenticator_data("is no attestation object")
    fmt, raw = document["fmt"], document["authData"]
    if not isinstance(fmt, str) or not isinstance(raw, bytes):
        raise _authenticator_data("is no attestation object")
    authenticator = AuthenticatorData.parse(raw)
    made = authenticator.credential
    if made is None:
        raise _authenticator_data("holds no new credential")
    CoseKey.parse(made.cose_key)
    return Registration(made.credential_id, made.cose_key, made.aaguid, fmt, authenticator)


def origin_fits(origin: str, rp_id: str) -> bool:
    """Whether a page of `origin` may use `rp_id`: https on that host or below it, or http on exactly `localhost`.

    The origin must be spelled as browsers spell it: lower case, no default port, nothing after the port.
    """
    found = _ORIGIN.fullmatch(origin) if len(origin) <= MAX_ORIGIN else None
    if found is None or not _DOMAIN.fullmatch(found["host"]) or not _DOMAIN.fullmatch(rp_id):
        return False
    scheme, host, port = found["scheme"], found["host"], int(found["port"] or 0)
    if port > 65535 or port == _DEFAULT_PORTS[scheme]:
        return False
    if scheme == "http":
        return host == rp_id == "localhost"
    return host == rp_id or host.endswith("." + rp_id)


def _credential(raw: bytes, at: int) -> tuple[AttestedCredential, int]:
    """The attested credential data at `at`, and where it ends (level 3, section 6.5.1)."""
    aaguid, length, start = raw[at : at + 16], int.from_bytes(raw[at + 16 : at + 18], "big"), at + 18
    end = start + length
    if not 1 <= length <= MAX_CREDENTIAL_ID:
        raise _authenticator_data("holds a credential id of the wrong length")
    _, after = cbor.load_first(raw, end)
    return AttestedCredential(str(uuid.UUID(bytes=aaguid)), raw[start:end], raw[end:after]), after


def _authenticator_data(message: str) -> WebAuthnError:
    return WebAuthnError("authenticator-data", f"the authenticator data {message}")
