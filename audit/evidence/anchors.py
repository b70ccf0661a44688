"""What to hand to auditors and agents by another way than the bundle: the ``trust.json`` of this installation."""

from __future__ import annotations

from typing import Any

from audit import keyring, signer, witnesses
from audit.evidence.source import Source
from audit.evidence.trust import key_history
from audit.trust import origins, people_of, service_of
from imprimatur.formats import trust
from imprimatur.formats.keyring import KINDS, Keyring
from imprimatur.formats.keys import dsse_keyid
from imprimatur.formats.shapes import check


def policy() -> str:
    """The same for C2SP tools: the log's keys, the witnesses and their quorum, as a ``policy.tlog``."""
    ring = _own_keys(Source())
    return witnesses.published_policy(*(key.vkey for key in ring.log if key.until is None)).format()


def document(source: Source | None = None) -> dict[str, Any]:
    """The trust anchors as of the newest checkpoint: realm, log keys, decision keys, people's keys, policies, services.

    Every key is in this installation's own files as well; the log's word alone is not enough. Whoever receives this
    must get it from a person, once, and keep it. Raises NotPublished before the first checkpoint, SignerUnavailable for
    a key that the log names and the folder of keys does not hold.
    """
    source = source or Source()
    services = [service_of(entry.payload["body"]) for entry in source.entries("service.registered")]
    anchors = {
        "realm": source.realm,
        **_own_keys(source).trusted(),
        "people": people_of(key_history(source)),
        "policy": sorted({entry.payload["body"]["policy"] for entry in source.entries("policy.activated")}),
        **({"services": services} if services else {}),
        **origins(),
        **witnesses.anchor(),
    }
    check(anchors, trust.SHAPE)
    return anchors


def _own_keys(source: Source) -> Keyring:
    ring = keyring.ring(entry.payload for entry in source.entries(*KINDS))
    for decision in ring.decision:
        signer.name_of(signer.DECISION, dsse_keyid(decision.public_key))
    for log in ring.log:
        signer.name_of(signer.LOG, dsse_keyid(log.vkey.public_key))
    return ring
