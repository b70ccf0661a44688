"""Receipts of what somebody approved in advance: the grant comes along, and has to cover exactly this action."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from imprimatur.formats import entries, receipts, signing
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.receipts import ReceiptError
from imprimatur.rules import grants
from tests.formats import samples
from tests.formats.soft_authenticator import SoftAuthenticator
from tests.formats.test_receipts import SITE, STRANGER, passkey, pinned

NOW = samples.NOW + timedelta(seconds=60)
VALUES = {"path": "/project/src/a.py", "content": "print('hello')\n"}
WIDE: dict[str, Any] = {"path": {"op": "any"}, "content": {"op": "any"}}


def a_grant(**changes: Any) -> dict[str, Any]:
    document = {**samples.a_grant(), **changes}
    return {name: value for name, value in document.items() if value is not None}


def issued(said: dict[str, Any], evidence: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """The entry of a grant, signed with Ada's SSH key unless other evidence is given."""
    signed = samples.signed(said)
    body = {
        "grant": signing.grant_id(signing.encode(said)),
        "statement": signed["statement"],
        "evidence": signed["evidence"] if evidence is None else evidence,
        **changes.pop("body", {}),
    }
    actor = {"type": "person", "id": "ada", "assurance": changes.pop("assurance", "H2")}
    return samples.an_entry("grant.issued", body, **{"index": 7, "actor": actor, "subject": body["grant"], **changes})


def a_receipt(
    said: dict[str, Any] | None = None, entry: bytes | None = None, key: KeyPair = samples.DECISION_KEY, **decided: Any
) -> dict[str, Any]:
    """A decision at submit that rests on this grant, redeemed in the same call."""
    said = a_grant() if said is None else said
    entry = issued(said) if entry is None else entry
    at_once = {"attempt": entries.attempt_digest(samples.ATTEMPT), "execute_by": samples.at(90)}
    fields = {"votes": [], "grant": signing.grant_id(signing.encode(said)), **at_once, **decided}
    time = fields.pop("time", samples.NOW)
    decision = samples.an_entry("action.decided", samples.decided_body(**fields), time=time)
    return receipts.make(9, samples.seal(decision), grant=(entries.parse(entry)["index"], samples.seal(entry, key)))


def expected(**changes: Any) -> receipts.Expected:
    return samples.expected(**{"covers": grants.covers(VALUES), **changes})


def refusal(receipt: Any, now: Any = NOW, **changes: Any) -> str:
    with pytest.raises(ReceiptError) as caught:
        receipts.check(receipt, expected=expected(**changes), now=now)
    return caught.value.code


def by_passkey(own: SoftAuthenticator, **lies: Any) -> tuple[dict[str, Any], bytes]:
    said = a_grant(credential=own.thumbprint)
    return said, issued(said, own.evidence(lies.pop("typ", signing.GRANT), signing.encode(said), **lies))


def test_a_signed_grant_stands_for_the_person_that_was_required() -> None:
    receipt = receipts.check(a_receipt(), expected=expected(require_human="H2"), now=NOW)
    assert receipt.votes == []
    assert receipt.grant is not None
    assert receipt.grant["index"] == 7
    assert receipt.grant_envelope is not None
    again = receipts.make(9, receipt.envelope, grant=(7, receipt.grant_envelope))
    assert receipts.parse(again) == receipt
    assert refusal(a_receipt(), require_human="H3") == "assurance"


@pytest.mark.parametrize("device_bound", [True, False])
def test_a_grant_signed_with_a_passkey_counts_as_a_vote_with_it_does(device_bound: bool) -> None:
    own = passkey(device_bound=device_bound)
    receipt = a_receipt(*by_passkey(own))
    receipts.check(receipt, expected=expected(), now=NOW)
    receipts.check(receipt, expected=expected(people=pinned(own), origins=[f"https://{SITE}"]), now=NOW)
    assert refusal(receipt, origins=["https://other.desk.example"]) == "grant"
    for people in ([], pinned(passkey()), pinned(own, "bo"), pinned(own, to=samples.at(-1))):
        assert refusal(receipt, people=people) == "assurance"
        receipts.check(receipt, expected=expected(people=people, require_human="H0"), now=NOW)


