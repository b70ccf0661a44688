"""What a bundle shows of each decision: verified, invalid or cannot tell, how sure, and on whose word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import canonical, digests, trust
from imprimatur.formats.encoding import b64u
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, VERIFIED, Report
from imprimatur.verify.report import human
from tests.formats.soft_authenticator import SoftAuthenticator
from tests.verify import builder
from tests.verify.builder import ADA, PEOPLE_KEYS, POLICY, ROSA, RUI, Log, by, passkey, ssh_line, standing
from tests.verify.test_people_sign import PAYMENT, model, pay

Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Verify a bundle of a log, under its own anchors changed as asked; None drops an anchor."""

    def run(log: Log, erased: int = 0, **changes: Any) -> Report:
        path = tmp_path / "bundle.zip"
        path.write_bytes(builder.zipped(builder.finished(builder.bundle_files(log, erased), log)))
        document = {**builder.trust_document(log), **changes}
        anchors = {name: value for name, value in document.items() if value is not None}
        return verify_bundle(path, trust.parse(canonical.dumps(anchors)))

    return run


def voted(reviewer: str = ROSA, own: SoftAuthenticator | None = None, voucher: str = RUI) -> Log:
    """A log whose last decision rests on one vote."""
    log, root = standing()
    if own is not None:
        log.enrol_key(reviewer, own)
        log.vouch(reviewer, own, voucher, PEOPLE_KEYS.get(voucher))
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask, reviewer, pair=own),))
    return log


def only(*people: str) -> list[dict[str, Any]]:
    return [{"person": person, "kind": "ssh", "key": ssh_line(PEOPLE_KEYS[person])} for person in people]


def test_every_decision_of_a_good_log_is_verified_and_says_why(check: Check) -> None:
    log = builder.whole_story()
    report = check(log)
    decided = [entry["index"] for entry in log.entries if entry["kind"] == "action.decided"]
    assert [made["index"] for made in report.decisions] == decided
    assert report.counts() == {VERIFIED: len(decided), INVALID: 0, CANNOT_TELL: 0}
    assert {made.get("assurance") for made in report.decisions} == {None, "H0", "H2"}
    assert {made["by"] for made in report.decisions} == {"policy", "people", "grant", "nobody"}
    assert all(made["why"] for made in report.decisions)
    assert report.as_json()["decisions"] == report.decisions
    assert f"{len(decided)} verified, 0 invalid, 0 cannot tell" in human(report)
    assert all(f"entry {index}:" in human(report, decisions=True) for index in decided)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
@pytest.mark.parametrize("device_bound", [True, False])
def test_a_passkey_that_trust_pins_makes_its_vote_verified(check: Check, alg: Any, device_bound: bool) -> None:
    own = passkey(alg, device_bound=device_bound)
    pinned = [*only(ADA, RUI), {"person": ROSA, "kind": "webauthn", "key": b64u(own.public_key)}]
    report = check(voted(own=own), people=pinned)
    assert report.ok, human(report)
    assert report.decisions[-1]["votes"][0]["standing"] == "pinned"


def test_a_key_that_people_with_pinned_keys_vouched_for_is_as_good(check: Check) -> None:
    report = check(voted(own=passkey()))
    assert report.ok
    assert report.decisions[-1]["votes"][0]["standing"] == "vouched"
    assert report.claim("people").evidence["signatures"] == {"pinned": 4, "vouched": 1}


def test_what_rests_on_the_console_cannot_be_told_and_says_so(check: Check) -> None:
    report = check(voted(own=passkey(), voucher=""))
    assert report.verdict == CANNOT_TELL
    assert report.claim("people").verdict == report.claim("votes").verdict == CANNOT_TELL
    made = report.decisions[-1]
    assert made["status"] == CANNOT_TELL
    assert "console vouched for it" in made["why"][0]
    assert "console vouched for it" in report.claim("people").detail
    assert report.claim("people").evidence["vouched_by_console"] == 1


