"""Receipts: the client runs nothing unless every one of DESIGN 8's conditions holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from imprimatur.formats import canonical, entries, receipts, statement, trust
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.receipts import ReceiptError
from tests.formats import samples
from tests.formats.soft_authenticator import SoftAuthenticator, cbor

NOW = samples.NOW + timedelta(seconds=60)
STRANGER = KeyPair.from_seed(b"x" * 32)


def refusal(receipt: Any, now: Any = NOW, **changes: Any) -> str:
    with pytest.raises(ReceiptError) as caught:
        receipts.check(receipt, expected=samples.expected(**changes), now=now)
    return caught.value.code


def decided(**changes: Any) -> bytes:
    return samples.an_entry("action.decided", samples.decided_body(**changes))


def test_a_receipt_that_meets_every_condition_is_accepted() -> None:
    receipt = receipts.check(samples.a_receipt(), expected=samples.expected(), now=NOW)
    assert receipt.index == 9
    assert receipt.entry["body"]["verdict"] == "allow"
    assert [vote["index"] for vote in receipt.votes] == [8]
    assert (
        receipts.parse(
            receipts.make(receipt.index, receipt.envelope, receipt.vote_envelopes, receipt.redeemed_envelope)
        )
        == receipt
    )


def test_a_low_risk_receipt_redeemed_in_the_same_call_is_accepted() -> None:
    decision = decided(risk="LOW", votes=[], attempt=entries.attempt_digest(samples.ATTEMPT), execute_by=samples.at(90))
    receipt = receipts.make(9, samples.seal(decision))
    receipts.check(receipt, expected=samples.expected(require_human=None), now=NOW)
    assert refusal(receipt) == "assurance"
    assert refusal(receipt, require_human=None, attempt=b64u(b"\x08" * 16)) == "not-redeemed"
    assert refusal(receipt, samples.NOW + timedelta(seconds=91), require_human=None) == "expired"


def test_an_approval_can_be_looked_at_before_it_is_redeemed() -> None:
    receipt = samples.a_receipt()
    del receipt["redeemed"]
    receipts.check(receipt, expected=samples.expected(redeemed=False, attempt=None), now=NOW)


@pytest.mark.parametrize("part", ["decision", "vote", "redemption"])
def test_invariant_1_an_envelope_that_no_pinned_key_signed_is_refused(part: str) -> None:
    own = {
        "decision": lambda: samples.seal(decided(), STRANGER if part == "decision" else samples.DECISION_KEY),
        "vote": lambda: samples.seal(samples.a_vote(), STRANGER if part == "vote" else samples.DECISION_KEY),
        "redemption": lambda: samples.seal(
            samples.a_redemption(), STRANGER if part == "redemption" else samples.DECISION_KEY
        ),
    }
    receipt = receipts.make(9, own["decision"](), [own["vote"]()], own["redemption"]())
    assert refusal(receipt) == "decision-key"
    receipts.check(
        receipt,
        expected=samples.expected(decision_keys=[samples.DECISION_KEY.public_key, STRANGER.public_key]),
        now=NOW,
    )


def test_without_pinned_keys_nothing_is_believed() -> None:
    assert refusal(samples.a_receipt(), decision_keys=[]) == "decision-key"


def test_invariant_12_a_receipt_of_another_realm_is_refused() -> None:
    assert refusal(samples.a_receipt(), realm="desk.example/staging") == "realm"


EXPECTATIONS: list[tuple[dict[str, Any], str]] = [
    ({"agent": "ag_" + "a" * 32}, "agent"),
    ({"delegation": samples.DIGEST}, "delegation"),
    ({"tool": "delete_file"}, "tool"),
    ({"schema": "sha256:" + "0" * 64}, "tool"),
    ({"parameters": {}}, "parameters"),
    ({"parameters": {**samples.parameters(), "path": samples.a_commitment()}}, "parameters"),
    ({"parameters": {**samples.parameters(), "more": samples.a_commitment()}}, "parameters"),
    ({"cost": {"amount": "5.00", "unit": "USD"}}, "cost"),
    ({"cost": {"amount": "0.00", "unit": "EUR"}}, "cost"),
    ({"context": {"run": "run-1", "call": "call-2"}}, "context"),
    ({"context": {"run": "run-1"}}, "context"),
    ({"idempotency_key": "run-1:call-2"}, "idempotency-key"),
]


@pytest.mark.parametrize(("change", "code"), EXPECTATIONS, ids=lambda value: str(value)[:60])
def test_invariant_1_a_receipt_for_anything_but_the_own_request_is_refused(change: dict[str, Any], code: str) -> None:
    assert refusal(samples.a_receipt(), **change) == code


def test_cost_and_schema_are_compared_only_when_the_client_knows_them() -> None:
    receipts.check(samples.a_receipt(), expected=samples.expected(cost=None, schema=None), now=NOW)


def test_invariant_1_a_binding_that_does_not_hash_to_its_digest_is_refused() -> None:
    entry = canonical.loads(decided())
    entry["body"]["binding"]["tool"]["name"] = "delete_file"
    receipt = samples.a_receipt(canonical.dumps(entry))
    assert refusal(receipt, tool="delete_file") == "malformed"


def test_a_denial_is_not_an_approval() -> None:
    denial = decided(verdict="deny", state="DENIED", code="policy-denied", not_after=None)
    assert refusal(samples.a_receipt(denial)) == "verdict"


@pytest.mark.parametrize("seconds", [300, 301, 86_400])
def test_an_approval_is_good_until_not_after_and_no_longer(seconds: int) -> None:
    long = samples.a_redemption(body={"execute_by": samples.at(100_000)})
    receipt = samples.a_receipt(redeemed=long)
    receipts.check(receipt, expected=samples.expected(), now=samples.NOW + timedelta(seconds=299.999))
    assert refusal(receipt, samples.NOW + timedelta(seconds=seconds)) == "expired"


REDEMPTIONS: dict[str, tuple[Callable[[], bytes | None], dict[str, Any], str]] = {
    "not redeemed at all": (lambda: None, {}, "not-redeemed"),
    "no attempt of this execution": (samples.a_redemption, {"attempt": None}, "not-redeemed"),
    "another attempt": (samples.a_redemption, {"attempt": b64u(b"\x08" * 16)}, "not-redeemed"),
    "another request": (
        lambda: samples.a_redemption(body={"request": samples.REQUEST[:-1] + "t"}),
        {},
        "not-redeemed",
    ),
    "another action": (lambda: samples.a_redemption(body={"action_digest": samples.DIGEST}), {}, "not-redeemed"),
    "before the decision": (lambda: samples.a_redemption(index=7), {}, "not-redeemed"),
    "too late to start": (lambda: samples.a_redemption(body={"execute_by": samples.at(60)}), {}, "expired"),
    "another realm": (lambda: samples.a_redemption(realm="desk.example/staging"), {}, "realm"),
}


@pytest.mark.parametrize("name", REDEMPTIONS)
def test_invariant_1_an_approval_not_redeemed_by_this_execution_is_refused(name: str) -> None:
    make, changes, code = REDEMPTIONS[name]
    redemption = make()
    receipt = samples.a_receipt(redeemed=redemption)
    if redemption is None:
        del receipt["redeemed"]
    assert refusal(receipt, **changes) == code


@pytest.mark.parametrize("level", ["H0", "H1"])
def test_a_vote_below_the_required_assurance_is_refused(level: str) -> None:
    receipt = samples.a_receipt(votes=[samples.a_vote(assurance=level)])
    assert refusal(receipt) == "assurance"
    receipts.check(receipt, expected=samples.expected(require_human=level), now=NOW)


def test_a_session_click_is_an_operators_assertion_whatever_the_entry_claims() -> None:
    body = samples.vote_body(samples.a_statement(), {"kind": "session"})
    receipt = samples.a_receipt(votes=[samples.a_vote(assurance="H3", body=body)])
    assert refusal(receipt, require_human="H1") == "assurance"
    receipts.check(receipt, expected=samples.expected(require_human="H0"), now=NOW)


def test_an_ssh_signature_never_counts_as_device_bound() -> None:
    assert refusal(samples.a_receipt(votes=[samples.a_vote(assurance="H3")]), require_human="H3") == "assurance"


def test_a_vote_without_a_stated_assurance_counts_least() -> None:
    vote = samples.a_vote(actor={"type": "person", "id": "ada"})
    assert refusal(samples.a_receipt(votes=[vote]), require_human="H1") == "assurance"


def test_an_unknown_assurance_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="require_human"):
        receipts.check(samples.a_receipt(), expected=samples.expected(require_human="H9"), now=NOW)


VOTES: dict[str, Callable[[], list[bytes]]] = {
    "missing": list,
    "of another index": lambda: [samples.a_vote(index=7)],
    "one too many": lambda: [samples.a_vote(), samples.a_vote(index=7)],
    "a denial": lambda: [samples.a_vote(samples.a_statement(decision="deny"))],
    "a recall": lambda: [samples.a_vote(samples.a_statement(decision="recall"))],
    "for another action": lambda: [samples.a_vote(samples.a_statement(action_digest=samples.DIGEST))],
    "for another request": lambda: [samples.a_vote(samples.a_statement(request=samples.REQUEST[:-1] + "t"))],
    "for another agent": lambda: [samples.a_vote(samples.a_statement(agent="ag_" + "a" * 32))],
    "for another risk": lambda: [samples.a_vote(samples.a_statement(risk="LOW"))],
    "for another realm": lambda: [samples.a_vote(samples.a_statement(realm="desk.example/staging"))],
    "signed by somebody else": lambda: [samples.a_vote(samples.a_statement("eve"), person="ada")],
    "filed under another request": lambda: [
        samples.a_vote(body={**samples.vote_body(samples.a_statement()), "request": samples.REQUEST[:-1] + "t"})
    ],
    "under conditions": lambda: [samples.a_vote(samples.a_statement(constraints={"only": "on Mondays"}))],
    "of an agent": lambda: [samples.a_vote(actor={"type": "agent", "id": "ada", "assurance": "H2"})],
    "whose statement is no statement": lambda: [
        samples.a_vote(body={**samples.vote_body(samples.a_statement()), "statement": "{}"})
    ],
    "whose signature covers other bytes": lambda: [
        samples.a_vote(body=samples.vote_body(samples.a_statement(), samples.ssh_evidence("other")))
    ],
    "signed for another purpose": lambda: [
        samples.a_vote(
            body=samples.vote_body(
                samples.a_statement(),
                samples.ssh_evidence(
                    statement.encode(samples.a_statement()).decode(), namespace="imprimatur-delegation-v1"
                ),
            )
        )
    ],
    "whose signature is damaged": lambda: [
        samples.a_vote(
            body=samples.vote_body(
                samples.a_statement(), {**samples.ssh_evidence("x"), "value": "-----BEGIN SSH SIGNATURE-----"}
            )
        )
    ],
    "whose key is another": lambda: [
        samples.a_vote(
            body=samples.vote_body(
                samples.a_statement(),
                {**samples.ssh_evidence(statement.encode(samples.a_statement()).decode()), "key": "SHA256:" + "A" * 43},
            )
        )
    ],
}


@pytest.mark.parametrize("name", VOTES)
def test_invariant_3_a_vote_that_does_not_approve_this_action_is_refused(name: str) -> None:
    assert refusal(samples.a_receipt(votes=VOTES[name]())) == "votes"


def two_votes(second_person: str, second_key: KeyPair) -> dict[str, Any]:
    said = samples.a_statement(second_person, decision="confirm", stage=1, nonce=b64u(b"z" * 16))
    second = samples.a_vote(said, index=7, person=second_person, key=second_key)
    return samples.a_receipt(decided(votes=[8, 7]), [samples.a_vote(), second])


def test_invariant_3_two_votes_need_two_people_and_two_keys() -> None:
    receipts.check(two_votes("bo", samples.SECOND_PERSON_KEY), expected=samples.expected(), now=NOW)
    assert refusal(two_votes("ada", samples.SECOND_PERSON_KEY)) == "votes"
    assert refusal(two_votes("bo", samples.PERSON_KEY)) == "votes"


def at_risk(
    risk: str, *answers: tuple[str, str, int], key_of: Callable[[str], KeyPair] | None = None, session: bool = False
) -> dict[str, Any]:
    """A receipt of an allow at this risk, on these answers: person, decision, stage."""
    keys = key_of or (lambda person: samples.SECOND_PERSON_KEY if person == "bo" else samples.PERSON_KEY)
    votes = []
    for place, (person, decision, stage) in enumerate(answers):
        changes = {"decision": decision, "stage": stage, "risk": risk, "nonce": b64u(bytes([place]) * 16)}
        said = samples.a_statement(person, **changes)
        body = samples.vote_body(said, {"kind": "session"}) if session else None
        votes.append(samples.a_vote(said, index=4 + place, person=person, key=keys(person), body=body))
    return samples.a_receipt(decided(risk=risk, votes=[4 + place for place in range(len(votes))]), votes)


TOO_FEW: dict[str, tuple[str, list[tuple[str, str, int]]]] = {
    "HIGH by nobody": ("HIGH", []),
    "HIGH by a confirmation alone": ("HIGH", [("ada", "confirm", 1)]),
    "CRITICAL by nobody": ("CRITICAL", []),
    "CRITICAL by an approval alone": ("CRITICAL", [("ada", "approve", 0)]),
    "CRITICAL by a confirmation alone": ("CRITICAL", [("ada", "confirm", 1)]),
    "CRITICAL by two approvals": ("CRITICAL", [("ada", "approve", 0), ("bo", "approve", 0)]),
    "CRITICAL by two confirmations": ("CRITICAL", [("ada", "confirm", 1), ("bo", "confirm", 1)]),
}


@pytest.mark.parametrize("name", TOO_FEW)
@pytest.mark.parametrize("required", [None, "H0", "H2"])
@pytest.mark.parametrize("single_human", [False, True])
def test_invariant_3_fewer_people_than_the_risk_takes_are_refused_whatever_is_required(
    name: str, required: str | None, single_human: bool
) -> None:
    risk, answers = TOO_FEW[name]
    assert refusal(at_risk(risk, *answers), require_human=required, single_human=single_human) == "votes"


def test_invariant_3_a_critical_action_takes_an_approval_and_a_confirmation() -> None:
    receipt = at_risk("CRITICAL", ("ada", "approve", 0), ("bo", "confirm", 1))
    receipts.check(receipt, expected=samples.expected(), now=NOW)
    receipts.check(receipt, expected=samples.expected(require_human=None), now=NOW)
    receipts.check(at_risk("MEDIUM"), expected=samples.expected(require_human=None), now=NOW)


@pytest.mark.parametrize("session", [False, True])
def test_invariant_3_one_person_in_two_stages_counts_only_where_the_client_says_single_human(session: bool) -> None:
    receipt = at_risk("CRITICAL", ("ada", "approve", 0), ("ada", "confirm", 1), session=session)
    with pytest.raises(ReceiptError, match="single_human=True") as caught:
        receipts.check(receipt, expected=samples.expected(require_human="H0"), now=NOW)
    assert caught.value.code == "votes"
    receipts.check(receipt, expected=samples.expected(require_human="H0", single_human=True), now=NOW)


def test_invariant_3_two_names_with_one_key_are_one_person() -> None:
    receipt = at_risk("CRITICAL", ("ada", "approve", 0), ("bo", "confirm", 1), key_of=lambda person: samples.PERSON_KEY)
    assert refusal(receipt) == "votes"
    receipts.check(receipt, expected=samples.expected(single_human=True), now=NOW)


def test_invariant_3_even_a_single_human_counts_once_in_a_stage() -> None:
    for answers in ([("ada", "approve", 0), ("ada", "confirm", 0)], [("ada", "approve", 0), ("ada", "approve", 0)]):
        assert refusal(at_risk("CRITICAL", *answers), single_human=True) == "votes"
    twice = [("ada", "approve", 0), ("ada", "approve", 0)]
    assert refusal(at_risk("HIGH", *twice), single_human=True) == "votes"


def test_invariant_3_one_key_in_two_encodings_is_one_key() -> None:
    own, pair = passkey(alg="EdDSA"), samples.PERSON_KEY
    own.public_key, own._sign = cbor({1: 1, 3: -8, -1: 6, -2: pair.public_key}), pair.sign
    said = samples.a_statement("bo", decision="confirm", stage=1, nonce=b64u(b"z" * 16), credential=own.thumbprint)
    evidence = own.evidence(statement.TYP, statement.encode(said))
    second = samples.a_vote(said, index=7, person="bo", body=samples.vote_body(said, evidence))
    receipt = samples.a_receipt(decided(votes=[8, 7]), [samples.a_vote(), second])
    assert refusal(receipt) == "votes"


SITE = "desk.example"


def passkey_vote(
    own: SoftAuthenticator, *, typ: str = statement.TYP, assurance: str = "H2", credential: str = "", **lies: Any
) -> bytes:
    said = samples.a_statement(credential=credential or own.thumbprint)
    evidence = own.evidence(typ, statement.encode(said), **lies)
    return samples.a_vote(said, body=samples.vote_body(said, evidence), assurance=assurance)


def passkey(**made: Any) -> SoftAuthenticator:
    return SoftAuthenticator(made.pop("alg", "ES256"), SITE, f"https://{SITE}", **made)


def pinned(own: SoftAuthenticator, person: str = "ada", **more: str) -> list[trust.PersonKey]:
    key = {"person": person, "kind": "webauthn", "key": b64u(own.public_key), **more}
    people = trust.parse(json.dumps({"realm": samples.REALM, "people": [key]}).encode()).people
    assert people is not None
    return list(people)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
@pytest.mark.parametrize("device_bound", [True, False])
def test_a_passkey_vote_counts_when_it_was_made_for_this_statement(alg: str, device_bound: bool) -> None:
    own = passkey(alg=alg, device_bound=device_bound)
    receipt = samples.a_receipt(votes=[passkey_vote(own)])
    receipts.check(receipt, expected=samples.expected(), now=NOW)
    receipts.check(receipt, expected=samples.expected(people=pinned(own), origins=[f"https://{SITE}"]), now=NOW)


@pytest.mark.parametrize(
    "lies",
    [
        {"typ": "imprimatur/grant/v1"},
        {"type": "webauthn.create"},
        {"cross_origin": True, "top_origin": "https://evil.example"},
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"flags": 0x01},
        {"flags": 0x04},
        {"credential": "A" * 43},
    ],
    ids=str,
)
def test_a_passkey_vote_of_another_ceremony_is_refused(lies: dict[str, Any]) -> None:
    assert refusal(samples.a_receipt(votes=[passkey_vote(passkey(), **lies)])) == "votes"


def test_a_passkey_vote_whose_signature_is_anothers_is_refused() -> None:
    own, other = passkey(), passkey()
    other.credential, other.public_key = own.credential, own.public_key
    assert refusal(samples.a_receipt(votes=[passkey_vote(other)])) == "votes"


def test_a_page_that_trust_does_not_name_is_refused() -> None:
    own = passkey()
    receipt = samples.a_receipt(votes=[passkey_vote(own)])
    assert refusal(receipt, people=pinned(own), origins=["https://other.desk.example"]) == "votes"


def test_where_people_are_pinned_any_other_key_is_the_operators_word() -> None:
    own = passkey()
    receipt = samples.a_receipt(votes=[passkey_vote(own)])
    for people in ([], pinned(passkey()), pinned(own, "bo"), pinned(own, to=samples.at(-1))):
        assert refusal(receipt, people=people) == "assurance"
        receipts.check(receipt, expected=samples.expected(people=people, require_human="H0"), now=NOW)
    assert refusal(samples.a_receipt(), people=pinned(own)) == "assurance"


def test_only_a_device_bound_key_is_h3_whatever_the_entry_claims() -> None:
    for device_bound in (True, False):
        receipt = samples.a_receipt(votes=[passkey_vote(passkey(device_bound=device_bound), assurance="H3")])
        if device_bound:
            receipts.check(receipt, expected=samples.expected(require_human="H3"), now=NOW)
        else:
            assert refusal(receipt, require_human="H3") == "assurance"


MALFORMED: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown key": lambda r: r.update(extra=1),
    "no votes": lambda r: r.pop("votes"),
    "no envelope": lambda r: r.pop("envelope"),
    "envelope not a string": lambda r: r.update(envelope={}),
    "envelope not an envelope": lambda r: r.update(envelope="{}"),
    "envelope in another spelling": lambda r: r.update(envelope=r["envelope"] + "\n"),
    "envelope with a lone surrogate": lambda r: r.update(envelope="\ud800"),
    "index of another entry": lambda r: r.update(index=10),
    "index not a number": lambda r: r.update(index="9"),
    "a vote as the decision": lambda r: r.update(envelope=r["votes"][0]),
    "the decision as a vote": lambda r: r.update(votes=[r["envelope"]]),
    "the decision as the redemption": lambda r: r.update(redeemed=r["envelope"]),
    "null redemption": lambda r: r.update(redeemed=None),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_receipt_is_refused(name: str) -> None:
    receipt = samples.a_receipt()
    MALFORMED[name](receipt)
    assert refusal(receipt) == "malformed"


@pytest.mark.parametrize("receipt", [{}, [], None, "x", 1], ids=repr)
def test_what_is_no_receipt_at_all_is_refused(receipt: Any) -> None:
    assert refusal(receipt) == "malformed"


def test_invariant_7_every_changed_byte_of_an_envelope_is_refused() -> None:
    receipt = samples.a_receipt()
    text = receipt["envelope"]
    for position in range(0, len(text), 7):
        changed = chr(ord(text[position]) ^ 1)
        assert refusal({**receipt, "envelope": text[:position] + changed + text[position + 1 :]}) in {
            "malformed",
            "decision-key",
        }


def test_a_payload_of_another_type_is_refused() -> None:
    from imprimatur.formats import dsse

    envelope = dsse.seal(decided(), samples.DECISION_KEY.sign, samples.DECISION_KEY.keyid, "application/json")
    receipt = samples.a_receipt()
    receipt["envelope"] = envelope.decode()
    assert refusal(receipt) == "malformed"
