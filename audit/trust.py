"""What a verifier of this log has to know from elsewhere, as a ``trust.json``: read from the signed entries.

A copy taken from here is only as good as the way it travelled; who relies on it compares it with one from another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings

from audit import keyring, witnesses
from audit.errors import LogNotBegun
from audit.models import Entry
from audit.selectors import payload_of
from imprimatur.formats import signing, webauthn


def server() -> dict[str, Any]:
    """The keys of this log alone: what an agent pins when it enrols. Raises LogNotBegun."""
    ring = keyring.ring()
    if not ring.log:
        raise LogNotBegun
    return {"realm": ring.log[0].vkey.name, **ring.trusted()}


PEOPLES_KEYS = ("person.key_added", "person.key_enrolled", "person.key_vouched", "person.key_revoked")
"""The entries in which people's keys come and go."""


def change_people(
    found: dict[str, dict[str, Any]], enrolled: dict[str, dict[str, Any]], payload: dict[str, Any]
) -> None:
    """Take one of `PEOPLES_KEYS` into account: ``found`` maps fingerprints to keys that count, ``enrolled`` to those
    that wait for a voucher. A key is a line of a ``.pub`` file, or a COSE key in base64url."""
    body, time = payload["body"], payload["time"]
    if payload["kind"] == "person.key_added":
        about = {"role": "person", "purpose": "delegation", "kind": signing.SSH, "owner": body["person"]}
        found[body["fingerprint"]] = {**about, "key": body["key"], "from": time}
    elif payload["kind"] == "person.key_enrolled":
        said = signing.parse(body["statement"].encode("utf-8"), signing.ENROLMENT)
        about = {"role": "person", "purpose": "signing", "kind": said["kind"], "owner": body["person"]}
        enrolled[said["key"]] = {**about, "key": said["public_key"]}
    elif payload["kind"] == "person.key_vouched":
        found[body["fingerprint"]] = {**enrolled.pop(body["fingerprint"]), "from": time}
    elif body["fingerprint"] in found:
        found[body["fingerprint"]]["to"] = body["since"]


def people_of(keys: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """People's keys as trust.json names them."""
    return [
        {"person": key["owner"], **{name: key[name] for name in ("kind", "key", "from", "to") if name in key}}
        for key in keys
        if key["role"] == "person"
    ]


def service_of(body: dict[str, Any]) -> dict[str, str]:
    """A service as trust.json names it. Retired ones stay: what they signed before is still theirs."""
    return {"service": body["service"], "role": body["role"], "key": body["public_key"]}


def document() -> dict[str, Any]:
    """Everything an auditor pins: the log, the people's keys with their times, every policy that was active, the
    services there ever were, and the pages on which people sign."""
    people: dict[str, dict[str, Any]] = {}
    enrolled: dict[str, dict[str, Any]] = {}
    policies: dict[str, None] = {}
    services: list[dict[str, str]] = []
    kinds = (*PEOPLES_KEYS, "policy.activated", "service.registered")
    for row in Entry.objects.filter(kind__in=kinds).order_by("index"):
        payload = payload_of(row)
        if row.kind == "policy.activated":
            policies[payload["body"]["policy"]] = None
        elif row.kind == "service.registered":
            services.append(service_of(payload["body"]))
        else:
            change_people(people, enrolled, payload)
    return {
        **server(),
        "people": people_of(people.values()),
        "policy": list(policies),
        **({"services": services} if services else {}),
        **origins(),
        **witnesses.anchor(),
    }


def origins() -> dict[str, list[str]]:
    """The pages on which people sign here, for ``trust.json``: those that the site of their keys covers."""
    fitting = [origin for origin in settings.ORIGINS if webauthn.origin_fits(origin, settings.RP_ID)]
    return {"origins": fitting} if fitting else {}