def test_invariant_3_no_grant_stands_for_the_two_people_of_a_critical_action() -> None:
    for single_human in (False, True):
        receipt = a_receipt(risk="CRITICAL")
        assert (
            refusal(receipt, require_human=None, covers=lambda said, decided: "", single_human=single_human) == "votes"
        )


def test_a_grant_dies_with_the_key_that_signed_it() -> None:
    own = passkey()
    receipt = a_receipt(*by_passkey(own), time=samples.NOW + timedelta(seconds=30))
    receipts.check(receipt, expected=expected(people=pinned(own, to=samples.at(30))), now=NOW)
    assert refusal(receipt, people=pinned(own, to=samples.at(29))) == "assurance"


@pytest.mark.parametrize(
    "lies",
    [
        {"typ": "imprimatur/decision/v1"},
        {"cross_origin": True, "top_origin": "https://evil.example"},
        {"origin": "https://evil.example"},
        {"flags": 0x01},
    ],
    ids=str,
)
def test_a_grant_signed_in_another_ceremony_is_refused(lies: dict[str, Any]) -> None:
    assert refusal(a_receipt(*by_passkey(passkey(), **lies)), require_human=None) == "grant"


def test_a_clicked_grant_is_the_operators_word_whatever_the_entry_claims() -> None:
    said = a_grant(credential=None)
    receipt = a_receipt(said, issued(said, {"kind": "session"}, assurance="H3"))
    assert refusal(receipt, require_human="H1") == "assurance"
    receipts.check(receipt, expected=expected(require_human="H0"), now=NOW)
    receipts.check(receipt, expected=expected(require_human=None), now=NOW)


def test_a_grant_below_the_required_assurance_is_refused() -> None:
    assert refusal(a_receipt(entry=issued(a_grant(), assurance="H1"))) == "assurance"


def without_grant() -> dict[str, Any]:
    receipt = a_receipt()
    del receipt["grant"]
    return receipt


def besides_a_vote() -> dict[str, Any]:
    return {**a_receipt(votes=[8]), "votes": [samples.seal(samples.a_vote()).decode()]}


DEPARTURES: dict[str, Callable[[], dict[str, Any]]] = {
    "is missing": without_grant,
    "is not what the decision rests on": lambda: a_receipt(grant=None),
    "is another": lambda: a_receipt(grant=samples.DIGEST),
    "is another than its entry says": lambda: a_receipt(entry=issued(a_grant(), body={"grant": samples.DIGEST})),
    "comes besides a vote": besides_a_vote,
    "is no statement": lambda: a_receipt(entry=issued(a_grant(), body={"statement": "{}"})),
    "is somebody else's": lambda: a_receipt(entry=issued(a_grant(person="bo")), said=a_grant(person="bo")),
    "is of an agent": lambda: a_receipt(
        entry=issued(a_grant(), actor={"type": "agent", "id": "ada", "assurance": "H2"})
    ),
    "is of another realm": lambda: departed(realm="desk.example/staging"),
    "is for another agent": lambda: departed(agent="ag_" + "a" * 32),
    "is for another delegation": lambda: departed(delegation=samples.DIGEST),
    "is for another tool": lambda: departed(tool="delete_file"),
    "is for another version of the tool": lambda: departed(tool_digest="sha256:" + "0" * 64),
    "is for another policy": lambda: departed(policy="sha256:" + "0" * 64),
    "is for other effects": lambda: departed(effects=["file:write:/project/docs"]),
    "wants another value": lambda: departed(parameters={**WIDE, "path": {"op": "equals", "value": "/project/b.py"}}),
    "leaves out a parameter": lambda: departed(parameters={"path": {"op": "any"}}),
    "names a parameter more": lambda: departed(parameters={**WIDE, "more": {"op": "any"}}),
    "was over by then": lambda: a_receipt(time=samples.NOW + timedelta(seconds=1801)),
    "was issued later": lambda: a_receipt(entry=issued(a_grant(), index=10)),
    "was issued at a later time": lambda: a_receipt(
        entry=issued(a_grant(), time=samples.NOW + timedelta(seconds=1)), time=samples.NOW
    ),
    "is for what is HIGH": lambda: a_receipt(risk="CRITICAL"),
    "is for what can be undone": lambda: a_receipt(reversibility="irreversible"),
    "names another key": lambda: departed(credential=samples.fingerprint(samples.SECOND_PERSON_KEY)),
    "was signed over other bytes": lambda: a_receipt(
        entry=issued(a_grant(), samples.ssh_evidence("other", namespace="imprimatur-grant-v1"))
    ),
    "was signed as something else": lambda: a_receipt(
        entry=issued(a_grant(), samples.ssh_evidence(signing.encode(a_grant()).decode()))
    ),
}


