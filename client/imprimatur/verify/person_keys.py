"""People's own keys: how one comes in, who vouches for it, and how it ends.

A key that signs decisions is enrolled by a statement that it signed itself, and counts once somebody vouches for it
who neither owns it nor introduced its owner (`rules.administration.vouching`). The operator's console can register a
key for delegations, or vouch: both are counted, and reports say what rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import cose, digests, keys, signing, sshsig, webauthn
from imprimatur.formats.encoding import un_b64u
from imprimatur.rules import administration
from imprimatur.verify import people, rulebook, signatures
from imprimatur.verify.facts import Facts, Person, PersonKey

CONSOLE, FIRST = "console", "first"
_DELEGATION, _SIGNING = "delegation", "signing"
_NO_ATTESTATION = "none"


def _added(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor, rule = entry["body"], entry["actor"], rulebook.PERSON_KEY
    person = _person(facts, body)
    try:
        key = sshsig.parse_public_key(body["key"])
    except sshsig.SshSigError as error:
        facts.hold(False, rule, str(error))
        return
    facts.hold(key.fingerprint == body["fingerprint"], rule, "the fingerprint is of another key")
    thumbprint = keys.thumbprint(key.public_key)
    _check_free(facts, body["fingerprint"], thumbprint)
    # Whoever registers a key can sign with it: not even another admin does it for them. And where two people hold
    # signing keys, one who wants a key enrols it.
    by_console = actor["type"] == "system" and actor["id"] == people.CONSOLE
    facts.hold(
        by_console or (actor["id"] == body["person"] and not people.two_person(facts)),
        rulebook.ACTOR,
        "only the operator at the console registers a key without an enrolment",
    )
    _keep(facts, body["person"], person, body["fingerprint"], PersonKey("ssh", _DELEGATION, thumbprint, body["key"]))


def _enrolled(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    person = _person(facts, body)
    facts.hold(
        actor["id"] == body["person"], rulebook.ACTOR, "whoever enrols a key can sign with it: only its owner does"
    )
    raw = body["statement"].encode("utf-8")
    said = signatures.read(facts, raw, signing.ENROLMENT)
    facts.hold(said["person"] == body["person"], rulebook.STATEMENT, "it is somebody else's statement")
    facts.hold(said["kind"] == body["evidence"]["kind"], rulebook.EVIDENCE, "another kind of key signed it")
    key = _read(facts, said)
    _check_free(facts, said["key"], key.thumbprint)
    key.enrolled, key.enrolment = facts.index, digests.sha256(raw)
    if "attestation" in body:
        key.attested = _attested(facts, body["attestation"], said)
    proven = signatures.check_enrolment(facts, key, said["key"], raw, body["evidence"])
    signatures.check_actor(facts, entry, proven)
    signatures.use(facts, raw, said)
    _keep(facts, body["person"], person, said["key"], key)


def _read(facts: Facts, said: Mapping[str, Any]) -> PersonKey:
    """The key that an enrolment statement describes, after everything it says of the key was computed again."""
    rule = rulebook.PERSON_KEY
    try:
        if said["kind"] == signing.SSH:
            ssh = sshsig.parse_public_key(said["public_key"])
            names = (ssh.fingerprint, keys.thumbprint(ssh.public_key), ssh.type == sshsig.SK_ED25519)
            found = PersonKey("ssh", _SIGNING, names[1], line=said["public_key"], device_bound=names[2])
        else:
            parsed = cose.CoseKey.parse(un_b64u(said["public_key"]))
            names = (parsed.thumbprint, parsed.thumbprint, said["device_bound"])
            found = PersonKey(
                "webauthn",
                _SIGNING,
                parsed.thumbprint,
                public_key=said["public_key"],
                credential=said["credential"],
                rp_id=said["rp_id"],
                device_bound=said["device_bound"],
            )
    except ValueError as error:
        facts.hold(False, rule, f"the key cannot be used: {error}")
        raise AssertionError from error  # hold has raised
    facts.hold(
        names == (said["key"], said["thumbprint"], said["device_bound"]), rule, "what it says of the key is not so"
    )
    return found


def _attested(facts: Facts, attestation: str, said: Mapping[str, Any]) -> bool:
    """Whether a maker's attestation comes with this very key. Whose it is, is for those to ask who know the makers."""
    rule = rulebook.PERSON_KEY
    facts.hold(said["kind"] == signing.WEBAUTHN, rule, "only a WebAuthn key comes with an attestation")
    try:
        made = webauthn.parse_registration(un_b64u(attestation))
    except ValueError as error:
        facts.hold(False, rule, f"the attestation cannot be read: {error}")
        raise AssertionError from error  # hold has raised
    facts.hold(
        made.credential_id == un_b64u(said["credential"]) and made.cose_key == un_b64u(said["public_key"]),
        rule,
        "the attestation is of another key",
    )
    return made.fmt != _NO_ATTESTATION and bool(said["device_bound"])


