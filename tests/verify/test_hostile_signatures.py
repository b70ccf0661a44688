"""An operator who holds the decision key and the log key, and wants to be believed about people who did nothing of it.

Every log here is signed and linked as it must be. What the operator cannot make are people's signatures: whatever a
bundle says of people beyond them, the verifier must refuse, or say that it cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import canonical, digests, trust
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import policy as policies
from imprimatur.verify import rulebook
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VERIFIED, Report
from tests.verify import builder
from tests.verify.builder import ADA, PAGE, PEOPLE_KEYS, POLICY, ROSA, RUI, Ask, Log, by, name_of, passkey
from tests.verify.reading import asked, broken, read
from tests.verify.test_decisions import in_advance, voted
from tests.verify.test_people_sign import PAYMENT, attestation, model, pay

Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Verify a bundle of a log, its files and its anchors changed as asked."""

    def run(log: Log, *, files: dict[str, bytes] | None = None, **anchors: Any) -> Report:
        path = tmp_path / "bundle.zip"
        made = builder.bundle_files(log) if files is None else files
        path.write_bytes(builder.zipped(builder.finished(made, log)))
        return verify_bundle(path, trust.parse(canonical.dumps({**builder.trust_document(log), **anchors})))

    return run


# --- fewer people than the pinned policy asks for --------------------------------------------------------------------

TWO: dict[str, Any] = {
    "name": "two",
    "tool": "delete_file",
    "risk": "HIGH",
    "stages": [{"role": "reviewer", "count": 2}],
}
LOW: dict[str, Any] = {"name": "reads", "tool": "read_file", "risk": "LOW"}


def under(*rules: dict[str, Any]) -> tuple[Log, str]:
    """A log under a policy with these rules and no others, and its root delegation."""
    log = Log(policy={**POLICY, "rules": list(rules)}).found()
    log.enrol()
    return log, log.root()


def test_invariant_3_a_request_asks_everybody_whom_its_rule_asks_for() -> None:
    log, root = under(TWO)
    log.request(log.ask(root, "delete_file", risk="HIGH"), rule="two")
    broken(log, rulebook.QUORUM, "fewer people than the rule")
    log, root = under(TWO)
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask, [{"role": "reviewer", "count": 2, "kind": "approve"}], rule="two")
    log.allow(ask, (log.vote(ask), log.vote(ask, ROSA)))
    read(log)


@pytest.mark.parametrize(
    ("tool", "risk", "rule", "broken_rule"),
    [
        ("delete_file", "HIGH", "nobody wrote it", rulebook.POLICY),
        ("delete_file", "HIGH", "reads", rulebook.POLICY),
        ("read_file", "LOW", "default", rulebook.RISK),
        ("read_file", "LOW", "two", rulebook.POLICY),
        ("read_file", "LOW", "careful", rulebook.RISK),
    ],
)
def test_a_verdict_names_a_rule_of_its_policy_that_fits_and_is_no_milder(
    tool: str, risk: str, rule: str, broken_rule: rulebook.Rule
) -> None:
    log, root = under(TWO, LOW, {"name": "careful", "action": "file:*", "risk": "HIGH"})
    ask = log.ask(root, tool, risk=risk)
    if risk == "LOW":
        log.allow(ask, rule=rule)
    else:
        log.request(ask, rule=rule)
    broken(log, broken_rule)


def test_a_denial_need_not_name_a_rule_of_the_policy() -> None:
    log, root = under(TWO)
    log.deny(log.ask(root), "REFUSED", "out-of-scope", rule="delegation")
    read(log)


# --- policies swapped between request and decision -------------------------------------------------------------------


def alone() -> dict[str, Any]:
    return {**POLICY, "name": "Alone", "single_human": True}


def swapped(first: dict[str, Any], then: dict[str, Any], *, named: str = "first") -> tuple[Log, Ask]:
    """Asked under one policy, decided after another came into force."""
    log = Log(policy=first).found()
    log.enrol()
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    digest = policies.digest(then)
    log.agreed(
        "policy.activated",
        digest,
        {"policy": digest, "number": 2, "document": then, "replaces": policies.digest(first)},
    )
    log.allow(ask, (log.vote(ask),), policy=digest if named == "then" else ask.body["policy"])
    return log, ask


