"""What people sign, rule by rule: each history is good but for its last entry, and that breaks the rule it should."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from imprimatur.formats import commitments, digests, ids, signing, sshsig, statement
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.timestamps import format_time
from imprimatur.verify import rulebook
from tests.formats.soft_authenticator import SoftAuthenticator, cbor
from tests.verify import builder
from tests.verify.builder import (
    ADA,
    AUDRA,
    BO,
    CONSOLE,
    PEOPLE_KEYS,
    POLICY,
    ROBO,
    ROSA,
    RUI,
    SYSTEM,
    Ask,
    Log,
    Signer,
    by,
    key,
    name_of,
    passkey,
    standing,
)
from tests.verify.reading import Breaking, Case, asked, broken, read

SSO = {"type": "service", "id": "sso"}
CASES: list[Case] = []


def case(rule: rulebook.Rule) -> Callable[[Breaking], Breaking]:
    def keep(make: Breaking) -> Breaking:
        CASES.append((rule, make.__name__, make))
        return make

    return keep


def with_passkey(**made: Any) -> tuple[Log, Ask, SoftAuthenticator]:
    """A pending request, and a passkey of Rosa's that counts."""
    log, ask = asked()
    own = passkey(**made)
    log.holder(ROSA, own, RUI)
    return log, ask, own


# --- votes by passkey: every step of the check ----------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("device_bound", [True, False])
def test_a_vote_by_passkey_counts_whatever_its_algorithm_and_device(alg: Any, device_bound: bool) -> None:
    log, ask, own = with_passkey(alg=alg, device_bound=device_bound)
    log.allow(ask, (log.vote(ask, ROSA, pair=own),))
    assert read(log).facts.totals.assurance == {"H2": 1}


def test_a_vote_may_point_at_the_entry_that_enrolled_its_key() -> None:
    log, ask, own = with_passkey()
    enrolled = next(entry["index"] for entry in reversed(log.entries) if entry["kind"] == "person.key_enrolled")
    raw = log.statement(ask, ROSA, credential=own.thumbprint)
    log.vote(ask, ROSA, raw=raw, pair=own, evidence={**own.evidence(statement.TYP, raw), "enrolment": enrolled})
    read(log)
    other = log.ask(ask.body["binding"]["delegation"], "delete_file", risk="HIGH")
    log.request(other)
    raw = log.statement(other, ROSA, credential=own.thumbprint)
    log.vote(other, ROSA, raw=raw, pair=own, evidence={**own.evidence(statement.TYP, raw), "enrolment": 3})
    broken(log, rulebook.REFERENCE)


