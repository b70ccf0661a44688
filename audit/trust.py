"""What a verifier of this log has to know from elsewhere, as a ``trust.json``: read from the signed entries.

A copy taken from here is only as good as the way it travelled; who relies on it compares it with one from another way.
"""

from __future__ import annotations

from typing import Any

from audit.errors import LogNotBegun
from audit.models import Entry
from audit.selectors import payload_of


def server() -> dict[str, Any]:
    """The keys of this log alone: what an agent pins when it enrols. Raises LogNotBegun."""
    first = Entry.objects.filter(index=0).first()
    if first is None:
        raise LogNotBegun
    genesis = payload_of(first)
    body = genesis["body"]
    return {
        "realm": genesis["realm"],
        "log": [body["log_vkey"]],
        "decision": [{"key": body["decision_key"]["public"], "from": 0}],
    }


def document() -> dict[str, Any]:
    """Everything an auditor pins: the log, the people's keys with their times, every policy that was active."""
    people: dict[str, dict[str, str]] = {}
    policies: dict[str, None] = {}
    kinds = ("person.key_added", "person.key_revoked", "policy.activated")
    for row in Entry.objects.filter(kind__in=kinds).order_by("index"):
        payload = payload_of(row)
        body = payload["body"]
        if row.kind == "person.key_added":
            people[body["fingerprint"]] = {
                "person": body["person"],
                "kind": "ssh",
                "key": body["key"],
                "from": payload["time"],
            }
        elif row.kind == "person.key_revoked":
            people[body["fingerprint"]]["to"] = body["since"]
        else:
            policies[body["policy"]] = None
    return {**server(), "people": list(people.values()), "policy": list(policies)}
