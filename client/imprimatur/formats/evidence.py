"""The evidence that a person's own key signed a statement: one check, used alike by the server and by the verifier.

What is signed is `raw`, the canonical bytes of the statement, for one purpose: an SSH signature names it by its
namespace, a WebAuthn assertion by the type tag in its challenge, `SHA-256(typ 0x00 raw)`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imprimatur.formats import digests, sshsig, webauthn
from imprimatur.formats.cose import CoseError, CoseKey
from imprimatur.formats.encoding import un_b64u

CODES = ("kind", "session", "malformed", "key", "namespace", *webauthn.CODES)
"""The codes of EvidenceError."""

_MAX_FIELD = 8192


class EvidenceError(ValueError):
    """This is no evidence. `code` is one of `CODES` and stays; the message is for people and may be worded anew."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A person's enrolled key, as whoever checks knows it from enrolment and never from the evidence itself.

    `fingerprint` names it: `SHA256:…` for SSH, the RFC 7638 thumbprint for WebAuthn. `line` is the SSH public key;
    `public_key` (COSE), `credential` (its id), `rp_id`, `device_bound` and `attested` (its model was proven by a
    trusted attestation) are for WebAuthn.
    """

    kind: Literal["ssh", "webauthn"]
    fingerprint: str
    line: str = ""
    public_key: bytes = b""
    credential: bytes = b""
    rp_id: str = ""
    device_bound: bool = False
    attested: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What a good piece of evidence proves: which key, how sure that a person was there, and whether it can be copied.

    `sign_count` is the hardware's counter, None for an SSH key in a file. `user_verified` tells whether the hardware
    says that it checked a PIN, fingerprint or face: always so for WebAuthn, by the key's own choice for SSH.
    """

    key: str
    assurance: Literal["H2", "H3"]
    device_bound: bool
    sign_count: int | None
    user_verified: bool


def check(
    evidence: Mapping[str, Any],
    *,
    typ: str,
    raw: bytes,
    namespace: str,
    key: KeyMaterial,
    origins: Collection[str] | None = None,
) -> Given:
    """Check that `key` signed `raw` for the purpose `typ` (WebAuthn) or `namespace` (SSH).

    `origins` None means any page that may use the key's site. Whether the key was allowed, revoked or enrolled in
    time, and what the statement says, is the caller's to ask. Raises EvidenceError; a bad `key` raises it as well.
    """
    kind = evidence.get("kind")
    if kind == "session":
        raise EvidenceError("session", "a click in a session is no signature")
    if kind not in ("ssh", "webauthn"):
        raise EvidenceError("kind", "a signature is of kind ssh or webauthn")
    if kind != key.kind:
        raise EvidenceError("key", "the signature was made by a key of another kind")
    if kind == "ssh":
        return _ssh(evidence, raw, namespace, key)
    return _webauthn(evidence, digests.tagged_bytes(typ, raw), key, origins)


def _ssh(evidence: Mapping[str, Any], raw: bytes, namespace: str, key: KeyMaterial) -> Given:
    try:
        enrolled = sshsig.parse_public_key(key.line)
    except sshsig.SshSigError as error:
        raise EvidenceError("key", f"the enrolled SSH key cannot be used: {error}") from None
    if not enrolled.fingerprint == key.fingerprint == _text(evidence, "key"):
        raise EvidenceError("key", "the signature names another SSH key")
    armored = _text(evidence, "value")
    try:
        signature = sshsig.parse(armored)
    except sshsig.SshSigError as error:
        raise EvidenceError("malformed", str(error)) from None
    if signature.key.blob != enrolled.blob:
        raise EvidenceError("key", "the signature was made by another SSH key")
    if signature.namespace != namespace:
        raise EvidenceError("namespace", f"the signature was made for another purpose; sign with -n {namespace}")
    if signature.flags is not None and not signature.flags & webauthn.USER_PRESENT:
        raise EvidenceError("user-presence", "the security key was not touched; sign without no-touch-required")
    try:
        good = sshsig.verify(armored, raw, namespace, enrolled)
    except sshsig.SshSigError as error:
        raise EvidenceError("malformed", str(error)) from None
    if not good:
        raise EvidenceError("signature", "the signature does not verify with this key over this statement")
    hardware = enrolled.type == sshsig.SK_ED25519
    return Given(enrolled.fingerprint, "H2", hardware, signature.counter, signature.user_verified)


def _webauthn(
    evidence: Mapping[str, Any], challenge: bytes, key: KeyMaterial, origins: Collection[str] | None
) -> Given:
    try:
        enrolled = CoseKey.parse(key.public_key)
    except CoseError as error:
        raise EvidenceError("key", f"the enrolled key cannot be used: {error}") from None
    if enrolled.thumbprint != key.fingerprint or not key.rp_id:
        raise EvidenceError("key", "the enrolled key is incomplete, or its fingerprint is another key's")
    if _bytes(evidence, "credential") != key.credential or _bytes(evidence, "public_key") != key.public_key:
        raise EvidenceError("key", "the signature was made by another key")
    if evidence.get("key", key.fingerprint) != key.fingerprint:  # a delegation's signature names its key as well
        raise EvidenceError("key", "the signature names another key")
    try:
        assertion = webauthn.verify_assertion(
            credential=enrolled,
            client_data=_bytes(evidence, "client_data"),
            authenticator_data=_bytes(evidence, "authenticator_data"),
            signature=_bytes(evidence, "signature"),
            challenge=challenge,
            rp_id=key.rp_id,
            origins=origins,
        )
    except webauthn.WebAuthnError as error:
        raise EvidenceError(error.code, error.message) from None
    if assertion.device_bound != key.device_bound:
        raise EvidenceError("backup-flags", "the key was enrolled as device-bound or synced, and now says the opposite")
    assurance: Literal["H2", "H3"] = "H3" if key.attested and assertion.device_bound else "H2"
    return Given(enrolled.thumbprint, assurance, assertion.device_bound, assertion.sign_count, True)


def _text(evidence: Mapping[str, Any], name: str) -> str:
    value = evidence.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_FIELD:
        raise EvidenceError("malformed", f"the evidence has no {name}, or one of the wrong kind or size")
    return value


def _bytes(evidence: Mapping[str, Any], name: str) -> bytes:
    try:
        return un_b64u(_text(evidence, name))
    except EvidenceError:
        raise
    except ValueError as error:
        raise EvidenceError("malformed", f"{name} in the evidence is {error}") from None