def other_client_data(own: SoftAuthenticator, raw: bytes) -> dict[str, Any]:
    """The same client data written anew, with a space in it, under the signature over the browser's own bytes."""
    evidence = own.evidence(statement.TYP, raw)
    client_data = un_b64u(evidence["client_data"]).replace(b'","', b'", "', 1)
    return {**evidence, "client_data": b64u(client_data)}


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "framed by another origin": ({"cross_origin": True, "top_origin": "https://evil.example"}, "cross-origin"),
    "a page around it that is not called foreign": ({"top_origin": "https://gate.example"}, "top-origin"),
    "a page of another origin": ({"origin": "https://evil.example"}, "origin"),
    "an origin that ends alike": ({"origin": "https://evilgate.example"}, "origin"),
    "a page without TLS": ({"origin": "http://gate.example"}, "origin"),
    "a registration instead of an assertion": ({"type": "webauthn.create"}, "type"),
    "another site": ({"rp_id": "evil.example"}, "rp-id"),
    "nobody touched it": ({"flags": 0x04}, "user-presence"),
    "nobody was verified": ({"flags": 0x01}, "user-verification"),
    "bound when enrolled, synced now": ({"flags": 0x0D}, "backup-flags"),
    "backed up what cannot be backed up": ({"flags": 0x15}, "backup-flags"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_vote_whose_ceremony_was_not_ours_is_refused(name: str) -> None:
    lies, code = LIES[name]
    log, ask, own = with_passkey()
    log.vote(ask, ROSA, pair=own, lies=lies)
    broken(log, rulebook.EVIDENCE, f"({code})")


def test_client_data_that_was_written_anew_is_refused() -> None:
    log, ask, own = with_passkey()
    raw = log.statement(ask, ROSA, credential=own.thumbprint)
    log.vote(ask, ROSA, raw=raw, pair=own, evidence=other_client_data(own, raw))
    broken(log, rulebook.EVIDENCE, "(signature)")


@pytest.mark.parametrize("typ", [signing.GRANT, signing.CHANGE, signing.ENROLMENT, "imprimatur/delegation/v1"])
def test_invariant_12_a_signature_for_another_purpose_is_no_vote(typ: str) -> None:
    log, ask, own = with_passkey()
    raw = log.statement(ask, ROSA, credential=own.thumbprint)
    log.vote(ask, ROSA, raw=raw, pair=own, evidence=own.evidence(typ, raw))
    broken(log, rulebook.EVIDENCE, "(challenge)")


def test_invariant_12_a_statement_for_another_request_is_no_vote_on_this_one() -> None:
    log, ask, own = with_passkey()
    other = log.ask(ask.body["binding"]["delegation"], "delete_file", risk="HIGH")
    log.request(other)
    log.vote(ask, ROSA, pair=own, raw=log.statement(other, ROSA, credential=own.thumbprint))
    broken(log, rulebook.STATEMENT, "its request")


def test_invariant_12_a_statement_of_another_realm_is_no_vote_here() -> None:
    log, ask, own = with_passkey()
    log.vote(ask, ROSA, pair=own, realm="gate.example/staging")
    broken(log, rulebook.REALM)


def test_a_statement_counts_once() -> None:
    log, ask, own = with_passkey()
    vote = log.vote(ask, ROSA, pair=own)
    body = log.entries[vote]["body"]
    log.add("vote.recalled", ask.id, by(ROSA), {"request": ask.id, "vote": vote})
    read(log)
    log.add("vote.cast", ask.id, by(ROSA, own.thumbprint, "H2"), body)
    broken(log, rulebook.REPLAY)


def test_a_click_counts_once_as_well() -> None:
    log, ask = asked()
    vote = log.vote(ask, ROSA, "deny", session=True)
    body = log.entries[vote]["body"]
    log.add("vote.recalled", ask.id, by(ROSA), {"request": ask.id, "vote": vote})
    log.add("vote.cast", ask.id, by(ROSA, assurance="H0"), body)
    broken(log, rulebook.REPLAY)


@case(rulebook.EVIDENCE)
def vote_with_a_passkey_for_signing_in() -> Log:
    log, ask = asked()
    log.vote(ask, ROSA, pair=passkey())
    return log


@case(rulebook.EVIDENCE)
def vote_with_a_key_that_nobody_vouched_for() -> Log:
    log, ask = asked()
    own = passkey()
    log.enrol_key(ROSA, own)
    log.vote(ask, ROSA, pair=own)
    return log


@case(rulebook.EVIDENCE)
def vote_with_a_key_for_delegations() -> Log:
    log, ask = asked()
    log.person_key(ROSA, key("for delegations"))
    log.vote(ask, ROSA, pair=key("for delegations"))
    return log


@case(rulebook.EVIDENCE)
def vote_with_a_key_that_was_revoked_before() -> Log:
    log, ask, own = with_passkey()
    revoke(log, ROSA, own)
    log.vote(ask, ROSA, pair=own)
    return log


@case(rulebook.EVIDENCE)
def vote_with_somebody_elses_key() -> Log:
    log, ask, own = with_passkey()
    log.vote(ask, RUI, pair=own)
    return log


@case(rulebook.EVIDENCE)
def vote_that_claims_an_attested_device() -> Log:
    log, ask, own = with_passkey()
    log.vote(ask, ROSA, pair=own, actor=by(ROSA, own.thumbprint, "H3"))
    return log


@case(rulebook.EVIDENCE)
def vote_that_claims_less_than_it_is() -> Log:
    log, ask, own = with_passkey()
    log.vote(ask, ROSA, pair=own, actor=by(ROSA, own.thumbprint, "H1"))
    return log


@case(rulebook.EVIDENCE)
def vote_entered_under_another_key() -> Log:
    log, ask, own = with_passkey()
    log.vote(ask, ROSA, pair=own, actor=by(ROSA, name_of(PEOPLE_KEYS[ROSA]), "H2"))
    return log


@case(rulebook.STATEMENT)
def vote_that_names_no_key() -> Log:
    log, ask = asked()
    log.vote(ask, credential=None)
    return log


@case(rulebook.EVIDENCE)
def vote_that_names_another_key_of_the_same_person() -> Log:
    log, ask, own = with_passkey()
    log.vote(ask, ROSA, pair=own, credential=name_of(PEOPLE_KEYS[ROSA]))
    return log


@case(rulebook.STATEMENT)
def vote_whose_suggestion_is_another() -> Log:
    log, ask = asked()
    given, _ = commitments.commit(b"s" * 32, "suggestion", 1)
    log.vote(ask, ROSA, "deny", session=True, body={"suggestion": given})
    return log


@case(rulebook.STATEMENT)
def approval_with_a_suggestion() -> Log:
    log, ask = asked()
    given, _ = commitments.commit(b"s" * 32, "suggestion", 1)
    log.vote(ask, ROSA, body={"suggestion": given}, suggestion_commitment=given)
    return log


@case(rulebook.STATEMENT)
def denial_with_a_suggestion_nobody_made() -> Log:
    log, ask = asked()
    given, _ = commitments.commit(b"s" * 32, "suggestion", 1)
    log.deny(ask, "DENIED", "reviewer-denied", (log.vote(ask, ROSA, "deny", session=True),), suggestion=given)
    return log


def revoke(log: Log, person: str, signer: Signer, since: str = "", actor: dict[str, str] | None = None) -> int:
    body = {
        "person": person,
        "fingerprint": name_of(signer),
        "since": since or format_time(log.now),
        "reason": "stolen",
        "stolen": True,
    }
    return log.add("person.key_revoked", person, actor or by(person), body)


# --- device-bound, attested -----------------------------------------------------------------------------------------


def bound_policy(**more: Any) -> Log:
    log = Log(policy={**POLICY, "device_bound": ["HIGH"], **more}).found()
    log.enrol()
    return log


@pytest.mark.parametrize(("device_bound", "good"), [(True, True), (False, False)])
def test_where_policy_wants_a_device_bound_key_a_synced_one_does_not_approve(device_bound: bool, good: bool) -> None:
    log = bound_policy()
    own = passkey(device_bound=device_bound)
    log.holder(ROSA, own, RUI)
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.vote(ask, ROSA, pair=own)
    if good:
        read(log)
    else:
        broken(log, rulebook.EVIDENCE, "never leaves its device")


@case(rulebook.EVIDENCE)
def key_in_a_file_where_a_device_is_wanted() -> Log:
    log = bound_policy()
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.vote(ask)
    return log


def attestation(own: SoftAuthenticator, fmt: str = "packed") -> str:
    data = own.authenticator_data(flags=own.flags | 0x40, tail=own.attested_credential())
    return b64u(cbor({"fmt": fmt, "attStmt": {}, "authData": data}))


def attested(fmt: str = "packed", device_bound: bool = True, stated: str = "H3") -> Log:
    log, ask = asked()
    own = passkey(device_bound=device_bound)
    log.enrol_key(ROSA, own, attestation=attestation(own, fmt))
    log.vouch(ROSA, own, RUI, PEOPLE_KEYS[RUI])
    log.vote(ask, ROSA, pair=own, actor=by(ROSA, own.thumbprint, stated))
    return log


@pytest.mark.parametrize("stated", ["H2", "H3"])
def test_an_attested_device_may_be_called_so_or_not(stated: str) -> None:
    assert read(attested(stated=stated)).facts.totals.assurance == {stated: 1}


@pytest.mark.parametrize("made", [{"fmt": "none"}, {"device_bound": False}], ids=str)
def test_no_attestation_or_a_synced_key_is_never_h3(made: dict[str, Any]) -> None:
    broken(attested(**made), rulebook.EVIDENCE)


@case(rulebook.PERSON_KEY)
def attestation_of_another_key() -> Log:
    log, _ = standing()
    log.enrol_key(ROSA, passkey(), attestation=attestation(passkey()))
    return log


# --- enrolment ------------------------------------------------------------------------------------------------------


def enrolling(own: Signer, **changes: Any) -> Log:
    log, _ = standing()
    log.enrol_key(ROSA, own, raw=log.enrolment(ROSA, own, **changes))
    return log


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"realm": "gate.example/staging"}, rulebook.REALM),
        ({"person": RUI}, rulebook.STATEMENT),
        ({"thumbprint": "A" * 43}, rulebook.PERSON_KEY),
        ({"key": "A" * 43}, rulebook.PERSON_KEY),
        ({"public_key": b64u(passkey().public_key)}, rulebook.PERSON_KEY),
        ({"public_key": b64u(b"no key")}, rulebook.PERSON_KEY),
        ({"device_bound": False}, rulebook.EVIDENCE),
        ({"credential": b64u(b"another")}, rulebook.EVIDENCE),
        ({"rp_id": "evil.example"}, rulebook.EVIDENCE),
        ({"expires_at": "2026-03-01T10:00:00.000Z"}, rulebook.STATEMENT),
        ({"issued_at": "2026-03-01T08:00:00.000Z", "expires_at": "2026-03-01T08:10:00.000Z"}, rulebook.STATEMENT),
        ({"log_size": 9999}, rulebook.STATEMENT),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else str(value),
)
def test_an_enrolment_that_says_something_else_of_its_key_is_refused(
    changes: dict[str, Any], rule: rulebook.Rule
) -> None:
    own = passkey()
    read(enrolling(own))
    broken(enrolling(own, **changes), rule)


def test_an_ssh_key_in_a_file_does_not_enrol_as_device_bound() -> None:
    broken(enrolling(key("in a file"), device_bound=True), rulebook.PERSON_KEY)


@case(rulebook.EVIDENCE)
def enrolment_signed_by_another_key() -> Log:
    log, _ = standing()
    own, other = passkey(), passkey()
    other.credential, other.public_key = own.credential, own.public_key
    log.enrol_key(ROSA, own, proven_by=other)
    return log