def _vouched(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor, rule = entry["body"], entry["actor"], rulebook.VOUCHING
    person = _person(facts, body)
    name = body["fingerprint"]
    key = person.keys.get(name)
    if key is None or key.purpose != _SIGNING:
        facts.hold(False, rule, "this person enrolled no such key")
        return
    facts.hold(not key.vouched, rule, "the key was vouched for before")
    facts.hold(not key.revoked_since and not key.lapsed, rule, "the key was revoked, or lapsed with the login")
    facts.hold(person.active, rule, "the person is not active")
    if actor["type"] == "system":
        facts.hold("signed" not in body, rulebook.ACTOR, "the console signs nothing")
        key.vouched_by = CONSOLE
        facts.totals.vouched_by_console += 1
    else:
        _check_voucher(facts, entry, person, key)
    if body.get("first"):
        facts.totals.first_keys += 1
    key.vouched = facts.now
    if body["person"] not in facts.holders:
        facts.holders.append(body["person"])


def _check_voucher(facts: Facts, entry: Mapping[str, Any], newcomer: Person, key: PersonKey) -> None:
    body, voucher, rule = entry["body"], entry["actor"]["id"], rulebook.VOUCHING
    known = facts.people[voucher]
    verdict = administration.vouching(
        newcomer=body["person"],
        voucher=voucher,
        voucher_roles=known.roles,
        voucher_active=known.active,
        introducers=newcomer.introducers,
        holders=facts.holders,
    )
    if isinstance(verdict, administration.Objection):
        facts.hold(False, rule, verdict.message)
        return
    facts.hold(not verdict.first or body.get("first"), rule, "it does not say that too few people could take part")
    if voucher == body["person"]:
        facts.hold("signed" not in body, rule, "nobody signs for a key of their own")
        key.vouched_by = FIRST
        return
    facts.hold("signed" in body, rule, "vouching takes the voucher's signature")
    wanted = {"for": body["person"], "key": body["fingerprint"], "enrolment": key.enrolment}
    _, proven = signatures.signed(facts, entry, signing.VOUCH, wanted)
    key.vouched_by, key.vouched_with = voucher, proven.key


def _revoked(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.PERSON_KEY
    person = facts.people.get(body["person"])
    key = person.keys.get(body["fingerprint"]) if person is not None else None
    if key is None:
        facts.hold(False, rule, "this person has no such key")
        return
    facts.hold(
        not key.revoked_since or body["since"] < key.revoked_since, rule, "the key is revoked from an earlier time"
    )
    facts.hold(body["since"] <= facts.now, rule, "a revocation cannot begin in the future")
    # What a dead key vouched for has lapsed; that it is written down key by key is nobody's choice any more.
    facts.hold(
        key.lapsed or people.may_act_for(facts, entry["actor"], body["person"]),
        rulebook.ACTOR,
        "only the person or an admin revokes a key",
    )
    signatures.act(facts, entry, "fingerprint", "person")
    key.revoked_since = body["since"]
    _lapse(facts, body["fingerprint"], body["since"])
    facts.revocations[str(facts.index)] = entry["kind"]


def _lapse(facts: Facts, fingerprint: str, since: str) -> None:
    """What a key vouched for from the time that it is revoked from counts no longer, nor what that vouched for."""
    for person in facts.people.values():
        for name, key in person.keys.items():
            if key.vouched_with == fingerprint and key.vouched >= since and not key.lapsed:
                key.lapsed = True
                _lapse(facts, name, key.vouched)


def _person(facts: Facts, body: Mapping[str, Any]) -> Person:
    person = facts.people.get(body["person"])
    facts.hold(person is not None, rulebook.PEOPLE, "there is no such person")
    assert person is not None
    return person


def _check_free(facts: Facts, fingerprint: str, thumbprint: str) -> None:
    rule = rulebook.PERSON_KEY
    taken = fingerprint in facts.person_keys or thumbprint in facts.person_thumbprints
    facts.hold(not taken, rule, "this key was registered before, in this form or another")
    facts.hold(thumbprint not in facts.agent_keys, rule, "this key is an agent's")
    facts.hold(not facts.is_services(thumbprint), rule, "this key is a service's")


def _keep(facts: Facts, name: str, person: Person, fingerprint: str, key: PersonKey) -> None:
    person.keys[fingerprint] = key
    facts.person_keys[fingerprint] = name
    facts.person_thumbprints[key.thumbprint] = name


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "person.key_added": _added,
    "person.key_enrolled": _enrolled,
    "person.key_vouched": _vouched,
    "person.key_revoked": _revoked,
}
