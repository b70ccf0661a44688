"""What people sign, read and judged: the statement's bytes, its time, its single use, and the evidence for it.

Every statement in the log passes through here, so that none counts twice, none late, and none by a key that did not
count at that moment for that use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from imprimatur.formats import canonical, delegation, digests, shapes, signing
from imprimatur.formats import evidence as evidences
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts, PersonKey

GRACE = timedelta(seconds=5)
"""For clocks that differ a little, and a statement that waited for its batch."""

SESSION = "H0"
_REMEMBER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Proven:
    """What the evidence for a statement gives: the key ("" for a click in a session), and how sure it makes us."""

    key: str
    assurance: str
    device_bound: bool


def signed_part(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The statement and evidence that a body holds, or None: some bodies are a person's statement, others carry one."""
    if "statement" in body and "evidence" in body:
        return body
    found: Mapping[str, Any] | None = body.get("signed")
    return found


def material(key: PersonKey, fingerprint: str) -> evidences.KeyMaterial:
    """A key as its enrolment wrote it down, for `formats.evidence.check`."""
    if key.kind == "ssh":
        return evidences.KeyMaterial("ssh", fingerprint, line=key.line)
    return evidences.KeyMaterial(
        "webauthn",
        fingerprint,
        public_key=un_b64u(key.public_key),
        credential=un_b64u(key.credential),
        rp_id=key.rp_id,
        device_bound=key.device_bound,
        attested=key.attested,
    )


def key_in_force(facts: Facts, person: str, fingerprint: str) -> PersonKey | None:
    """A person's key that counts now for what it is for, or None."""
    known = facts.people.get(person)
    key = known.keys.get(fingerprint) if known is not None else None
    return key if key is not None and key.in_force else None


def read(facts: Facts, raw: bytes, typ: str) -> dict[str, Any]:
    """The statement of this type in these bytes: of this realm, and of a log that existed."""
    try:
        said = signing.parse(raw, typ)
    except (canonical.CanonicalError, shapes.ShapeError) as error:
        facts.hold(False, rulebook.STATEMENT, f"the statement is malformed: {error}")
        raise AssertionError from error  # hold has raised
    facts.hold(said["realm"] == facts.realm, rulebook.REALM, "the statement is of another realm")
    unseen = "it has seen a log that did not exist yet: an entry before it was left out, or its time is not its own"
    facts.hold(said["log_size"] <= facts.index, rulebook.STATEMENT, unseen)
    return said


def use(facts: Facts, raw: bytes, said: Mapping[str, Any]) -> None:
    """Use a statement up: within its time, and never again."""
    facts.hold(
        said["issued_at"] <= format_time(parse_time(facts.now) + GRACE)
        and facts.now <= format_time(parse_time(said["expires_at"]) + GRACE),
        rulebook.STATEMENT,
        "the statement is of another time",
    )
    digest = digests.sha256(raw)
    facts.hold(digest not in facts.statements, rulebook.REPLAY, "the same statement was used before")
    facts.statements[digest] = said["expires_at"]


def check(
    facts: Facts,
    *,
    person: str,
    typ: str,
    raw: bytes,
    evidence: Mapping[str, Any],
    named: str | None,
    session: bool = False,
) -> Proven:
    """What the evidence gives, for a statement in this person's name that names this key.

    The key is the person's, enrolled for signing, vouched for and not revoked. `session` takes a click as well.
    """
    rule = rulebook.EVIDENCE
    if evidence["kind"] == "session":
        facts.hold(session, rule, "a click in a session is no signature")
        facts.hold(named is None, rule, "the statement names a key, and none signed it")
        return Proven("", SESSION, False)
    facts.hold(named is not None, rulebook.STATEMENT, "the statement does not name the key that signs it")
    assert named is not None
    known = facts.people.get(person)
    key = known.keys.get(named) if known is not None else None
    if key is None:
        facts.hold(False, rule, "the key is not the signer's: no entry ties it to this person")
        raise AssertionError  # hold has raised
    facts.hold(not key.revoked_since, rule, "the key is revoked")
    facts.hold(key.purpose == "signing", rule, "the key was registered for delegations and signs nothing else")
    facts.hold(key.in_force, rule, "nobody has vouched for the key")
    return _verified(facts, key, named, _Statement(typ, raw), evidence)


def check_delegation(facts: Facts, document: Mapping[str, Any], signature: Mapping[str, Any]) -> Proven:
    """What a person's signature over a root delegation gives. Keys registered for delegations alone sign it too."""
    rule = rulebook.DELEGATION_SIGNATURE
    key = key_in_force(facts, document["issuer"], signature["key"])
    if key is None:
        facts.hold(False, rule, "the key is not the issuer's, or does not count")
        raise AssertionError  # hold has raised
    statement = _Statement(delegation.TYP, canonical.dumps(document), rule)
    return _verified(facts, key, signature["key"], statement, signature)