@case(rulebook.EVIDENCE)
def enrolment_by_a_click() -> Log:
    log, _ = standing()
    own = passkey()
    body = {
        "person": ROSA,
        "statement": log.enrolment(ROSA, own).decode(),
        "evidence": {"kind": "session"},
    }
    log.add("person.key_enrolled", ROSA, by(ROSA), body)
    return log


@case(rulebook.ACTOR)
def enrolment_in_somebody_elses_name() -> Log:
    log, _ = standing()
    own = passkey()
    body = {"person": ROSA, **log.signed(own, log.enrolment(ROSA, own))}
    log.add("person.key_enrolled", ROSA, by(ADA, own.thumbprint, "H2"), body)
    return log


@case(rulebook.ACTOR)
def enrolment_at_the_console() -> Log:
    log, _ = standing()
    own = passkey()
    log.add("person.key_enrolled", ROSA, CONSOLE, {"person": ROSA, **log.signed(own, log.enrolment(ROSA, own))})
    return log


@case(rulebook.PERSON_KEY)
def key_enrolled_twice() -> Log:
    log, _ = standing()
    own = passkey()
    log.enrol_key(ROSA, own)
    log.enrol_key(RUI, own)
    return log


@case(rulebook.PERSON_KEY)
def ssh_key_that_is_a_passkey_already() -> Log:
    log, _ = standing()
    pair = key("both")
    own = as_passkey(pair)
    log.enrol_key(ROSA, own)
    log.enrol_key(ROSA, pair)
    return log


@case(rulebook.PERSON_KEY)
def key_of_an_agent() -> Log:
    log, _ = standing()
    log.enrol_key(ROSA, ROBO)
    return log


@case(rulebook.PERSON_KEY)
def key_of_an_agent_registered_at_the_console() -> Log:
    log, _ = standing()
    log.person_key(ROSA, ROBO)
    return log


@case(rulebook.ENROLMENT)
def agent_with_the_key_of_a_person() -> Log:
    log, _ = standing()
    log.enrol(PEOPLE_KEYS[ROSA], "other")
    return log


@case(rulebook.AGENT_KEY)
def agent_that_rotates_to_the_key_of_a_person() -> Log:
    log, _ = standing()
    log.rotate(ROBO, PEOPLE_KEYS[ROSA])
    return log


def as_passkey(pair: Any) -> SoftAuthenticator:
    """The same Ed25519 key in an authenticator."""
    own = passkey("EdDSA")
    own.public_key, own._sign = cbor({1: 1, 3: -8, -1: 6, -2: pair.public_key}), pair.sign
    return own


# --- vouching -------------------------------------------------------------------------------------------------------


def invited(by_whom: str = ADA) -> tuple[Log, SoftAuthenticator]:
    """Bo, whom Ada proposed and Rui seconded, with a key that nobody has vouched for."""
    log, _ = standing()
    log.agreed("person.added", BO, {"person": BO, "name": "Bo", "roles": ["reviewer"]})
    own = passkey()
    log.enrol_key(BO, own)
    return log, own


@pytest.mark.parametrize("voucher", [RUI, ROSA])
def test_a_newcomers_key_counts_once_a_third_person_vouches(voucher: str) -> None:
    log, own = invited()
    log.vouch(BO, own, voucher, PEOPLE_KEYS[voucher])
    facts = read(log).facts
    assert facts.people[BO].keys[own.thumbprint].signs_decisions
    assert facts.totals.first_keys == 2


@case(rulebook.VOUCHING)
def sock_puppet_of_the_inviter() -> Log:
    log, own = invited()
    log.vouch(BO, own, ADA, PEOPLE_KEYS[ADA])
    return log


@case(rulebook.VOUCHING)
def sock_puppet_after_a_reset() -> Log:
    log, _ = invited()
    log.add("person.login_reset", BO, by(ROSA), {"person": BO, "what": "password"})
    again = passkey()
    log.enrol_key(BO, again)
    log.vouch(BO, again, ROSA, PEOPLE_KEYS[ROSA])
    return log


@case(rulebook.VOUCHING)
def key_that_lapsed_with_the_login() -> Log:
    log, own = invited()
    log.add("person.login_reset", BO, CONSOLE, {"person": BO, "what": "password"})
    log.vouch(BO, own, ROSA, PEOPLE_KEYS[ROSA])
    return log


@case(rulebook.VOUCHING)
def key_vouched_for_by_its_owner() -> Log:
    log, own = invited()
    log.vouch(BO, own, BO, first=True)
    return log


@case(rulebook.VOUCHING)
def second_key_vouched_for_by_its_owner() -> Log:
    log, _ = standing()
    own = passkey()
    log.enrol_key(ROSA, own)
    log.vouch(ROSA, own, ROSA, PEOPLE_KEYS[ROSA])
    return log


@case(rulebook.VOUCHING)
def vouched_for_by_a_click() -> Log:
    log, own = invited()
    log.vouch(BO, own, ROSA)
    return log


@case(rulebook.VOUCHING)
def vouched_for_by_somebody_without_a_role() -> Log:
    log, own = invited()
    log.vouch(BO, own, AUDRA)
    return log


@case(rulebook.VOUCHING)
def vouched_for_twice() -> Log:
    log, own = invited()
    for voucher in (ROSA, RUI):
        log.vouch(BO, own, voucher, PEOPLE_KEYS[voucher])
    return log


@case(rulebook.VOUCHING)
def vouched_for_a_key_of_the_console() -> Log:
    log, _ = standing()
    log.person_key(ROSA, key("for delegations"))
    log.vouch(ROSA, key("for delegations"))
    return log


@case(rulebook.VOUCHING)
def first_key_of_somebody_who_is_no_admin() -> Log:
    log = Log().begun()
    own = passkey()
    log.enrol_key(AUDRA, own)
    log.vouch(AUDRA, own, AUDRA, first=True)
    return log


@case(rulebook.VOUCHING)
def first_key_that_is_not_called_so() -> Log:
    log = Log().begun()
    own = passkey()
    log.enrol_key(ADA, own)
    log.vouch(ADA, own, ADA)
    return log


@case(rulebook.VOUCHING)
def vouched_for_by_a_system_person_who_is_switched_off() -> Log:
    log, own = invited()
    log.add("person.changed", BO, by(ADA), {"person": BO, "active": False})
    log.vouch(BO, own)
    return log


@pytest.mark.parametrize("changes", [{"for": RUI}, {"key": "A" * 43}, {"enrolment": digests.sha256(b"other")}], ids=str)
def test_a_voucher_signs_for_this_person_this_key_and_this_enrolment(changes: dict[str, Any]) -> None:
    log, own = invited()
    raw = log.vouching(BO, own, ROSA, PEOPLE_KEYS[ROSA], **changes)
    log.vouch(BO, own, ROSA, PEOPLE_KEYS[ROSA], signed=log.signed(PEOPLE_KEYS[ROSA], raw))
    broken(log, rulebook.STATEMENT)


def test_the_console_may_vouch_and_is_counted() -> None:
    log, own = invited()
    log.vouch(BO, own)
    totals = read(log).facts.totals
    assert (totals.vouched_by_console, totals.by_console) == (1, 1)