def test_a_first_key_that_is_not_pinned_is_the_operators_word_and_so_is_what_it_vouched_for(check: Check) -> None:
    report = check(voted(), people=only(ROSA))
    assert report.verdict == CANNOT_TELL
    assert report.decisions[-1]["status"] == VERIFIED
    assert report.claim("grants").verdict == CANNOT_TELL
    assert "it was the first key" in report.claim("people").detail
    report = check(voted(RUI), people=only(ROSA))
    assert report.decisions[-1]["status"] == CANNOT_TELL
    assert "it was the first key" in report.decisions[-1]["why"][0]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"people": None}, CANNOT_TELL),
        ({"people": []}, INVALID),
        ({"people": [{**only(ROSA)[0], "to": "2026-02-01T00:00:00.000Z"}]}, INVALID),
        ({"people": [{**only(ROSA)[0], "person": RUI}]}, INVALID),
        ({"policy": None}, CANNOT_TELL),
        ({"policy": [digests.sha256(b"another")]}, INVALID),
        ({"decision": None}, CANNOT_TELL),
    ],
    ids=str,
)
def test_a_decision_is_as_good_as_the_anchors_say(check: Check, changes: dict[str, Any], status: str) -> None:
    report = check(voted(), **changes)
    assert report.decisions[-1]["status"] == status, report.decisions[-1]
    if status == INVALID:
        assert report.verdict == INVALID


def test_pages_that_trust_names_are_the_only_ones(check: Check) -> None:
    log = voted(own=passkey())
    assert check(log, origins=["https://gate.example"]).ok
    report = check(log, origins=["https://desk.gate.example"])
    assert report.claim("votes").verdict == INVALID
    assert "https://gate.example" in report.claim("votes").detail


def test_a_click_is_never_verified_but_a_pinned_policy_may_take_it(check: Check) -> None:
    log = Log(policy={**POLICY, "assurance": "H0"}).found()
    log.enrol()
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask, session=True),))
    report = check(log)
    assert report.decisions[-1]["status"] == CANNOT_TELL
    assert report.decisions[-1]["assurance"] == "H0"
    assert "H0" in report.decisions[-1]["why"][0]
    assert report.verdict == VALID


def test_a_denial_by_a_click_is_verified(check: Check) -> None:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.deny(ask, "DENIED", "reviewer-denied", (log.vote(ask, session=True, decision="deny"),))
    made = check(log).decisions[-1]
    assert (made["status"], made["verdict"], made["assurance"]) == (VERIFIED, "deny", "H0")


def test_single_human_is_said(check: Check) -> None:
    log = Log(policy={**POLICY, "single_human": True}).found()
    log.enrol(owner=RUI)
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    made = check(log).decisions[-1]
    assert made["single_human"] is True
    assert "single_human" in made["why"][0]


def in_advance(limit: str) -> Log:
    log, root, ask = model()
    grant = log.grant(ask, parameters={"amount": {"op": "at_most", "value": limit}, "payee": {"op": "any"}})
    log.deny(ask, "CANCELLED", "cancelled")
    log.allow(pay(log, root), grant=grant)
    return log


def test_parameters_are_held_against_the_grant_they_ran_on(check: Check) -> None:
    good = check(in_advance(PAYMENT["amount"]))
    assert good.ok, human(good)
    assert (good.decisions[-1]["by"], good.decisions[-1]["status"]) == ("grant", VERIFIED)
    beyond = check(in_advance("19.99"))
    assert beyond.claim("votes").verdict == INVALID
    assert beyond.decisions[-1]["status"] == INVALID


def test_where_parameters_are_erased_it_cannot_be_told_whether_a_grant_covered_them(check: Check) -> None:
    log = in_advance(PAYMENT["amount"])
    report = check(log, erased=len(log.openings))
    assert report.decisions[-1]["status"] == CANNOT_TELL
    assert any("approved in advance" in limit for limit in report.limits)


def test_a_decision_that_breaks_a_rule_is_listed_as_invalid(check: Check) -> None:
    log, root = standing()
    good = log.allow(log.ask(root))
    bad = log.allow(log.ask(root, "delete_file", risk="HIGH"))
    log.allow(log.ask(root))
    report = check(log)
    assert [(made["index"], made["status"]) for made in report.decisions] == [(good, VERIFIED), (bad, INVALID)]
    assert "rule 25" in report.decisions[-1]["why"][0]
    assert f"[BAD] entry {bad}" in human(report)


def test_an_approval_by_a_key_that_a_stolen_key_vouched_for_is_not_redeemed(check: Check) -> None:
    own = passkey()
    log, root = standing()
    log.enrol_key(ROSA, own)
    log.vouch(ROSA, own, RUI, PEOPLE_KEYS[RUI])
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask, ROSA, pair=own),))
    body = {"person": RUI, "fingerprint": builder.name_of(PEOPLE_KEYS[RUI]), "reason": "stolen", "stolen": True}
    log.add("person.key_revoked", RUI, by(ADA), {**body, "since": "2026-03-01T09:00:00.000Z"})
    log.redeem(ask)
    report = check(log)
    assert report.claim("history").verdict == INVALID
    assert "rule 31" in report.claim("history").detail