def check_enrolment(facts: Facts, key: PersonKey, fingerprint: str, raw: bytes, evidence: Mapping[str, Any]) -> Proven:
    """The new key itself signed the statement that enrols it: who brings it in can use it."""
    return _verified(facts, key, fingerprint, _Statement(signing.ENROLMENT, raw), evidence)


def check_actor(facts: Facts, entry: Mapping[str, Any], proven: Proven, *, exactly: bool = False) -> None:
    """The entry's actor claims no other key and no more assurance than the evidence gives.

    `exactly` holds for votes: what a vote is given is what it is counted with.
    """
    actor, rule = entry["actor"], rulebook.EVIDENCE
    stated = actor.get("assurance", SESSION)
    # Whether the maker who attested a key is one to trust is the installation's to say, so it may claim less.
    least = min(proven.assurance, "H2") if exactly else SESSION
    fits = least <= stated <= proven.assurance
    facts.hold(fits, rule, f"the evidence gives {proven.assurance}, not what is stated")
    facts.hold(actor.get("key", proven.key) == proven.key, rule, "the entry names another key than the evidence")


def signed(
    facts: Facts, entry: Mapping[str, Any], typ: str, wanted: Mapping[str, Any], body: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], Proven]:
    """The statement that an entry carries in `signed`: by its actor, saying exactly what is wanted, used once.

    A field wanted as None must be absent.
    """
    part = entry["body"]["signed"] if body is None else body
    raw = part["statement"].encode("utf-8")
    person = entry["actor"]["id"]
    facts.hold(entry["actor"]["type"] == "person", rulebook.ACTOR, "only a person signs")
    said = read(facts, raw, typ)
    facts.hold(said["person"] == person, rulebook.STATEMENT, "it is somebody else's statement")
    for name, value in wanted.items():
        facts.hold(said.get(name) == value, rulebook.STATEMENT, f"its {name} is not the entry's")
    proven = check(facts, person=person, typ=typ, raw=raw, evidence=part["evidence"], named=said.get("credential"))
    check_actor(facts, entry, proven)
    use(facts, raw, said)
    return said, proven


def act(facts: Facts, entry: Mapping[str, Any], thing: str = "", owner: str = "") -> None:
    """An optional signature on an entry that one person may write alone: it says this very act and all its particulars.

    `thing` is the field of the body that the act is about (a delegation, a key): the statement names it as its subject
    or in `content`. `owner` is whose it is, which follows from it. Whatever else the body says, `content` says as well,
    but for the moment at which it happened.
    """
    body = entry["body"]
    if "signed" not in body:
        return
    rule = rulebook.STATEMENT
    said, _ = signed(facts, entry, signing.ACT, {"act": entry["kind"]})
    facts.hold(said["subject"] in (entry["subject"], body.get(thing)), rule, "it is about another subject")
    chosen = {name: value for name, value in said["content"].items() if (name, value) != ("stolen", False)}
    for name, value in chosen.items():
        facts.hold(name != "signed" and name in body and body[name] == value, rule, f"its {name} is not the entry's")
    for name, value in body.items():
        known = name in chosen or name in ("signed", owner)
        known = known or (name == thing and value == said["subject"]) or (name == "since" and value == facts.now)
        facts.hold(known, rule, f"it does not say the entry's {name}")


def key_counts_then(facts: Facts, person: str, fingerprint: str, then: str) -> bool:
    """Whether what this key signed at that time still counts: it is not revoked from that time or before, nor has it
    lapsed with the key that vouched for it."""
    if not fingerprint:
        return True
    known = facts.people.get(person)
    key = known.keys.get(fingerprint) if known is not None else None
    if key is None or (key.lapsed and key.vouched):
        return False
    return not key.revoked_since or key.revoked_since > then


def forget(facts: Facts) -> None:
    """Forget statements that are over: their time alone refuses them."""
    before = format_time(parse_time(facts.now) - GRACE - _REMEMBER)
    for digest in [digest for digest, expires in facts.statements.items() if expires < before]:
        del facts.statements[digest]


@dataclass(frozen=True, slots=True)
class _Statement:
    """What was signed, and the rule that is broken when it was not."""

    typ: str
    raw: bytes
    rule: rulebook.Rule = rulebook.EVIDENCE


def _verified(facts: Facts, key: PersonKey, fingerprint: str, said: _Statement, evidence: Mapping[str, Any]) -> Proven:
    try:
        given = evidences.check(
            evidence,
            typ=said.typ,
            raw=said.raw,
            namespace=signing.ssh_namespace(said.typ),
            key=material(key, fingerprint),
        )
    except evidences.EvidenceError as error:
        facts.hold(False, said.rule, f"{error.message} ({error.code})")
        raise AssertionError from error  # hold has raised
    enrolment = evidence.get("enrolment")
    facts.hold(
        enrolment is None or enrolment == key.enrolled, rulebook.REFERENCE, "the key was enrolled by another entry"
    )
    return Proven(given.key, given.assurance, given.device_bound)