def test_what_a_stolen_key_vouched_for_lapses_with_it_and_is_written_down_by_whoever_revoked_it() -> None:
    log, own = invited()
    stolen_at = format_time(log.now)
    log.vouch(BO, own, ROSA, PEOPLE_KEYS[ROSA])
    log.agreed("person.changed", ROSA, {"person": ROSA, "name": "Rose"})
    log.add("person.changed", ROSA, by(ADA), {"person": ROSA, "roles": ["reviewer"]})
    revoke(log, ROSA, PEOPLE_KEYS[ROSA], stolen_at)
    assert not read(log).facts.people[BO].keys[own.thumbprint].signs_decisions
    revoke(log, BO, own, actor=by(ROSA))
    read(log)


@case(rulebook.ACTOR)
def somebody_elses_key_revoked_by_a_reviewer() -> Log:
    log, _ = standing()
    log.add("person.changed", ROSA, by(ADA), {"person": ROSA, "roles": ["reviewer"]})
    revoke(log, RUI, PEOPLE_KEYS[RUI], actor=by(ROSA))
    return log


# --- keys that were revoked from before -------------------------------------------------------------------------------


@case(rulebook.QUORUM)
def redeemed_on_a_vote_by_a_key_that_was_stolen_before() -> Log:
    log, ask = asked()
    before = format_time(log.now)
    log.allow(ask, (log.vote(ask),))
    revoke(log, RUI, PEOPLE_KEYS[RUI], before)
    log.redeem(ask)
    return log


def test_an_approval_outlives_a_key_that_was_lost_afterwards() -> None:
    log, ask = asked()
    log.allow(ask, (log.vote(ask),))
    log.now += timedelta(seconds=1)
    revoke(log, RUI, PEOPLE_KEYS[RUI])
    log.redeem(ask)
    read(log)


@case(rulebook.ELIGIBLE)
def approved_on_a_vote_whose_key_was_revoked() -> Log:
    log, ask = asked()
    vote = log.vote(ask)
    revoke(log, RUI, PEOPLE_KEYS[RUI])
    log.allow(ask, (vote,))
    return log


# --- delegations by passkey -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_a_root_delegation_is_signed_with_a_passkey(alg: Any) -> None:
    log, _ = standing()
    own = passkey(alg)
    log.holder(ADA, own, RUI)
    root = log.issue(log.document(), own)
    log.allow(log.ask(root))
    read(log)


def test_a_key_of_the_console_signs_delegations() -> None:
    log, _ = standing()
    log.person_key(ADA, key("for delegations"))
    log.issue(log.document(), key("for delegations"))
    read(log)


@case(rulebook.DELEGATION_SIGNATURE)
def delegation_by_a_key_nobody_vouched_for() -> Log:
    log, _ = standing()
    own = passkey()
    log.enrol_key(ADA, own)
    log.issue(log.document(), own)
    return log


@case(rulebook.DELEGATION_SIGNATURE)
def delegation_signed_as_a_vote() -> Log:
    log, _ = standing()
    own = passkey()
    log.holder(ADA, own, RUI)
    log.issue(log.document(), own)
    entry = log.entries.pop()
    log.envelopes.pop()
    raw = builder.canonical.dumps(entry["body"]["document"])
    signature = {**own.evidence(statement.TYP, raw), "key": own.thumbprint}
    log.add("delegation.issued", entry["subject"], entry["actor"], {**entry["body"], "signature": signature})
    return log


# --- two people -----------------------------------------------------------------------------------------------------

ADMIN_TOO = {"person": AUDRA, "roles": ["admin", "auditor"]}
NEW = {"person": BO, "name": "Bo", "roles": ["reviewer"]}


def proposal(**changes: Any) -> tuple[Log, str]:
    log, _ = standing()
    return log, log.propose("person.changed", AUDRA, ADMIN_TOO, **changes)


def done(log: Log, name: str, document: dict[str, Any] = ADMIN_TOO, actor: dict[str, str] | None = None) -> Log:
    log.add("person.changed", AUDRA, actor or by(ADA), {**document, "change": name})
    return log


@pytest.mark.parametrize("actor", [by(ADA), by(ROSA)])
def test_what_two_people_signed_is_done(actor: dict[str, str]) -> None:
    log, name = proposal()
    log.second(name)
    facts = read(done(log, name, actor=actor)).facts
    assert facts.people[AUDRA].roles == ["admin", "auditor"]
    assert facts.totals.by_two == 1


def test_what_is_held_waits_for_its_emergency() -> None:
    log, name = proposal(hold=True, days=90)
    log.second(name)
    log.now += timedelta(days=89)
    read(done(log, name, actor=by(ROSA)))


@pytest.mark.parametrize(
    "document",
    [
        {"person": AUDRA, "roles": []},
        {"person": RUI, "active": False},
        {"person": RUI, "roles": ["reviewer"], "reason": "moved"},
    ],
    ids=str,
)
def test_taking_away_takes_one_person(document: dict[str, Any]) -> None:
    log, _ = standing()
    log.add("person.changed", document["person"], by(ADA), document)
    read(log)


def test_somebody_without_a_role_is_added_by_one_person() -> None:
    log, _ = standing()
    log.person({**NEW, "roles": []}, by(ADA))
    log.person({**NEW, "person": "pe_console", "roles": []}, CONSOLE)
    read(log)


OTHER_TOOL = builder.tool_document("other")
NEW_TOOL = {"tool": "other", "document": OTHER_TOOL, "digest": builder.tools.digest(OTHER_TOOL)}

WIDER: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    ("person.added", BO, NEW, by(ADA)),
    ("person.added", BO, NEW, CONSOLE),
    ("person.changed", AUDRA, ADMIN_TOO, by(ADA)),
    ("person.changed", AUDRA, ADMIN_TOO, CONSOLE),
    ("person.changed", AUDRA, ADMIN_TOO, SSO),
    ("person.changed", AUDRA, {"person": AUDRA, "name": "Ada"}, by(ADA)),
    ("person.changed", AUDRA, {"person": AUDRA, "active": True}, CONSOLE),
    ("tool.registered", "other", NEW_TOOL, by(ADA)),
]


@pytest.mark.parametrize(("act", "subject", "document", "actor"), WIDER, ids=lambda value: str(value)[:40])
def test_once_two_people_hold_keys_nobody_widens_anything_alone(
    act: str, subject: str, document: dict[str, Any], actor: dict[str, str]
) -> None:
    before = Log().begun()
    before.enrol()
    before.add(act, subject, actor, document)
    read(before)
    log, _ = standing()
    log.add(act, subject, actor, document)
    broken(log, rulebook.TWO_PEOPLE)


def test_it_stays_so_when_one_of_the_two_has_left() -> None:
    log, _ = standing()
    for person in (RUI, ROSA):
        revoke(log, person, PEOPLE_KEYS[person])
        log.add("person.changed", person, by(ADA), {"person": person, "active": False})
    log.add("person.changed", AUDRA, by(ADA), ADMIN_TOO)
    broken(log, rulebook.TWO_PEOPLE)


def test_single_sign_on_takes_roles_away_at_any_time() -> None:
    log, _ = standing()
    log.add("person.changed", ROSA, SSO, {"person": ROSA, "roles": ["reviewer"], "reason": "groups"})
    read(log)


@pytest.mark.parametrize("more", [{"active": False}, {"name": "X"}], ids=str)
def test_single_sign_on_changes_nothing_but_roles(more: dict[str, Any]) -> None:
    log, _ = standing()
    log.add("person.changed", ROSA, SSO, {"person": ROSA, **more})
    broken(log, rulebook.ACTOR)


