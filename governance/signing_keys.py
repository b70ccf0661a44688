"""The keys with which people sign: which of them count, and what evidence by one of them proves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from governance.errors import Refused
from governance.models import Person, PersonKey
from imprimatur.formats import delegation, evidence, signing, webauthn
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.evidence import EvidenceError, Given, KeyMaterial
from imprimatur.formats.signing import SSH


def keys_of(person: Person) -> list[PersonKey]:
    """The keys that sign this person's answers now: enrolled, vouched for, not revoked. The oldest first."""
    return [key for key in person.keys.order_by("added_at") if key.signs_decisions]


def may_sign(person: Person) -> bool:
    """Whether this person holds a signing key in force."""
    return bool(keys_of(person))


def chosen(person: Person, fingerprint: str) -> PersonKey:
    """The signing key in force that this person chose to sign with. Raises Refused ``not-allowed`` for any other."""
    for key in keys_of(person):
        if key.fingerprint == fingerprint:
            return key
    raise Refused("not-allowed", "Choose one of your own signing keys in force. Under Your keys you see which are.")


def material(key: PersonKey) -> KeyMaterial:
    """The key as enrolment wrote it down, in the form that checks of evidence read."""
    if key.kind == PersonKey.SSH:
        return KeyMaterial("ssh", key.fingerprint, line=key.line)
    return KeyMaterial(
        "webauthn",
        key.fingerprint,
        public_key=bytes(key.public_key),
        credential=un_b64u(key.credential or ""),
        rp_id=key.rp_id,
        device_bound=key.device_bound,
        attested=key.attested,
    )


def named_by(person: Person, proof: Mapping[str, Any]) -> PersonKey:
    """The person's own key that this evidence names. Raises Refused ``signature`` for any other key.

    Passkeys with which people sign in live in another table, so none of them is ever found here.
    """
    if proof.get("kind") == SSH:
        wanted = {"kind": PersonKey.SSH, "fingerprint": proof.get("key")}
    else:
        wanted = {"kind": PersonKey.WEBAUTHN, "credential": proof.get("credential")}
    key = PersonKey.objects.filter(person=person, **wanted).first() if all(wanted.values()) else None
    if key is None:
        raise Refused(
            "signature",
            "This was not signed with a signing key of yours. A passkey for signing in signs nothing else: "
            "enrol a signing key under Your keys.",
        )
    return key


def must_count(key: PersonKey, typ: str) -> None:
    """Raise Refused unless this key, as the row says, may sign a statement of this type now.

    ``key-revoked`` after its revocation; ``not-allowed`` before it is vouched for, and for a key that was registered
    at the console to sign delegations and nothing else.
    """
    if key.revoked_at is not None:
        raise Refused("key-revoked", "This key was revoked, so it signs nothing any more. Sign with another one.")
    if not key.in_force:
        raise Refused("not-allowed", "Nobody has vouched for this key yet, so it does not sign. Ask a colleague to.")
    if typ != delegation.TYP and not key.signs_decisions:
        raise Refused(
            "not-allowed", "This key was registered for delegations only. Enrol a signing key under Your keys."
        )


def check(key: KeyMaterial, typ: str, raw: bytes, proof: Mapping[str, Any]) -> Given:
    """Check that this key signed these bytes for this purpose, on a page of ours. Raises Refused ``signature``."""
    try:
        return evidence.check(
            proof,
            typ=typ,
            raw=raw,
            namespace=signing.ssh_namespace(typ),
            key=key,
            origins=origins_for(key.rp_id),
        )
    except EvidenceError as error:
        raise Refused("signature", f"This signature does not count: {error.message}.") from None


def origins_for(rp_id: str) -> tuple[str, ...]:
    """Our own pages on which keys of this site may sign. A page elsewhere is none, even if it is ours: whoever verifies
    the log later knows the site only."""
    return tuple(origin for origin in settings.ORIGINS if webauthn.origin_fits(origin, rp_id))


def prove(person: Person, typ: str, raw: bytes, proof: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Check evidence over a statement outside any lock: the key's fingerprint, the assurance, whether it is bound to
    one device. Raises Refused: signature, key-revoked, not-allowed."""
    key = named_by(person, proof)
    must_count(key, typ)
    given = check(material(key), typ, raw, proof)
    return given.key, given.assurance, given.device_bound
