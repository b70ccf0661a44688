"""What an agent's old key signs when a new one follows it."""

from __future__ import annotations

from imprimatur.formats import canonical

TAG = b"imprimatur/rotate/v1\0"


def rotation_preimage(*, realm: str, agent: str, old: str, new: str, public_key: str) -> bytes:
    """The signed bytes: tag, zero byte, JCS of the five fields (thumbprints; the new public key in base64url)."""
    document = {"agent": agent, "realm": realm, "old": old, "new": new, "public_key": public_key}
    return TAG + canonical.dumps(document)