@case(rulebook.ACTOR)
def another_service_takes_roles_away() -> Log:
    log, _ = standing()
    log.add("person.changed", ROSA, {"type": "service", "id": "other"}, {"person": ROSA, "roles": []})
    return log


@case(rulebook.TWO_PEOPLE)
def policy_activated_by_one() -> Log:
    log, _ = standing()
    log.activate({**POLICY, "single_human": True}, 2, replaces=log.policy_digest)
    return log


def test_a_policy_is_activated_by_two() -> None:
    log, _ = standing()
    document = {**POLICY, "name": "Next", "single_human": True}
    digest = builder.policies.digest(document)
    body = {"policy": digest, "number": 2, "document": document, "replaces": log.policy_digest}
    log.agreed("policy.activated", digest, body)
    assert read(log).facts.policy == digest


@pytest.mark.parametrize("known", [False, True], ids=["a new tool", "a new version"])
def test_a_tool_is_registered_by_two(known: bool) -> None:
    log, _ = standing()
    document = {**builder.READ, "title": "Look into a file"} if known else OTHER_TOOL
    body = {"tool": document["name"], "document": document, "digest": builder.tools.digest(document)}
    if known:
        body["replaces"] = builder.tools.digest(builder.READ)
    log.agreed("tool.registered", document["name"], body)
    facts = read(log).facts
    assert facts.tool_digests[document["name"]] == body["digest"]
    assert facts.totals.tools_alone == len(builder.TOOLS)  # those of the beginning, before anybody held a key


def test_a_tool_is_registered_by_one_before_two_hold_keys_and_retired_by_one_ever_after() -> None:
    log, _ = standing()
    log.add("tool.retired", "read_file", by(ADA), retired("read_file"))
    assert read(log).facts.totals.tools_alone == len(builder.TOOLS) + 1
    log.tool(builder.READ)  # what was retired alone comes back by two
    broken(log, rulebook.TWO_PEOPLE)


def retired(name: str) -> dict[str, Any]:
    return {"tool": name, "digest": builder.tools.digest(builder.TOOLS[name]), "reason": "unused"}


@case(rulebook.TWO_PEOPLE)
def new_version_of_a_tool_registered_by_one() -> Log:
    log, _ = standing()
    document = {**builder.READ, "reversibility": "reversible"}
    log.tool(document, replaces=builder.tools.digest(builder.READ))
    return log


@case(rulebook.TWO_PEOPLE)
def tool_registered_otherwise_than_signed() -> Log:
    log, _ = standing()
    name = log.propose("tool.registered", "other", NEW_TOOL)
    log.second(name)
    log.tool({**OTHER_TOOL, "title": "Harmless"}, change=name)
    return log


@case(rulebook.TWO_PEOPLE)
def tool_registered_under_a_change_of_policy() -> Log:
    log, _ = standing()
    name = log.propose("policy.activated", "other", NEW_TOOL)
    log.second(name)
    log.tool(OTHER_TOOL, change=name)
    return log


@case(rulebook.TWO_PEOPLE)
def change_seconded_by_its_author() -> Log:
    log, name = proposal()
    log.second(name, ADA)
    return log


@case(rulebook.TWO_PEOPLE)
def change_seconded_by_somebody_without_a_role() -> Log:
    log, name = proposal()
    log.person_key(AUDRA, key("audra"))
    log.second(name, AUDRA, key("audra"))
    return log


@case(rulebook.TWO_PEOPLE)
def change_done_before_it_is_seconded() -> Log:
    return done(*proposal())


@case(rulebook.TWO_PEOPLE)
def change_done_otherwise_than_signed() -> Log:
    log, name = proposal()
    log.second(name)
    return done(log, name, {**ADMIN_TOO, "roles": ["admin", "reviewer"]})


@case(rulebook.TWO_PEOPLE)
def change_done_to_somebody_else() -> Log:
    log, name = proposal()
    log.second(name)
    log.add("person.changed", ROSA, by(ADA), {**ADMIN_TOO, "person": ROSA, "change": name})
    return log


@case(rulebook.TWO_PEOPLE)
def change_used_twice() -> Log:
    log, name = proposal()
    log.second(name)
    done(log, name)
    log.add("person.changed", AUDRA, by(ADA), {"person": AUDRA, "roles": ["auditor"]})
    return done(log, name)


@case(rulebook.TWO_PEOPLE)
def change_done_after_its_time() -> Log:
    log, name = proposal(hold=True, days=30)
    log.second(name)
    log.now += timedelta(days=31)
    return done(log, name)


@case(rulebook.TWO_PEOPLE)
def change_seconded_after_its_time() -> Log:
    log, name = proposal()
    log.now += timedelta(days=8)
    log.second(name)
    return log


@case(rulebook.TWO_PEOPLE)
def change_that_stands_too_long() -> Log:
    return proposal(days=8)[0]


@case(rulebook.TWO_PEOPLE)
def held_change_that_stands_too_long() -> Log:
    return proposal(hold=True, days=91)[0]


@case(rulebook.TWO_PEOPLE)
def change_done_after_it_was_withdrawn() -> Log:
    log, name = proposal()
    log.second(name)
    log.add("change.withdrawn", name, by(ROSA), {"change": name, "reason": "no"})
    return done(log, name)


@case(rulebook.TWO_PEOPLE)
def change_proposed_with_a_key_that_was_stolen_before() -> Log:
    log, name = proposal()
    log.second(name)
    revoke(log, ADA, PEOPLE_KEYS[ADA], format_time(log.now - timedelta(seconds=2)))
    return done(log, name)


@case(rulebook.ACTOR)
def held_change_done_by_a_reviewer() -> Log:
    log, _ = standing()
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": ["reviewer"]})
    name = log.propose("person.changed", AUDRA, ADMIN_TOO, hold=True)
    log.second(name)
    return done(log, name, actor=by(RUI))


@case(rulebook.ACTOR)
def change_proposed_by_a_reviewer() -> Log:
    log, _ = standing()
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": ["reviewer"]})
    log.propose("person.changed", AUDRA, ADMIN_TOO, RUI)
    return log


@case(rulebook.ACTOR)
def change_withdrawn_by_somebody_else() -> Log:
    log, name = proposal()
    log.add("person.changed", ROSA, by(ADA), {"person": ROSA, "roles": ["reviewer"]})
    log.add("change.withdrawn", name, by(ROSA), {"change": name, "reason": "no"})
    return log


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "second"},
        {"change": ids.new_id("chg", Log().now)},
        {"act": "person.added"},
        {"subject": ROSA},
        {"document": digests.sha256(b"other")},
        {"person": ROSA},
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else str(value),
)
def test_a_proposal_is_signed_word_for_word(changes: dict[str, Any]) -> None:
    log, _ = proposal(**changes)
    broken(log, rulebook.STATEMENT)


def test_a_proposal_is_signed_with_a_key_of_its_author() -> None:
    log, _ = proposal(credential=name_of(PEOPLE_KEYS[RUI]))
    broken(log, rulebook.EVIDENCE)


@pytest.mark.parametrize(
    "changes", [{"role": "propose"}, {"hold": True}, {"document": digests.sha256(b"other")}, {"subject": ROSA}], ids=str
)
def test_a_second_signs_the_same_word_for_word(changes: dict[str, Any]) -> None:
    log, name = proposal()
    log.second(name, **changes)
    broken(log, rulebook.STATEMENT)


