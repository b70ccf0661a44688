"""What to hand to auditors and agents by another way than the bundle: the ``trust.json`` of this installation."""

from __future__ import annotations

from typing import Any

from audit import signer
from audit.evidence.source import Source
from audit.evidence.trust import key_history
from audit.genesis import log_vkey
from imprimatur.formats import trust
from imprimatur.formats.encoding import b64u
from imprimatur.formats.shapes import check


def document(source: Source | None = None) -> dict[str, Any]:
    """The trust anchors as of the newest checkpoint: realm, log key, decision key, people's keys, policies.

    The keys are those in this installation's own files, not those the log claims. Whoever receives this must get it
    from a person, once, and keep it. Raises NotPublished before the first checkpoint.
    """
    source = source or Source()
    people = []
    for key in key_history(source):
        if key["role"] == "person":
            line = {"person": key["owner"], "kind": "ssh", "key": key["key"], "from": key["from"]}
            people.append(line | ({"to": key["to"]} if "to" in key else {}))
    anchors = {
        "realm": source.realm,
        "log": [log_vkey(source.realm)],
        "decision": [{"key": b64u(signer.decision_key().public_key), "from": 0}],
        "people": people,
        "policy": sorted({entry.payload["body"]["policy"] for entry in source.entries("policy.activated")}),
    }
    check(anchors, trust.SHAPE)
    return anchors
