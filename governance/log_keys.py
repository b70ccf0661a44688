"""The log's own keys are nobody's: a key that signs entries or checkpoints signs for no agent, person or service."""

from __future__ import annotations

from audit import keyring
from governance.errors import Refused
from imprimatur.formats import keys


def must_not_be_the_logs(thumbprint: str) -> None:
    """Raise Refused ``conflict`` for a key, by RFC 7638 thumbprint, that this log has or ever had (invariant 4)."""
    ring = keyring.ring()
    known = [key.public_key for key in ring.decision] + [key.vkey.public_key for key in ring.log]
    if thumbprint in {keys.thumbprint(public_key) for public_key in known}:
        raise Refused("conflict", "This key is the log's own. Make a key for this purpose alone.")