# --- acts of one person, signed -------------------------------------------------------------------------------------

AGENT = ids.agent_id(ROBO.public_key)


def acts(log: Log, root: str) -> dict[str, tuple[str, dict[str, Any]]]:
    since = format_time(log.now)
    return {
        "delegation.revoked": (root, {"delegation": root, "reason": "over", "since": since}),
        "person.key_revoked": (
            RUI,
            {"person": RUI, "fingerprint": name_of(PEOPLE_KEYS[RUI]), "since": since, "reason": "lost", "stolen": True},
        ),
        "agent.key_revoked": (
            AGENT,
            {"agent": AGENT, "thumbprint": ROBO.thumbprint, "since": since, "reason": "lost"},
        ),
        "agent.suspended": (AGENT, {"agent": AGENT, "reason": "strange"}),
        "pause.set": ("everything", {"scope": "everything", "target": "", "reason": "strange"}),
    }


@pytest.mark.parametrize("kind", list(acts(*standing())))
def test_what_one_person_may_do_they_may_sign(kind: str) -> None:
    log, root = standing()
    subject, body = acts(log, root)[kind]
    log.act(kind, subject, body)
    read(log)


@pytest.mark.parametrize("kind", list(acts(*standing())))
@pytest.mark.parametrize("lie", ["another act", "another subject", "another reason", "no reason", "more", "own key"])
def test_a_signed_act_says_exactly_what_is_done(kind: str, lie: str) -> None:
    log, root = standing()
    subject, body = acts(log, root)[kind]
    less = {name: value for name, value in body.items() if name != "reason"}
    changes: dict[str, dict[str, Any]] = {
        "another act": {"act": "grant.revoked"},
        "another subject": {"subject": "other"},
        "another reason": {"content": {**body, "reason": "another"}},
        "no reason": {"content": less},
        "more": {"content": {**body, "more": 1}},
        "own key": {"credential": name_of(PEOPLE_KEYS[ROSA])},
    }
    log.act(kind, subject, body, **changes[lie])
    broken(log, rulebook.EVIDENCE if lie == "own key" else rulebook.STATEMENT)


def test_a_signed_act_may_leave_the_moment_and_the_subject_to_the_entry() -> None:
    log, root = standing()
    now = format_time(log.now + timedelta(seconds=1))
    log.act("delegation.revoked", root, {"delegation": root, "reason": "x", "since": now}, content={"reason": "x"})
    read(log)


@case(rulebook.STATEMENT)
def signed_revocation_that_leaves_the_key_open() -> Log:
    log, _ = standing()
    body = {
        "person": RUI,
        "fingerprint": name_of(PEOPLE_KEYS[RUI]),
        "since": format_time(log.now),
        "reason": "lost",
    }
    content = {name: value for name, value in body.items() if name != "fingerprint"}
    log.act("person.key_revoked", RUI, body, content=content)
    return log


@case(rulebook.ACTOR)
def the_server_signs_nothing() -> Log:
    log, root = standing()
    raw = log.says(signing.ACT, ADA, PEOPLE_KEYS[ADA], act="delegation.revoked", subject=root, content={"reason": "x"})
    body = {"delegation": root, "reason": "x", "since": format_time(log.now)}
    log.add("delegation.revoked", root, SYSTEM, {**body, "signed": log.signed(PEOPLE_KEYS[ADA], raw)})
    return log


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": "deny"},
        {"prev_vote": digests.sha256(b"another")},
        {"prev_vote": None},
        {"request": "act_" + "0" * 26},
    ],
    ids=str,
)
def test_a_signed_recall_is_of_this_very_vote(changes: dict[str, Any]) -> None:
    log, ask = asked()
    vote = log.vote(ask)
    log.recall(ask, vote, PEOPLE_KEYS[RUI], **changes)
    broken(log, rulebook.STATEMENT)


@pytest.mark.parametrize("named", [0, 1], ids=["that counts again", "that no longer counts"])
def test_invariant_3_a_confirmation_is_of_an_approval_that_counts(named: int) -> None:
    log, ask = asked("CRITICAL")
    log.agreed("person.added", BO, NEW)
    log.holder(BO, key("bo"), ROSA)
    first = log.vote(ask, RUI)
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": []})
    last = log.vote(ask, ROSA)
    back = {"person": RUI, "roles": ["reviewer"]}
    change = log.propose("person.changed", RUI, back)
    log.second(change, ROSA)
    log.add("person.changed", RUI, by(ADA), {**back, "change": change})
    log.add("person.changed", ROSA, by(ADA), {"person": ROSA, "roles": []})
    log.confirm(ask, (first, last)[named], BO, pair=key("bo"))
    if named:
        broken(log, rulebook.STATEMENT, "signs the vote that it confirms")
    else:
        read(log)


# --- who is away, who is asked --------------------------------------------------------------------------------------


def away(log: Log, person: str, actor: dict[str, str], **changes: Any) -> Log:
    body = {"person": person, "from": format_time(log.now), "until": format_time(log.now + timedelta(days=2))}
    log.add("person.away", person, actor, {**body, **changes})
    return log


@case(rulebook.PEOPLE)
def away_and_standing_in_for_oneself() -> Log:
    return away(standing()[0], RUI, by(RUI), delegate=RUI)


@case(rulebook.PEOPLE)
def away_and_nobody_known_stands_in() -> Log:
    return away(standing()[0], RUI, by(RUI), delegate="pe_nobody")


@case(rulebook.PEOPLE)
def away_until_yesterday() -> Log:
    return away(standing()[0], RUI, by(RUI), until="2026-02-28T00:00:00.000Z")


@case(rulebook.ACTOR)
def somebody_else_is_called_away() -> Log:
    return away(standing()[0], RUI, by(AUDRA))


def ask_people(log: Log, ask: Ask, *people: str) -> Log:
    log.add("review.asked", ask.id, SYSTEM, {"request": ask.id, "level": 0, "people": list(people)})
    return log


def test_those_who_may_answer_are_asked_even_without_a_key() -> None:
    log, ask = asked()
    revoke(log, ROSA, PEOPLE_KEYS[ROSA])
    read(ask_people(log, ask, RUI, ROSA))


def test_after_an_approval_only_others_are_asked_to_confirm() -> None:
    log, ask = asked("CRITICAL")
    log.vote(ask)
    read(ask_people(log, ask, ROSA))
    broken(ask_people(log, ask, RUI), rulebook.ASKING)


@case(rulebook.ASKING)
def owner_of_the_agent_is_asked() -> Log:
    log = Log().found()
    log.enrol(owner=RUI)
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    return ask_people(log, ask, ROSA, RUI)


@case(rulebook.ASKING)
def beneficiary_is_asked() -> Log:
    log = Log().found()
    log.enrol()
    ask = log.ask(log.root(on_behalf_of=RUI), "delete_file", risk="HIGH")
    log.request(ask)
    return ask_people(log, ask, RUI)


@case(rulebook.ASKING)
def issuer_is_asked_about_something_critical() -> Log:
    log = Log().found()
    log.enrol(owner=ADA)
    ask = log.ask(log.issue(log.document(issuer=RUI), PEOPLE_KEYS[RUI]), "delete_file", risk="CRITICAL")
    log.request(ask)
    return ask_people(log, ask, RUI)