def test_a_decision_is_under_the_policy_that_its_request_was_judged_by() -> None:
    log, _ = swapped(POLICY, {**POLICY, "name": "Another"}, named="then")
    broken(log, rulebook.POLICY)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (alone(), POLICY),
        (POLICY, {**POLICY, "assurance": "H3"}),
        (POLICY, {**POLICY, "device_bound": ["HIGH"]}),
    ],
    ids=["alone", "assurance", "device"],
)
def test_what_was_asked_under_a_milder_policy_is_not_approved_once_a_stricter_one_is_in_force(
    first: dict[str, Any], then: dict[str, Any]
) -> None:
    log, _ = swapped(first, then)
    broken(log, rulebook.POLICY)


def test_what_was_approved_under_a_milder_policy_does_not_run_once_a_stricter_one_is_in_force() -> None:
    log = Log(policy=alone()).found()
    log.enrol()
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    digest, before = policies.digest(POLICY), log.policy_digest
    document = {"policy": digest, "number": 2, "document": POLICY, "replaces": before}
    log.agreed("policy.activated", digest, document)
    log.redeem(ask)
    broken(log, rulebook.POLICY)


def test_a_grant_in_one_role_does_not_answer_where_the_rule_asks_for_another() -> None:
    stages = [{"role": "admin", "count": 1}]
    log = Log(policy={**POLICY, "rules": [{**TWO, "name": "admins", "tool": "make_payment", "stages": stages}]}).found()
    log.enrol()
    log, root, ask = model(log)
    grant = log.grant(ask)
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": ["reviewer"]})
    log.allow(pay(log, root), grant=grant, rule="admins")
    broken(log, rulebook.ELIGIBLE)


def test_a_vote_that_has_seen_another_log_is_not_verified(check: Check) -> None:
    log, ask = asked()
    log.allow(ask, (log.vote(ask, log_root=digests.sha256(b"another log")),))
    report = check(log)
    assert report.claim("statements").verdict == INVALID
    assert report.decisions[-1]["status"] == INVALID


def test_what_was_asked_under_a_policy_just_as_strict_is_still_approved() -> None:
    log, _ = swapped(POLICY, {**POLICY, "name": "Another"})
    read(log)


# --- keys that turn out to have been stolen --------------------------------------------------------------------------


def stolen_later(log: Log, person: str, own: builder.Signer, ago: timedelta) -> None:
    """It is written down, when all is done, that this key was stolen a while ago."""
    lost = {"person": person, "fingerprint": name_of(own), "reason": "stolen", "stolen": True}
    log.add("person.key_revoked", person, by(ADA), {**lost, "since": format_time(log.now - ago)})


def test_a_vote_by_a_key_that_was_stolen_by_then_is_not_verified(check: Check) -> None:
    log = voted(RUI)
    stolen_later(log, RUI, PEOPLE_KEYS[RUI], timedelta(seconds=10))
    report = check(log)
    assert report.decisions[-1]["status"] == CANNOT_TELL
    assert "revoked from before" in report.decisions[-1]["why"][0]
    assert report.claim("people").verdict == report.claim("votes").verdict == CANNOT_TELL
    log = voted(RUI)
    stolen_later(log, RUI, PEOPLE_KEYS[RUI], timedelta())
    assert check(log).decisions[-1]["status"] == VERIFIED


def ended(log: Log, person: str, to: str) -> list[dict[str, str]]:
    """The people of trust.json as it is written once this person's key has ended."""
    people: list[dict[str, str]] = builder.trust_document(log)["people"]
    return [{**one, "to": to} if one["person"] == person else one for one in people]


def test_a_vote_between_a_theft_and_its_revocation_is_no_lie_where_trust_json_ends_the_key_too(check: Check) -> None:
    log = voted(RUI)
    stolen_later(log, RUI, PEOPLE_KEYS[RUI], timedelta(seconds=10))
    report = check(log, people=ended(log, RUI, log.entries[-1]["body"]["since"]))
    assert report.decisions[-1]["status"] == CANNOT_TELL
    assert "revoked from before" in report.decisions[-1]["why"][0]
    for claim in ("people", "votes"):
        assert report.claim(claim).verdict == CANNOT_TELL
    assert report.verdict == CANNOT_TELL
    assert "revoked from before" in report.claim("people").detail


