"""What people signed in a receipt: verified with the keys that the evidence carries, since a receipt has no directory.

So this tells that one key signed these bytes for this purpose. Whose key it is, only pinned keys tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from imprimatur.formats import cose, keys, signing, sshsig, webauthn
from imprimatur.formats import evidence as evidences
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.trust import PersonKey


def check(entry: Mapping[str, Any], typ: str, origins: Sequence[str] | None) -> evidences.Given:
    """Verify the signature over the statement that an entry holds. ``origins`` are the pinned pages, None for any.

    Raises ValueError when it does not hold.
    """
    evidence = entry["body"]["evidence"]
    # Whether the maker of a device is to be trusted is for the installation to say: the decision key signed its word.
    attested = entry["actor"].get("assurance") == "H3"
    if evidence["kind"] == "ssh":
        key = sshsig.parse(evidence["value"]).key
        material = evidences.KeyMaterial("ssh", key.fingerprint, line=key.line)
    else:
        material = _passkey(evidence, attested=attested)
    return evidences.check(
        evidence,
        typ=typ,
        raw=entry["body"]["statement"].encode("utf-8"),
        namespace=signing.ssh_namespace(typ),
        key=material,
        origins=origins,
    )


def thumbprint(evidence: Mapping[str, Any]) -> str:
    """The one name of the key that verified evidence carries, in whatever encoding it comes; empty for a click."""
    if evidence["kind"] == "ssh":
        return keys.thumbprint(sshsig.parse(evidence["value"]).key.public_key)
    if evidence["kind"] == "webauthn":
        return cose.CoseKey.parse(un_b64u(evidence["public_key"])).thumbprint
    return ""


def is_pinned(entry: Mapping[str, Any], fingerprint: str, people: Sequence[PersonKey], used: str) -> bool:
    """Whether the key is pinned as this person's, for when they signed and for when it was used."""
    return any(
        known.fingerprint == fingerprint
        and known.person == entry["actor"]["id"]
        and known.covers(entry["time"])
        and known.covers(used)
        for known in people
    )


def _passkey(evidence: Mapping[str, Any], *, attested: bool) -> evidences.KeyMaterial:
    """The key that an assertion carries, for the site that its authenticator signed for. Raises ValueError."""
    public_key, credential = un_b64u(evidence["public_key"]), un_b64u(evidence["credential"])
    data = webauthn.AuthenticatorData.parse(un_b64u(evidence["authenticator_data"]))
    origin = webauthn.ClientData.parse(un_b64u(evidence["client_data"])).origin
    host = origin.partition("://")[2].partition(":")[0]
    labels = host.split(".")
    sites = [".".join(labels[place:]) for place in range(len(labels))]
    site = next((name for name in sites if hashlib.sha256(name.encode("utf-8")).digest() == data.rp_id_hash), host)
    return evidences.KeyMaterial(
        "webauthn",
        cose.CoseKey.parse(public_key).thumbprint,
        public_key=public_key,
        credential=credential,
        rp_id=site,
        device_bound=data.device_bound,
        attested=attested,
    )