@case(rulebook.ASKING)
def somebody_without_the_role_is_asked() -> Log:
    return ask_people(*asked(), AUDRA)


@case(rulebook.ASKING)
def claimed_by_somebody_who_may_not_answer() -> Log:
    log, ask = asked()
    log.add(
        "review.claimed", ask.id, by(AUDRA), {"request": ask.id, "until": format_time(log.now + timedelta(minutes=9))}
    )
    return log


@case(rulebook.ASKING)
def claimed_for_an_hour() -> Log:
    log, ask = asked()
    log.add("review.claimed", ask.id, by(RUI), {"request": ask.id, "until": format_time(log.now + timedelta(hours=1))})
    return log


@case(rulebook.STATE)
def people_asked_after_the_end() -> Log:
    log, ask = asked()
    log.deny(ask, "CANCELLED", "cancelled")
    return ask_people(log, ask, RUI)


def test_a_claim_keeps_nobody_from_answering() -> None:
    log, ask = asked()
    log.add(
        "review.claimed", ask.id, by(ROSA), {"request": ask.id, "until": format_time(log.now + timedelta(minutes=9))}
    )
    log.allow(ask, (log.vote(ask, RUI),))
    read(log)


# --- grants ---------------------------------------------------------------------------------------------------------

PAYMENT = {"amount": "20.00", "payee": "ACME"}


def model(log: Log | None = None, *, admins: bool = False, **changes: Any) -> tuple[Log, str, Ask]:
    """A log with a pending payment to make a grant from, and its delegation."""
    if log is None:
        log = Log().found()
        log.enrol(**changes)
    root = log.root()
    ask = log.ask(root, "make_payment", PAYMENT, risk="HIGH", cost="20.00")
    log.request(ask, [{"role": "admin", "count": 1, "kind": "approve"}] if admins else None)
    return log, root, ask


def pay(log: Log, root: str, cost: str = "20.00", parameters: dict[str, Any] | None = None, **more: Any) -> Ask:
    return log.ask(root, "make_payment", parameters or PAYMENT, **{"risk": "HIGH", "cost": cost, **more})


def test_a_grant_answers_for_what_is_like_its_request_so_often_and_for_so_much() -> None:
    log, root, ask = model()
    grant = log.grant(ask)
    for _ in range(2):
        log.allow(pay(log, root), grant=grant, at_once=True)
    facts = read(log).facts
    assert (facts.grants[grant].uses, facts.grants[grant].total) == (2, 40_000_000)
    assert (facts.totals.grants, facts.totals.by_grants) == (1, 2)
    log.allow(pay(log, root, "5.00"), grant=grant)
    broken(log, rulebook.GRANT, "every use")


def test_a_grant_ends_with_its_money() -> None:
    log, root, ask = model()
    grant = log.grant(ask, max_uses=9)
    for _ in range(2):
        log.allow(pay(log, root), grant=grant)
    read(log)
    log.allow(pay(log, root), grant=grant)
    broken(log, rulebook.GRANT, "sum")


Use = Callable[[Log, str, str], None]
USES: dict[str, tuple[Use, rulebook.Rule]] = {}


def misuse(rule: rulebook.Rule) -> Callable[[Use], Use]:
    def keep(use: Use) -> Use:
        USES[use.__name__] = (use, rule)
        return use

    return keep


@misuse(rulebook.GRANT)
def after_its_time(log: Log, root: str, grant: str) -> None:
    log.now += timedelta(minutes=31)
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.GRANT)
def after_it_was_revoked(log: Log, root: str, grant: str) -> None:
    log.add("grant.revoked", grant, by(ROSA), {"grant": grant, "reason": "enough"})
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.GRANT)
def for_something_critical(log: Log, root: str, grant: str) -> None:
    log.allow(pay(log, root, risk="CRITICAL"), grant=grant)


@misuse(rulebook.GRANT)
def for_another_effect(log: Log, root: str, grant: str) -> None:
    log.allow(pay(log, root, parameters={**PAYMENT, "payee": "OTHER"}), grant=grant)


@misuse(rulebook.GRANT)
def for_another_tool(log: Log, root: str, grant: str) -> None:
    log.allow(log.ask(root, "read_file", risk="HIGH"), grant=grant)


@misuse(rulebook.GRANT)
def for_another_delegation(log: Log, root: str, grant: str) -> None:
    log.allow(pay(log, log.root()), grant=grant)


@misuse(rulebook.GRANT)
def with_more_parameters(log: Log, root: str, grant: str) -> None:
    log.allow(pay(log, root, parameters={**PAYMENT, "memo": "x"}), grant=grant)


@misuse(rulebook.GRANT)
def for_what_was_asked_already(log: Log, root: str, grant: str) -> None:
    ask = pay(log, root)
    log.request(ask)
    log.allow(ask, grant=grant)


@misuse(rulebook.ELIGIBLE)
def after_the_reviewer_lost_the_role(log: Log, root: str, grant: str) -> None:
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": ["admin"]})
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.ELIGIBLE)
def after_the_reviewer_was_switched_off(log: Log, root: str, grant: str) -> None:
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "active": False})
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.ELIGIBLE)
def after_its_key_was_revoked(log: Log, root: str, grant: str) -> None:
    revoke(log, RUI, PEOPLE_KEYS[RUI])
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.GRANT)
def redeemed_after_its_key_was_stolen_before(log: Log, root: str, grant: str) -> None:
    ask = pay(log, root)
    log.allow(ask, grant=grant)
    revoke(log, RUI, PEOPLE_KEYS[RUI], "2026-03-01T09:00:00.000Z")
    log.redeem(ask)


@misuse(rulebook.AUTHORITY)
def after_its_delegation_was_revoked(log: Log, root: str, grant: str) -> None:
    log.revoke(root)
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.GRANT)
def after_another_policy_came_into_force(log: Log, root: str, grant: str) -> None:
    document = {**POLICY, "name": "Next"}
    log.policy_digest, before = builder.policies.digest(document), log.policy_digest
    body = {"policy": log.policy_digest, "number": 2, "document": document, "replaces": before}
    log.agreed("policy.activated", log.policy_digest, body)
    log.allow(pay(log, root), grant=grant)


@misuse(rulebook.GRANT)
def to_deny(log: Log, root: str, grant: str) -> None:
    ask = pay(log, root)
    ask.body["grant"] = grant
    log.deny(ask)


@pytest.mark.parametrize("name", USES)
def test_a_grant_is_used_only_within_what_it_says_and_while_it_stands(name: str) -> None:
    log, root, ask = model()
    grant = log.grant(ask)
    use, rule = USES[name]
    use(log, root, grant)
    broken(log, rule)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"tool_digest": digests.sha256(b"old")}, rulebook.GRANT),
        ({"tool": "read_file"}, rulebook.GRANT),
        ({"agent": "ag_" + "a" * 32}, rulebook.GRANT),
        ({"delegation": digests.sha256(b"other")}, rulebook.GRANT),
        ({"policy": digests.sha256(b"old")}, rulebook.POLICY),
        ({"effects": ["payment:send:OTHER"]}, rulebook.GRANT),
        ({"parameters": {"amount": {"op": "any"}}}, rulebook.GRANT),
        ({"max_total": None}, rulebook.GRANT),
        ({"max_total": {"amount": "1.00", "unit": "USD"}}, rulebook.GRANT),
        ({"request": "act_" + "0" * 26}, rulebook.GRANT),
        ({"person": ROSA}, rulebook.STATEMENT),
        ({"realm": "gate.example/staging"}, rulebook.REALM),
        ({"credential": None}, rulebook.STATEMENT),
        ({"not_after": "2026-03-01T11:00:00.000Z"}, rulebook.STATEMENT),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_grant_is_of_its_request(changes: dict[str, Any], rule: rulebook.Rule) -> None:
    log, _, ask = model()
    log.grant(ask, **changes)
    broken(log, rule)