@pytest.mark.parametrize("ago", [None, timedelta()], ids=["never revoked", "revoked after it"])
def test_a_vote_after_the_end_of_its_key_is_invalid_where_the_log_says_nothing_of_that_end(
    check: Check, ago: timedelta | None
) -> None:
    log = voted(RUI)
    if ago is not None:
        stolen_later(log, RUI, PEOPLE_KEYS[RUI], ago)
    report = check(log, people=ended(log, RUI, format_time(log.now - timedelta(seconds=10))))
    assert report.decisions[-1]["status"] == INVALID
    assert report.claim("people").verdict == INVALID


def test_a_vote_by_a_key_that_a_stolen_key_vouched_for_is_not_verified(check: Check) -> None:
    own = passkey()
    log = voted(own=own)
    stolen_later(log, RUI, PEOPLE_KEYS[RUI], timedelta(seconds=10))
    report = check(log)
    assert report.decisions[-1]["status"] == CANNOT_TELL
    assert report.claim("people").verdict == CANNOT_TELL


def test_what_ran_on_a_grant_by_a_key_that_was_stolen_by_then_is_not_verified(check: Check) -> None:
    log = in_advance(PAYMENT["amount"])
    stolen_later(log, RUI, PEOPLE_KEYS[RUI], timedelta(seconds=10))
    assert check(log).decisions[-1]["status"] == CANNOT_TELL


def test_authority_from_a_key_that_was_stolen_by_then_is_not_shown(check: Check) -> None:
    log = voted(RUI)
    stolen_later(log, ADA, PEOPLE_KEYS[ADA], timedelta(minutes=10))
    assert check(log).claim("grants").verdict == CANNOT_TELL


# --- more said of people than they signed ----------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [{"assurance": "H2"}, {"key": "SHA256:" + "a" * 43}, {"assurance": "H1"}], ids=str)
def test_an_entry_that_nobody_signed_claims_no_more_than_a_click(claimed: dict[str, str]) -> None:
    log, _ = asked()
    actor = {**by(ADA), **claimed}
    log.add("person.login_reset", ROSA, actor, {"person": ROSA, "what": "password"})
    broken(log, rulebook.EVIDENCE)


def test_a_vote_under_conditions_is_no_vote() -> None:
    log, ask = asked()
    log.vote(ask, constraints={"only": "on Mondays"})
    broken(log, rulebook.STATEMENT)


@pytest.mark.parametrize("changes", [{"stage": 1}, {"role": "admin"}], ids=str)
def test_a_vote_signs_the_stage_and_the_role_that_it_counts_for(changes: dict[str, Any]) -> None:
    log, ask = asked()
    log.vote(ask, RUI, **changes)
    broken(log, rulebook.STATEMENT)


def test_what_was_looked_over_is_the_action_that_ran() -> None:
    def looked(**changes: Any) -> Log:
        log, root = builder.standing()
        ask = log.ask(root, risk="MEDIUM")
        log.allow(ask, at_once=True)
        raw = log.statement(ask, RUI, "acknowledge", **changes)
        body = {
            "request": ask.id,
            "verdict": "acknowledged",
            "statement": raw.decode(),
            "evidence": {"kind": "session"},
        }
        log.add("action.looked_over", ask.id, by(RUI), body)
        return log

    read(looked(display_digest=digests.sha256(b"shown")))
    other = {"display_digest": digests.sha256(b"shown"), "action_digest": digests.sha256(b"another")}
    broken(looked(**other), rulebook.STATEMENT)


def test_a_report_says_that_nobody_signed_what_tools_do(check: Check) -> None:
    assert any("tool registry" in limit for limit in check(voted()).limits)


def test_what_was_signed_on_another_page_is_not_verified(check: Check) -> None:
    log = voted(own=passkey())
    assert check(log, origins=[PAGE]).decisions[-1]["status"] == VERIFIED
    made = check(log, origins=["https://desk.gate.example"]).decisions[-1]
    assert made["status"] == INVALID
    assert PAGE in made["why"][0]


