"""DSSE envelopes (secure-systems-lab/dsse, protocol v1.0.2) in one exact byte form.

An envelope is the canonical JSON of `{payload, payloadType, signatures: [{keyid, sig}]}` with exactly one signature
and standard padded base64. The exact bytes are the leaf of the log, so a second encoding of the same envelope is
refused rather than repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import canonical, ed25519
from imprimatur.formats.encoding import b64, un_b64
from imprimatur.formats.keys import dsse_keyid

PAYLOAD_TYPE = "application/vnd.imprimatur.entry+json"


class DsseError(ValueError):
    """These bytes are not an envelope in its one exact form."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An opened envelope. Opening checks the form only; call `verify` before believing any of it."""

    payload: bytes
    payload_type: str
    keyid: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the exact bytes of this envelope."""
        return canonical.dumps(
            {
                "payload": b64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [{"keyid": self.keyid, "sig": b64(self.signature)}],
            }
        )


def pae(payload_type: str, body: bytes) -> bytes:
    """Return the signed bytes, "DSSEv1 len(type) type len(body) body" with lengths in bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def seal(payload: bytes, sign: Callable[[bytes], bytes], keyid: str, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Sign `payload` and return the bytes of its envelope.

    `sign` gets the PAE bytes; `keyid` is securesystemslib's key id (`keys.dsse_keyid`), so that its verifier and
    ours agree.
    """
    return Envelope(payload, payload_type, keyid, sign(pae(payload_type, payload))).to_bytes()


def open_envelope(raw: bytes) -> Envelope:
    """Parse an envelope. Raises DsseError unless encoding it again gives exactly `raw`."""
    try:
        document: Any = canonical.loads(raw)
    except canonical.CanonicalError as error:
        raise DsseError(f"not an envelope: {error}") from error
    if not isinstance(document, dict) or set(document) != {"payload", "payloadType", "signatures"}:
        raise DsseError("an envelope has exactly the fields payload, payloadType and signatures")
    signatures = document["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise DsseError("an envelope has exactly one signature")
    (entry,) = signatures
    if not isinstance(entry, dict) or set(entry) != {"keyid", "sig"}:
        raise DsseError("a signature has exactly the fields keyid and sig")
    payload, payload_type = document["payload"], document["payloadType"]
    keyid, signature = entry["keyid"], entry["sig"]
    if not all(isinstance(item, str) for item in (payload, payload_type, keyid, signature)):
        raise DsseError("payload, payloadType, keyid and sig are strings")
    try:
        envelope = Envelope(un_b64(payload), payload_type, keyid, un_b64(signature))
    except ValueError as error:
        raise DsseError(f"bad base64 in the envelope: {error}") from error
    if envelope.to_bytes() != raw:
        raise DsseError("the envelope is not in its exact byte form")
    return envelope


def verify(envelope: Envelope, public_key: bytes) -> bool:
    """Tell whether this Ed25519 public key signed the envelope.

    The key id must belong to the key as well: it is not covered by the signature, and securesystemslib skips a
    signature whose key id differs, so accepting another one would let two auditors disagree.
    """
    if len(public_key) != ed25519.KEY_SIZE or envelope.keyid != dsse_keyid(public_key):
        return False
    return ed25519.verify(public_key, pae(envelope.payload_type, envelope.payload), envelope.signature)