def departed(**changes: Any) -> dict[str, Any]:
    return a_receipt(a_grant(**changes))


@pytest.mark.parametrize("require_human", [None, "H2"])
@pytest.mark.parametrize("name", DEPARTURES)
def test_invariant_1_a_grant_that_does_not_cover_this_action_is_refused(name: str, require_human: str | None) -> None:
    assert refusal(DEPARTURES[name](), require_human=require_human) == "grant"


def test_invariant_1_a_grant_that_no_pinned_key_signed_is_refused() -> None:
    receipt = a_receipt(key=STRANGER)
    assert refusal(receipt) == "decision-key"
    keys = [samples.DECISION_KEY.public_key, STRANGER.public_key]
    receipts.check(receipt, expected=expected(decision_keys=keys), now=NOW)


def test_invariant_12_a_grant_from_the_log_of_another_realm_is_refused() -> None:
    assert refusal(a_receipt(entry=issued(a_grant(), realm="desk.example/staging"))) == "realm"


def test_the_clients_own_parameters_decide_what_a_grant_covers() -> None:
    for values in ({**VALUES, "path": "/etc/passwd"}, {"path": VALUES["path"]}, {}):
        assert refusal(a_receipt(), covers=grants.covers(values)) == "grant"
    assert refusal(a_receipt(), covers=None) == "grant"


def test_a_grant_that_names_no_sum_covers_nothing_that_costs() -> None:
    dear = {"amount": "2.00", "unit": "USD"}
    bound = samples.a_binding(cost=dear)
    assert refusal(a_receipt(binding=bound), cost=dear) == "grant"
    for unit, allowed in (("USD", True), ("EUR", False)):
        receipt = a_receipt(a_grant(max_total={"amount": "2.00", "unit": unit}), binding=bound)
        if allowed:
            receipts.check(receipt, expected=expected(cost=dear), now=NOW)
        else:
            assert refusal(receipt, cost=dear) == "grant"


def test_a_decision_dated_back_into_the_time_of_a_grant_is_worth_nothing_once_that_is_over() -> None:
    receipt = a_receipt(not_after=samples.at(86_400), execute_by=samples.at(86_400))
    receipts.check(receipt, expected=expected(), now=samples.NOW + timedelta(seconds=1800 + 299))
    assert refusal(receipt, samples.NOW + timedelta(seconds=1800 + 300)) == "expired"


MALFORMED: dict[str, Callable[[dict[str, Any]], object]] = {
    "only its text": lambda r: r.update(grant=r["grant"]["envelope"]),
    "without its index": lambda r: r["grant"].pop("index"),
    "with the index of another": lambda r: r["grant"].update(index=6),
    "with more": lambda r: r["grant"].update(extra=1),
    "null": lambda r: r.update(grant=None),
    "the decision": lambda r: r.update(grant={"index": r["index"], "envelope": r["envelope"]}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_grant_is_refused(name: str) -> None:
    receipt = a_receipt()
    MALFORMED[name](receipt)
    assert refusal(receipt, require_human=None) == "malformed"


def test_invariant_1_a_grant_of_another_attempt_does_not_let_this_one_run() -> None:
    assert refusal(a_receipt(), attempt=b64u(b"\x08" * 16)) == "not-redeemed"