def test_where_openings_are_spoiled_nothing_is_said_to_be_within_a_grant(check: Check) -> None:
    log = in_advance(PAYMENT["amount"])
    files = builder.bundle_files(log)
    files["openings/openings.jsonl"] = b"{}\n"
    report = check(log, files=files)
    assert report.claim("openings").verdict == INVALID
    assert report.decisions[-1]["by"] == "grant"
    assert report.decisions[-1]["status"] == CANNOT_TELL


def test_time_running_out_is_nobodys_denial(check: Check) -> None:
    log, ask = asked("CRITICAL")
    vote = log.vote(ask)
    log.now += timedelta(hours=1)
    log.deny(ask, "EXPIRED", "approval-expired", (vote,))
    made = check(log).decisions[-1]
    assert made["verdict"] == "deny"
    assert not any("denied it" in why or "decides this" in why for why in made["why"])


def test_h3_is_not_verified_where_the_policy_asks_for_it(check: Check) -> None:
    own = passkey()
    log = Log(policy={**POLICY, "assurance": "H3"}).found()
    log.enrol()
    log.enrol_key(ROSA, own, attestation=attestation(own))
    log.vouch(ROSA, own, RUI, PEOPLE_KEYS[RUI])
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask, ROSA, pair=own, actor=by(ROSA, own.thumbprint, "H3")),))
    made = check(log).decisions[-1]
    assert (made["status"], made["assurance"]) == (CANNOT_TELL, "H3")
    assert "makers' roots" in made["why"][0]


# --- bundles that take for ever --------------------------------------------------------------------------------------


def test_after_a_denial_no_more_votes_are_taken() -> None:
    log, ask = asked()
    log.vote(ask, RUI, "deny", session=True)
    log.vote(ask, ROSA, "deny", session=True)
    broken(log, rulebook.STATE)


# --- what other people's tools are given -----------------------------------------------------------------------------


def signer_line(person: str, pair: Any, namespaces: str = "imprimatur-decision-v1", more: str = "") -> bytes:
    options = f'namespaces="{namespaces}",valid-after="20260301090000Z"{more}'
    return f"{person} {options} {builder.ssh_line(pair)}\n".encode()


@pytest.mark.parametrize(
    ("line", "good"),
    [
        (signer_line(RUI, PEOPLE_KEYS[RUI]), True),
        (signer_line(RUI, PEOPLE_KEYS[RUI], "imprimatur-decision-v1,imprimatur-delegation-v1"), True),
        (signer_line(ROSA, PEOPLE_KEYS[RUI]), False),
        (signer_line("*", PEOPLE_KEYS[RUI]), False),
        (signer_line(RUI, PEOPLE_KEYS[RUI], "imprimatur-decision-v1,git"), False),
        (signer_line(RUI, builder.key("operator")), False),
        (signer_line(ADA, PEOPLE_KEYS[ADA]), False),
        (signer_line(ADA, PEOPLE_KEYS[ADA], more=',valid-before="20270101000000Z"'), False),
        (signer_line(ADA, PEOPLE_KEYS[ADA], more=',valid-before="20260301090000Z"'), True),
    ],
    ids=[
        "own",
        "two purposes",
        "of somebody else",
        "of everybody",
        "any purpose",
        "of nobody",
        "revoked",
        "ends too late",
        "ends in time",
    ],
)
def test_allowed_signers_name_whose_key_it_is_for_what_and_until_when(check: Check, line: bytes, good: bool) -> None:
    log = voted(RUI)
    stolen_later(log, ADA, PEOPLE_KEYS[ADA], timedelta())
    files = {**builder.bundle_files(log), "trust/allowed_signers": line}
    assert (check(log, files=files).claim("copies").verdict != INVALID) == good


@pytest.mark.parametrize("name", ["votes/index.jsonl", "delegations/index.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{}\n"], ids=["empty", "something else"])
def test_lists_of_votes_and_delegations_say_what_the_entries_say(check: Check, name: str, content: bytes) -> None:
    log = voted(RUI)
    files = {**builder.bundle_files(log), name: content}
    assert check(log, files=files).claim("copies").verdict == INVALID