@case(rulebook.ELIGIBLE)
def grant_by_the_owner_of_the_agent() -> Log:
    log, _, ask = model(owner=RUI)
    log.grant(ask)
    return log


@case(rulebook.ELIGIBLE)
def grant_by_somebody_without_the_role() -> Log:
    log, _, ask = model(owner=RUI)
    log.grant(ask, ADA)
    return log


@case(rulebook.EVIDENCE)
def grant_by_a_click_where_a_key_is_needed() -> Log:
    log, _, ask = model()
    log.grant(ask, session=True)
    return log


@case(rulebook.GRANT)
def grant_of_something_irreversible() -> Log:
    log, ask = asked()
    log.grant(ask, max_total=None)
    return log


@case(rulebook.GRANT)
def grant_where_two_approvals_are_needed() -> Log:
    log = Log().found()
    log.enrol()
    ask = pay(log, log.root())
    log.request(ask, [{"role": "reviewer", "count": 2, "kind": "approve"}])
    log.grant(ask)
    return log


@case(rulebook.QUORUM)
def grant_used_under_a_rule_that_wants_two_approvals() -> Log:
    rule = {"name": "two", "tool": "make_payment", "risk": "HIGH", "stages": [{"role": "reviewer", "count": 2}]}
    log = Log(policy={**POLICY, "rules": [rule]}).found()
    log.enrol()
    log, root, ask = model(log)
    grant = log.grant(ask)
    use = pay(log, root)
    log.allow(use, grant=grant, rule="two")
    return log


def test_a_grant_stands_for_the_role_that_its_request_asked() -> None:
    log, root, ask = model(log_where_admins_pay(), admins=True)
    grant = log.grant(ask, ROSA)
    log.allow(pay(log, root), grant=grant)
    read(log)
    log.add("person.changed", ROSA, by(ADA), {"person": ROSA, "roles": ["reviewer"]})
    log.allow(pay(log, root), grant=grant, rule="admins")
    broken(log, rulebook.ELIGIBLE)


def log_where_admins_pay() -> Log:
    """A policy in which admins approve payments."""
    rule = {"name": "admins", "tool": "make_payment", "risk": "HIGH", "stages": [{"role": "admin", "count": 1}]}
    log = Log(policy={**POLICY, "rules": [rule]}).found()
    log.enrol()
    return log


@case(rulebook.GRANT)
def grant_where_the_policy_knows_none() -> Log:
    log = Log(policy={**POLICY, "grants": False}).found()
    log.enrol()
    log, _, ask = model(log)
    log.grant(ask)
    return log


@case(rulebook.REVOCATION)
def grant_revoked_twice() -> Log:
    log, _, ask = model()
    grant = log.grant(ask)
    for _ in range(2):
        log.add("grant.revoked", grant, by(RUI), {"grant": grant, "reason": "enough"})
    return log


@case(rulebook.ACTOR)
def grant_revoked_by_somebody_else() -> Log:
    log, _, ask = model()
    grant = log.grant(ask)
    log.add("grant.revoked", grant, by(AUDRA), {"grant": grant, "reason": "enough"})
    return log


def test_a_grant_by_a_click_counts_where_policy_takes_clicks() -> None:
    log = Log(policy={**POLICY, "assurance": "H0"}).found()
    log.enrol()
    log, root, ask = model(log)
    log.allow(pay(log, root), grant=log.grant(ask, session=True))
    assert read(log).facts.totals.assurance == {"H0": 1}


# --- freeze ---------------------------------------------------------------------------------------------------------

FREEZE = [{"name": "release", "from": "2026-03-01T09:30:00.000Z", "until": "2026-03-01T10:00:00.000Z"}]


def frozen_at(minutes: float, **more: Any) -> tuple[Log, str]:
    log = Log(policy={**POLICY, "freeze": FREEZE, **more}).found()
    log.enrol()
    root = log.root()
    log.now = Log().now + timedelta(minutes=minutes)
    return log, root


@pytest.mark.parametrize(("minutes", "good"), [(29, True), (30.5, True), (32, False), (59, False), (60.5, True)])
def test_during_a_freeze_nothing_is_approved_without_people(minutes: float, good: bool) -> None:
    log, root = frozen_at(minutes)
    log.allow(log.ask(root))
    if good:  # just begun: it may have been judged a moment before
        read(log)
    else:
        broken(log, rulebook.RISK, "freeze")


def test_during_a_freeze_people_approve_what_is_high() -> None:
    log, root = frozen_at(40)
    ask = log.ask(root, risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    read(log)


def test_the_floor_of_a_freeze_is_the_policys() -> None:
    log, root = frozen_at(40, floors={"freeze": "CRITICAL"})
    log.request(log.ask(root, risk="HIGH"))
    broken(log, rulebook.RISK)


@case(rulebook.GRANT)
def grant_used_during_a_freeze() -> Log:
    log, _ = frozen_at(20)
    log, root, ask = model(log)
    grant = log.grant(ask)
    log.now += timedelta(minutes=15)
    log.allow(pay(log, root), grant=grant)
    return log


@case(rulebook.POLICY)
def calendar_that_says_nothing() -> Log:
    log = Log(policy={**POLICY, "freeze": [{"name": "x", "from": "10:00", "until": "10:00", "days": ["mon"]}]})
    log.genesis()
    for known in builder.PEOPLE:
        log.person(known)
    log.activate(log.policy, 1)
    return log


@pytest.mark.parametrize(("rule", "name", "make"), CASES, ids=[name for _, name, _ in CASES])
def test_a_history_with_this_fault_is_refused(rule: rulebook.Rule, name: str, make: Breaking) -> None:
    broken(make(), rule)


def test_statements_that_are_over_are_forgotten() -> None:
    log, ask = asked()
    log.allow(ask, (log.vote(ask),))
    facts = read(log).facts
    assert facts.statements
    log.now += timedelta(hours=1)
    while len(log.envelopes) % 512:
        minute = {"key": "unknown", "minute": format_time(log.now), "codes": {"digest": 1}}
        log.add("door.rejected", "x", SYSTEM, minute)
    assert not read(log).facts.statements


def test_an_ssh_signature_in_the_namespace_of_another_purpose_is_no_vote() -> None:
    log, ask = asked()
    pair = PEOPLE_KEYS[RUI]
    raw = log.statement(ask, RUI, credential=name_of(pair))
    value = sshsig.sign(pair, raw, "imprimatur-act-v1")
    log.vote(ask, raw=raw, evidence={"kind": "ssh", "key": name_of(pair), "value": value})
    broken(log, rulebook.EVIDENCE, "(namespace)")
