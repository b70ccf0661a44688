from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from imprimatur.formats import canonical, digests, ids, note
from imprimatur.formats.timestamps import format_time
from imprimatur.verify import rulebook
from imprimatur.verify.history import History
from tests.verify import builder, test_people_sign, test_services
from tests.verify.builder import (
    ADA,
    AUDRA,
    CHILD,
    CONSOLE,
    DECISION_KEY,
    LOG_KEY,
    PEOPLE_KEYS,
    POLICY,
    READ,
    REALM,
    ROBO,
    ROSA,
    RUI,
    SYSTEM,
    Log,
    by,
    key,
    standing,
)
from tests.verify.reading import Breaking, Case, asked, broken, read

CASES: list[Case] = []


def case(rule: rulebook.Rule) -> Callable[[Breaking], Breaking]:
    def keep(make: Breaking) -> Breaking:
        CASES.append((rule, make.__name__, make))
        return make

    return keep


# --- form, signature, chain ---------------------------------------------------------------------------------------


@case(rulebook.ENVELOPE)
def envelope_with_a_space() -> Log:
    log, _ = standing()
    log.envelopes[-1] = log.envelopes[-1].replace(b'"payloadType"', b' "payloadType"')
    return log


@case(rulebook.ENVELOPE)
def envelope_of_something_else() -> Log:
    from imprimatur.formats import dsse

    log, _ = standing()
    log.envelopes[-1] = dsse.seal(b"{}", DECISION_KEY.sign, DECISION_KEY.keyid, "application/other")
    return log


@case(rulebook.SIGNATURE)
def signed_by_another_key() -> Log:
    log, _ = standing()
    log.envelopes[-1] = log.seal(canonical.dumps(log.entries[-1]), key("thief"))
    return log


@case(rulebook.SIGNATURE)
def genesis_signed_by_another_key() -> Log:
    log = Log()
    log.genesis()
    log.envelopes[0] = log.seal(canonical.dumps(log.entries[0]), key("thief"))
    return log


@case(rulebook.ENTRY)
def unknown_field_in_a_body() -> Log:
    log, root = standing()
    log.allow(log.ask(root), extra="field")
    return log


@case(rulebook.ENTRY)
def payload_not_canonical() -> Log:
    log, _ = standing()
    log.envelopes[-1] = log.seal(canonical.dumps(log.entries[-1]).replace(b'"v":1', b'"v": 1'))
    return log


@case(rulebook.ORDER)
def index_left_out() -> Log:
    log, _ = standing()
    log.add("pause.set", "x", by(ADA), _pause(), index=99)
    return log


@case(rulebook.CHAIN)
def previous_leaf_is_another() -> Log:
    log, _ = standing()
    log.add("pause.set", "x", by(ADA), _pause(), prev="ab" * 32)
    return log


@case(rulebook.REALM)
def entry_of_another_realm() -> Log:
    log, _ = standing()
    log.add("pause.set", "x", by(ADA), _pause(), realm="gate.example/staging")
    return log


@case(rulebook.TIME)
def time_runs_backwards() -> Log:
    log, _ = standing()
    log.add("pause.set", "x", by(ADA), _pause(), time="2026-02-01T00:00:00.000Z")
    return log


@case(rulebook.GENESIS)
def decision_key_has_another_id() -> Log:
    log = Log()
    log.genesis(decision_key={"keyid": "0" * 64, "public": builder.b64u(DECISION_KEY.public_key)})
    return log


@case(rulebook.GENESIS)
def log_key_is_the_decision_key() -> Log:
    from imprimatur.formats import note

    log = Log()
    log.genesis(log_vkey=note.Vkey(REALM, DECISION_KEY.public_key).format())
    return log


# --- people ---------------------------------------------------------------------------------------------------------


@case(rulebook.FOUNDING)
def first_people_are_others() -> Log:
    log = Log()
    log.genesis()
    for known in builder.PEOPLE[:3]:
        log.person(known)
    log.person_key(ADA, PEOPLE_KEYS[ADA])
    return log


@case(rulebook.FOUNDING)
def first_policy_is_another() -> Log:
    log = Log()
    log.genesis()
    for known in builder.PEOPLE:
        log.person(known)
    log.activate({**POLICY, "assurance": "H0"}, 1)
    return log


@case(rulebook.ACTOR)
def agent_adds_a_person() -> Log:
    log, _ = standing()
    log.person({"person": "pe_mallory", "name": "Mallory", "roles": ["reviewer"]}, builder.agent_actor(ROBO))
    return log


@case(rulebook.ACTOR)
def reviewer_without_the_role_registers_a_tool() -> Log:
    log, _ = standing()
    log.tool(builder.tool_document("other"), by(AUDRA))
    return log


@case(rulebook.ACTOR)
def server_registers_a_tool() -> Log:
    log, _ = standing()
    log.tool(builder.tool_document("other"), SYSTEM)
    return log


@case(rulebook.ACTOR)
def console_activates_a_policy() -> Log:
    log, _ = standing()
    log.activate({**POLICY, "name": "Other"}, 2, CONSOLE, replaces=log.policy_digest)
    return log


@case(rulebook.ACTOR)
def inactive_admin_acts() -> Log:
    log, _ = standing()
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "active": False})
    log.add("pause.set", "x", by(RUI), _pause())
    return log


@case(rulebook.PEOPLE)
def person_added_twice() -> Log:
    log, _ = standing()
    log.person(builder.PEOPLE[1], by(ADA))
    return log


@case(rulebook.PERSON_KEY)
def key_of_two_people() -> Log:
    log, _ = standing()
    log.person_key(ROSA, PEOPLE_KEYS[ADA], by(ADA))
    return log


@case(rulebook.PERSON_KEY)
def key_with_another_fingerprint() -> Log:
    log, _ = standing()
    body = {
        "person": ROSA,
        "key": builder.ssh_line(key("second")),
        "fingerprint": builder.fingerprint(key("third")),
        "purpose": "delegation",
    }
    log.add("person.key_added", ROSA, by(ADA), body)
    return log


# --- agents ---------------------------------------------------------------------------------------------------------


@case(rulebook.ENROLMENT)
def invitation_used_twice() -> Log:
    log, _ = standing()
    token = log.invite("other")
    log.enrol(key("one"), "other", token=token)
    log.enrol(key("two"), "other", token=token)
    return log


@case(rulebook.ENROLMENT)
def invitation_expired() -> Log:
    log, _ = standing()
    token = log.invite("other")
    log.now += timedelta(minutes=16)
    log.enrol(key("one"), "other", token=token)
    return log


@case(rulebook.ENROLMENT)
def agent_id_of_another_key() -> Log:
    log, _ = standing()
    log.enrol(key("one"), "other", agent=ids.agent_id(key("two").public_key))
    return log


@case(rulebook.AGENT_KEY)
def rotation_signed_by_the_new_key() -> Log:
    log, _ = standing()
    log.rotate(ROBO, key("robo 2"), signer=key("robo 2"))
    return log


@case(rulebook.AGENT_KEY)
def rotation_from_a_retired_key() -> Log:
    log, _ = standing()
    log.rotate(ROBO, key("robo 2"))
    log.rotate(ROBO, key("robo 3"))
    return log


# --- delegations ----------------------------------------------------------------------------------------------------


@case(rulebook.DELEGATION_SIGNATURE)
def delegation_signed_by_another_person() -> Log:
    log, _ = standing()
    log.issue(log.document(), PEOPLE_KEYS[RUI])
    return log


@case(rulebook.DELEGATION_SIGNATURE)
def delegation_signed_by_the_decision_key() -> Log:
    log, root = standing()
    log.enrol(CHILD, "child")
    log.issue(
        log.document(
            issuer=ids.agent_id(ROBO.public_key), subject=CHILD, parent=root, scope=["file:read:/project"], max_depth=1
        ),
        DECISION_KEY,
    )
    return log


@case(rulebook.DELEGATION_SIGNATURE)
def delegation_changed_after_signing() -> Log:
    from imprimatur.formats import delegation

    log, _ = standing()
    document = {**copy.deepcopy(log.entries[-1]["body"]["document"]), "scope": ["*"]}
    identifier = delegation.delegation_id(document)
    body = {**log.entries[-1]["body"], "document": document, "delegation": identifier}
    log.add("delegation.issued", identifier, log.entries[-1]["actor"], body)
    return log


@case(rulebook.DELEGATION_ISSUER)
def delegation_by_a_person_who_is_no_admin() -> Log:
    log, _ = standing()
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": ["reviewer"]})
    log.issue(log.document(issuer=RUI), PEOPLE_KEYS[RUI])
    return log


@case(rulebook.DELEGATION_ISSUER)
def delegation_to_nobody_known() -> Log:
    log, _ = standing()
    log.root(subject=key("stranger"))
    return log


@case(rulebook.DELEGATION_ISSUER)
def child_of_somebody_elses_parent() -> Log:
    log, root = standing()
    log.enrol(CHILD, "child")
    document = log.document(
        issuer=ids.agent_id(CHILD.public_key), subject=CHILD, parent=root, scope=["file:read:/project"], max_depth=1
    )
    log.issue(document, CHILD)
    return log


@case(rulebook.REVOCATION)
def delegation_revoked_twice() -> Log:
    log, root = standing()
    log.revoke(root)
    log.revoke(root)
    return log


@case(rulebook.REVOCATION)
def suspended_twice() -> Log:
    log, _ = standing()
    agent = ids.agent_id(ROBO.public_key)
    for _ in range(2):
        log.add("agent.suspended", agent, by(ADA), {"agent": agent, "reason": "strange"})
    return log


# --- tools, policy, pauses ------------------------------------------------------------------------------------------


@case(rulebook.TOOL)
def tool_under_another_digest() -> Log:
    log, _ = standing()
    log.tool(builder.tool_document("other"), digest=digests.sha256(b"x"))
    return log


@case(rulebook.TOOL)
def tool_replaced_in_silence() -> Log:
    log, _ = standing()
    log.tool({**READ, "title": "Something else"})
    return log


@case(rulebook.TOOL)
def request_for_another_version_of_the_tool() -> Log:
    log, root = standing()
    log.allow(log.ask(root, schema=digests.sha256(b"old")))
    return log


@case(rulebook.POLICY)
def policy_number_left_out() -> Log:
    log, _ = standing()
    log.activate({**POLICY, "name": "Other"}, 3, replaces=log.policy_digest)
    return log


@case(rulebook.POLICY)
def decided_under_another_policy() -> Log:
    log, root = standing()
    log.allow(log.ask(root), policy=digests.sha256(b"other"))
    return log


@case(rulebook.PAUSE)
def redeemed_while_everything_is_paused() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    log.add("pause.set", "everything", by(RUI), _pause())
    log.redeem(ask)
    return log


@case(rulebook.PAUSE)
def redeemed_at_once_while_the_tool_is_paused() -> Log:
    log, root = standing()
    log.add("pause.set", "read_file", by(RUI), {"scope": "tool", "target": "read_file", "reason": "strange"})
    log.allow(log.ask(root), at_once=True)
    return log


# --- requests -------------------------------------------------------------------------------------------------------


@case(rulebook.REQUEST)
def request_signed_by_another_agent() -> Log:
    log, root = standing()
    log.enrol(CHILD, "child")
    log.allow(log.ask(root, pair=CHILD, agent=ids.agent_id(ROBO.public_key)))
    return log


@case(rulebook.REQUEST)
def request_with_other_parameters_than_signed() -> Log:
    log, root = standing()
    ask, other = log.ask(root), log.ask(root, parameters={"path": "/project/secret"})
    ask.body["request"] = other.body["request"]
    log.allow(ask)
    return log


@case(rulebook.REQUEST)
def request_with_a_signature_that_does_not_hold() -> Log:
    log, root = standing()
    ask = log.ask(root)
    ask.body["request"]["content_digest"] = log.ask(root, parameters={"path": "/x"}).body["request"]["content_digest"]
    log.allow(ask)
    return log


@case(rulebook.REPLAY)
def same_signed_request_twice() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask, at_once=True)
    log.report(ask)
    log.allow(builder.Ask(log.new_id(), ask.body))
    return log


@case(rulebook.REPLAY)
def same_request_id_after_the_end() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask, at_once=True)
    log.report(ask)
    log.allow(log.ask(root, identifier=ask.id))
    return log


@case(rulebook.REPLAY)
def request_signed_long_ago() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.now += timedelta(hours=2)
    log.allow(builder.Ask(log.new_id(), ask.body))
    return log


@case(rulebook.AUTHORITY)
def allowed_outside_the_scope() -> Log:
    log, root = standing()
    log.allow(log.ask(root, parameters={"path": "/etc/passwd"}))
    return log


@case(rulebook.AUTHORITY)
def allowed_after_the_delegation_was_revoked() -> Log:
    log, root = standing()
    log.revoke(root)
    log.allow(log.ask(root))
    return log


@case(rulebook.AUTHORITY)
def allowed_after_the_parent_was_revoked() -> Log:
    log, root = standing()
    log.enrol(CHILD, "child")
    child = log.child_of(root)
    log.revoke(root)
    log.allow(log.ask(child, pair=CHILD))
    return log


@case(rulebook.AUTHORITY)
def allowed_after_the_delegation_expired() -> Log:
    log, root = standing()
    log.now += timedelta(days=31)
    log.allow(log.ask(root))
    return log


@case(rulebook.AUTHORITY)
def redeemed_after_the_agent_was_suspended() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    agent = ids.agent_id(ROBO.public_key)
    log.add("agent.suspended", agent, by(ADA), {"agent": agent, "reason": "strange"})
    log.redeem(ask)
    return log


@case(rulebook.AUTHORITY)
def redeemed_after_the_key_was_revoked() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    agent = ids.agent_id(ROBO.public_key)
    body = {"agent": agent, "thumbprint": ROBO.thumbprint, "since": format_time(log.now), "reason": "lost"}
    log.add("agent.key_revoked", agent, by(ADA), body)
    log.redeem(ask)
    return log


@case(rulebook.AUTHORITY)
def allowed_on_a_delegation_signed_with_a_key_revoked_from_before() -> Log:
    log, root = standing()
    body = {
        "person": ADA,
        "fingerprint": builder.fingerprint(PEOPLE_KEYS[ADA]),
        "since": "2026-03-01T00:00:00.000Z",
        "reason": "stolen",
    }
    log.add("person.key_revoked", ADA, by(ADA), body)
    log.allow(log.ask(root))
    return log


@case(rulebook.AUTHORITY)
def another_agents_delegation() -> Log:
    log, root = standing()
    log.enrol(CHILD, "child")
    log.allow(log.ask(root, pair=CHILD))
    return log


@case(rulebook.RISK)
def destructive_approved_as_low() -> Log:
    log, root = standing()
    log.allow(log.ask(root, "delete_file", risk="LOW"))
    return log


@case(rulebook.RISK)
def high_approved_without_asking() -> Log:
    log, root = standing()
    log.allow(log.ask(root, risk="HIGH"))
    return log


@case(rulebook.RISK)
def unknown_tool_approved_as_medium() -> Log:
    log, root = standing()
    log.allow(log.ask(root, "mystery", schema=None, risk="MEDIUM"))
    return log


@case(rulebook.RISK)
def irreversible_called_reversible() -> Log:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    ask.body["reversibility"] = "reversible"
    log.request(ask)
    return log


@case(rulebook.STATE)
def approved_after_denial_of_the_same_request() -> Log:
    log, ask = asked()
    log.deny(ask, "CANCELLED", "cancelled")
    log.redeem(ask)
    return log


@case(rulebook.STATE)
def redeemed_before_a_decision() -> Log:
    log, ask = asked()
    log.redeem(ask)
    return log


@case(rulebook.STATE)
def redeemed_after_its_vote_was_recalled() -> Log:
    log, ask = asked()
    vote = log.vote(ask)
    log.allow(ask, (vote,))
    log.add("vote.recalled", ask.id, by(RUI), {"request": ask.id, "vote": vote})
    log.redeem(ask)
    return log


@case(rulebook.SAME_ACTION)
def decision_about_other_parameters() -> Log:
    log, ask = asked()
    vote = log.vote(ask)
    other = log.ask(ask.body["binding"]["delegation"], "delete_file", {"path": "/project/other"}, risk="HIGH")
    log.allow(builder.Ask(ask.id, other.body), (vote,))
    return log


@case(rulebook.SAME_ACTION)
def redemption_of_another_digest() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    log.redeem(ask, action_digest=digests.sha256(b"other"))
    return log


@case(rulebook.WINDOW)
def approved_after_the_time_to_answer() -> Log:
    log, ask = asked()
    vote = log.vote(ask)
    log.now += timedelta(minutes=6)
    log.allow(ask, (vote,))
    return log


@case(rulebook.WINDOW)
def redeemed_after_not_after() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    log.now += timedelta(minutes=6)
    log.redeem(ask)
    return log


@case(rulebook.REDEEM_ONCE)
def redeemed_twice() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    log.redeem(ask)
    log.redeem(ask)
    return log


@case(rulebook.REDEEM_ONCE)
def redeemed_again_after_the_report() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask, at_once=True)
    log.report(ask)
    log.redeem(ask)
    return log


@case(rulebook.OUTCOME)
def reported_without_redemption() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask)
    log.report(ask)
    return log


@case(rulebook.OUTCOME)
def late_and_not_called_late() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask, at_once=True)
    log.report(ask, "UNREPORTED")
    log.report(ask, "SUCCEEDED")
    return log


@case(rulebook.CASCADE)
def sweep_without_a_cause() -> Log:
    log, _ = standing()
    log.add("cascade.swept", "entry:1", SYSTEM, {"cause": 1, "ids": ["act_1"]})
    return log


@case(rulebook.CASCADE)
def sweep_with_a_wrong_total() -> Log:
    log, root = standing()
    cause = log.revoke(root)
    log.add("cascade.finished", f"entry:{cause}", SYSTEM, {"cause": cause, "total": 3})
    return log


@case(rulebook.REFERENCE)
def decision_naming_a_vote_that_does_not_stand() -> Log:
    log, ask = asked()
    log.vote(ask)
    log.allow(ask, (0,))
    return log


# --- votes ----------------------------------------------------------------------------------------------------------


@case(rulebook.STATEMENT)
def vote_on_another_version_of_the_action() -> Log:
    log, ask = asked()
    log.vote(ask, action_digest=digests.sha256(b"other"))
    return log


@case(rulebook.STATEMENT)
def vote_on_another_display() -> Log:
    log, ask = asked()
    log.vote(ask, display_digest=digests.sha256(b"something nicer"))
    return log


@case(rulebook.STATEMENT)
def vote_for_another_request() -> Log:
    log, ask = asked()
    other = log.ask(ask.body["binding"]["delegation"], "delete_file", risk="HIGH")
    log.request(other)
    log.vote(ask, raw=log.statement(other, RUI))
    return log


@case(rulebook.STATEMENT)
def vote_with_an_old_statement() -> Log:
    log, ask = asked()
    raw = log.statement(ask, RUI)
    log.now += timedelta(seconds=130)
    log.vote(ask, raw=raw)
    return log


@case(rulebook.STATEMENT)
def confirmation_that_names_no_vote() -> Log:
    log, ask = asked("CRITICAL")
    log.vote(ask)
    log.vote(ask, ROSA, "confirm", 1)
    return log


@case(rulebook.EVIDENCE)
def vote_signed_by_somebody_else() -> Log:
    log, ask = asked()
    log.vote(ask, RUI, pair=PEOPLE_KEYS[ROSA])
    return log


@case(rulebook.EVIDENCE)
def click_where_a_key_is_needed() -> Log:
    log, ask = asked()
    log.vote(ask, session=True)
    return log


@case(rulebook.EVIDENCE)
def click_that_claims_to_be_more() -> Log:
    log, ask = asked()
    log.vote(ask, evidence={"kind": "session"}, actor=by(RUI, assurance="H2"))
    return log


@case(rulebook.EVIDENCE)
def signature_made_for_a_delegation() -> Log:
    from imprimatur.formats import delegation, sshsig

    log, ask = asked()
    pair = PEOPLE_KEYS[RUI]
    raw = log.statement(ask, RUI, credential=builder.name_of(pair))
    value = sshsig.sign(pair, raw, delegation.SSH_NAMESPACE)
    log.vote(ask, raw=raw, evidence={"kind": "ssh", "key": builder.fingerprint(pair), "value": value})
    return log


@case(rulebook.ELIGIBLE)
def owner_of_the_agent_votes() -> Log:
    log = Log().found()
    log.enrol(owner=RUI)
    root = log.root()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.vote(ask, RUI)
    return log


@case(rulebook.ELIGIBLE)
def beneficiary_votes() -> Log:
    log = Log().found()
    log.enrol()
    root = log.root(on_behalf_of=RUI)
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.vote(ask, RUI, on_behalf_of=RUI)
    return log


@case(rulebook.ELIGIBLE)
def auditor_votes() -> Log:
    log, ask = asked()
    log.vote(ask, AUDRA, "deny", session=True)
    return log


@case(rulebook.ELIGIBLE)
def approver_confirms() -> Log:
    log, ask = asked("CRITICAL")
    first = log.vote(ask)
    log.confirm(ask, first, RUI)
    return log


@case(rulebook.QUORUM)
def approved_without_a_vote() -> Log:
    log, ask = asked()
    log.allow(ask)
    return log


@case(rulebook.QUORUM)
def critical_approved_without_confirmation() -> Log:
    log, ask = asked("CRITICAL")
    log.allow(ask, (log.vote(ask),))
    return log


@case(rulebook.QUORUM)
def approved_against_a_denial() -> Log:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask, [{"role": "reviewer", "count": 1, "kind": "approve"}])
    vote = log.vote(ask)
    log.vote(ask, ROSA, "deny", session=True)
    log.allow(ask, (vote,))
    return log


@case(rulebook.STATE)
def vote_after_every_stage_has_its_votes() -> Log:
    log, ask = asked()
    log.vote(ask)
    log.vote(ask, ROSA, stage=1)
    return log


@case(rulebook.QUORUM)
def approval_that_names_a_denial_of_no_stage() -> Log:
    log, ask = asked()
    vote = log.vote(ask, ROSA, "deny", stage=9, session=True)
    log.allow(ask, (vote,))
    return log


@case(rulebook.TOOL)
def tool_whose_schema_is_no_schema() -> Log:
    log, _ = standing()
    log.tool(builder.tool_document("other", schema="anything"))
    return log


@case(rulebook.QUORUM)
def critical_that_asks_only_for_approval() -> Log:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="CRITICAL")
    log.request(ask, [{"role": "reviewer", "count": 1, "kind": "approve"}])
    return log


@case(rulebook.GRANT)
def approval_by_a_grant_nobody_signed() -> Log:
    log, root = standing()
    log.allow(log.ask(root, "delete_file", risk="HIGH"), grant=digests.sha256(b"grant"))
    return log


# --- money ----------------------------------------------------------------------------------------------------------


@case(rulebook.SPEND)
def two_requests_pass_the_limit_together() -> Log:
    log, root = standing()
    for _ in range(2):
        log.request(log.ask(root, "make_payment", {"payee": "ACME"}, risk="HIGH", cost="60.00"))
    return log


@case(rulebook.SPEND)
def correction_beyond_what_was_spent() -> Log:
    log, root = standing()
    body = {"delegation": root, "amount": "1.00", "unit": "USD", "reason": "refund"}
    log.add("spend.corrected", root, by(ADA), body)
    return log


@case(rulebook.NARROWING)
def child_of_an_expired_parent() -> Log:
    log, root = standing()
    log.enrol(CHILD, "child")
    log.now += timedelta(days=31)
    log.child_of(root, not_after=format_time(log.now + timedelta(days=1)))
    return log


# --- the log's own keys, legal holds --------------------------------------------------------------------------------


@case(rulebook.LOG_KEY)
def decision_key_that_nobody_holds() -> Log:
    log, _ = standing()
    log.change_decision_key(key("decision 2"), signer=key("thief"))
    return log


@case(rulebook.LOG_KEY)
def decision_key_taken_up_again() -> Log:
    log, _ = standing()
    log.change_decision_key(key("decision 2"))
    log.change_decision_key(DECISION_KEY)
    return log


@case(rulebook.LOG_KEY)
def decision_key_that_signs_checkpoints() -> Log:
    log, _ = standing()
    log.change_decision_key(LOG_KEY)
    return log


@case(rulebook.SIGNATURE)
def entry_by_the_decision_key_before() -> Log:
    log, _ = standing()
    log.change_decision_key(key("decision 2"))
    log.decision_key = DECISION_KEY
    log.add("pause.set", "everything", by(ADA), _pause())
    return log


@case(rulebook.LOG_KEY)
def last_log_key_retired() -> Log:
    log, _ = standing()
    log.add("log.key_retired", REALM, CONSOLE, {"log_vkey": log.log_vkey, "reason": "old"})
    return log


@case(rulebook.LOG_KEY)
def log_key_that_signs_entries() -> Log:
    log, _ = standing()
    vkey = note.Vkey(REALM, DECISION_KEY.public_key).format()
    log.add("log.key_added", REALM, CONSOLE, {"log_vkey": vkey, "reason": "new"})
    return log


@case(rulebook.ACTOR)
def decision_key_changed_by_the_server_itself() -> Log:
    log, _ = standing()
    log.change_decision_key(key("decision 2"), actor=SYSTEM)
    return log


def hold(scope: str, target: str) -> dict[str, str]:
    return {"hold": f"hld_{'0' * 26}", "scope": scope, "target": target, "reason": "case 12"}


def erasure(request: str, **changes: Any) -> dict[str, Any]:
    agent, before = ids.agent_id(ROBO.public_key), "2026-01-01T00:00:00.000Z"
    body = {"rule": "retention", "agent": agent, "subjects": [request], "count": 1, "reason": "old", "before": before}
    return {**body, **changes}


def ended() -> tuple[Log, str]:
    """A log in which one request has ended."""
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.deny(ask)
    return log, ask.id


@case(rulebook.HOLD)
def erasure_of_a_held_request() -> Log:
    log, request = ended()
    log.add("hold.placed", request, by(ADA), hold("request", request))
    log.add("openings.erased", ids.agent_id(ROBO.public_key), SYSTEM, erasure(request))
    return log


@case(rulebook.HOLD)
def erasure_of_what_still_waits() -> Log:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.add("openings.erased", ids.agent_id(ROBO.public_key), SYSTEM, erasure(ask.id))
    return log


@case(rulebook.HOLD)
def erasure_of_what_runs() -> Log:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask, at_once=True)
    log.add("openings.erased", ids.agent_id(ROBO.public_key), SYSTEM, erasure(ask.id))
    return log


@case(rulebook.HOLD)
def hold_lifted_twice() -> Log:
    log, request = ended()
    log.add("hold.placed", request, by(ADA), hold("everything", ""))
    for _ in range(2):
        log.add("hold.lifted", request, by(ADA), {"hold": f"hld_{'0' * 26}", "reason": "closed"})
    return log


@case(rulebook.ACTOR)
def hold_lifted_by_an_auditor() -> Log:
    log, request = ended()
    log.add("hold.placed", request, by(ADA), hold("everything", ""))
    log.add("hold.lifted", request, by(AUDRA), {"hold": f"hld_{'0' * 26}", "reason": "closed"})
    return log


def test_keys_of_the_log_change_and_what_is_free_is_erased() -> None:
    log, request = ended()
    log.change_decision_key(key("decision 2"))
    added = note.Vkey(REALM, key("log 2").public_key).format()
    log.add("log.key_added", REALM, CONSOLE, {"log_vkey": added, "reason": "new"})
    log.add("log.key_retired", REALM, CONSOLE, {"log_vkey": log.log_vkey, "reason": "old"})
    log.add("hold.placed", request, by(ADA), hold("request", request))
    log.add("hold.lifted", request, by(ADA), {"hold": f"hld_{'0' * 26}", "reason": "closed"})
    log.add("openings.erased", ids.agent_id(ROBO.public_key), SYSTEM, erasure(request))
    history = read(log)
    assert history.decision_key == key("decision 2").public_key
    assert history.facts.log_vkeys == [added]
    assert History.restore(history.snapshot()).decision_key == history.decision_key


def test_what_was_never_reported_is_erased_and_may_still_be_reported_late() -> None:
    log, root = standing()
    ask = log.ask(root)
    log.allow(ask, at_once=True)
    log.report(ask, "UNREPORTED")
    log.add("openings.erased", ids.agent_id(ROBO.public_key), SYSTEM, erasure(ask.id))
    log.report(ask, "SUCCEEDED", late=True)
    read(log)


def _pause() -> dict[str, str]:
    return {"scope": "everything", "target": "", "reason": "strange"}


@pytest.mark.parametrize(("rule", "name", "make"), CASES, ids=[name for _, name, _ in CASES])
def test_a_history_with_this_fault_is_refused(rule: rulebook.Rule, name: str, make: Breaking) -> None:
    broken(make(), rule)


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _, _ in (*CASES, *test_people_sign.CASES, *test_services.CASES)} == set(rulebook.RULES)


def test_rules_are_numbered_without_gaps_and_named_once() -> None:
    assert [rule.number for rule in rulebook.RULES] == list(range(1, len(rulebook.RULES) + 1))
    assert len({rule.name for rule in rulebook.RULES}) == len(rulebook.RULES)


def test_a_history_in_which_all_goes_well_is_accepted() -> None:
    log = builder.whole_story()
    history = read(log)
    assert history.size == len(log.envelopes)
    totals = history.facts.totals
    assert (totals.allowed, totals.by_people, totals.by_grants) == (7, 3, 1)
    assert (totals.by_two, totals.first_keys, totals.vouched_by_console) == (2, 2, 0)


def test_what_has_ended_is_not_remembered() -> None:
    log, root = standing()
    for _ in range(200):
        ask = log.ask(root)
        log.allow(ask, at_once=True)
        log.report(ask)
        log.now += timedelta(minutes=1)
    history = read(log)
    log.now += timedelta(hours=12)
    while len(log.envelopes) % 512:
        log.add(
            "door.rejected", "x", SYSTEM, {"key": "unknown", "minute": format_time(log.now), "codes": {"digest": 1}}
        )
    for index in range(history.size, len(log.envelopes)):
        history.feed(index, log.envelopes[index])
    facts = history.facts
    assert not facts.requests and not facts.finished and not facts.signatures


def test_a_snapshot_goes_on_exactly_where_it_was_taken() -> None:
    log = builder.whole_story()
    whole = read(log)
    for cut in range(1, len(log.envelopes)):
        history = History(REALM)
        for index in range(cut):
            history.feed(index, log.envelopes[index])
        snapshot = canonical.loads(canonical.dumps(history.snapshot()))
        resumed = History.restore(snapshot, REALM, [DECISION_KEY.public_key])
        for index in range(cut, len(log.envelopes)):
            resumed.feed(index, log.envelopes[index])
        assert resumed.snapshot() == whole.snapshot()
        assert resumed.root() == whole.root()


def test_a_snapshot_of_another_realm_or_key_is_refused() -> None:
    snapshot = read(builder.whole_story()).snapshot()
    with pytest.raises(ValueError, match="realm"):
        History.restore(snapshot, "elsewhere")
    with pytest.raises(ValueError, match="key"):
        History.restore(snapshot, REALM, [key("other").public_key])
    with pytest.raises(ValueError, match="not a snapshot"):
        History.restore({**snapshot, "facts": {}})


def test_a_log_under_another_decision_key_than_the_pinned_one_is_refused() -> None:
    log = Log()
    log.genesis()
    broken(log, rulebook.GENESIS, decision_keys=[key("other").public_key])


def test_an_overrun_that_was_reported_is_recorded_and_blocks_what_follows() -> None:
    log, root = standing()
    effects = [{"action": "llm:call", "resource": "m"}]
    first = log.ask(root, "call_model", {"path": "m"}, risk="MEDIUM", cost="10.00", effects=effects)
    log.allow(first, at_once=True)
    log.report(first, cost={"amount": "100.00", "unit": "USD"})
    read(log)
    log.allow(log.ask(root, "call_model", {"path": "m"}, risk="MEDIUM", cost="0.01", effects=effects))
    broken(log, rulebook.SPEND)


def test_failure_releases_no_money() -> None:
    log, root = standing()
    first = log.ask(root, "make_payment", {"payee": "ACME"}, risk="HIGH", cost="60.00")
    log.request(first)
    log.allow(first, (log.vote(first),))
    log.redeem(first)
    log.report(first, "FAILED")
    log.request(log.ask(root, "make_payment", {"payee": "ACME"}, risk="HIGH", cost="60.00"))
    broken(log, rulebook.SPEND)


def test_a_request_that_ends_gives_its_money_back() -> None:
    log, root = standing()
    first = log.ask(root, "make_payment", {"payee": "ACME"}, risk="HIGH", cost="60.00")
    log.request(first)
    log.deny(first, "EXPIRED", "approval-expired")
    log.request(log.ask(root, "make_payment", {"payee": "ACME"}, risk="HIGH", cost="60.00"))
    read(log)


# --- invariants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [0, 1, 2])
def test_invariant_3_fewer_people_than_required_never_approve(people: int) -> None:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask, [{"role": "admin", "count": 3, "kind": "approve"}])
    votes = tuple(log.vote(ask, person, role="admin") for person in (RUI, ROSA)[:people])
    log.allow(ask, votes)
    broken(log, rulebook.QUORUM)


def test_invariant_3_one_person_with_two_keys_is_one_person() -> None:
    log, root = standing()
    second = key("rui 2")
    log.holder(RUI, second)
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask, [{"role": "reviewer", "count": 2, "kind": "approve"}])
    log.vote(ask, RUI)
    log.vote(ask, RUI, pair=second)
    broken(log, rulebook.ELIGIBLE)


def test_invariant_3_one_vote_named_twice_counts_once() -> None:
    log, root = standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask, [{"role": "reviewer", "count": 2, "kind": "approve"}])
    vote = log.vote(ask, RUI)
    log.allow(ask, (vote, vote))
    broken(log, rulebook.ENTRY)


def test_invariant_3_a_vote_of_somebody_who_lost_the_role_does_not_count() -> None:
    log, ask = asked()
    vote = log.vote(ask)
    log.add("person.changed", RUI, by(ADA), {"person": RUI, "roles": ["admin"]})
    log.allow(ask, (vote,))
    broken(log, rulebook.ELIGIBLE)


def test_invariant_3_a_policy_with_one_human_is_obeyed_and_counted() -> None:
    log = Log(policy={**POLICY, "single_human": True}).found()
    log.enrol(owner=RUI)
    ask = log.ask(log.root(), "delete_file", risk="CRITICAL")
    log.request(ask)
    first = log.vote(ask)
    log.allow(ask, (first, log.confirm(ask, first, RUI)))
    assert read(log).facts.totals.single_human == 1


@pytest.mark.parametrize(
    "wider",
    [
        {"scope": ["file:read:/"]},
        {"scope": ["*"]},
        {"scope": ["file:read:/project/src"], "constraints": {"paths": ["/"]}},
        {"constraints": {"domains": ["example.org"]}},
        {"constraints": {"max_file_size": 2000}},
        {"constraints": {"tools": ["delete_file"]}},
        {"spend": {"unit": "USD", "limit": "100.01"}},
        {"spend": {"unit": "EUR", "limit": "1.00"}},
        {"spend": {"unit": "USD", "limit": "1.00", "per_action": "11.00"}},
        {"not_before": "2026-01-01T00:00:00.000Z"},
        {"not_after": "2027-01-01T00:00:00.000Z"},
        {"max_depth": 2},
        {"on_behalf_of": ROSA},
    ],
    ids="-".join,
)
def test_invariant_5_a_child_that_exceeds_its_parent_is_refused(wider: dict[str, Any]) -> None:
    log = Log().found()
    log.enrol()
    log.enrol(CHILD, "child")
    root = log.root(
        constraints={
            "paths": ["/project"],
            "domains": ["example.com"],
            "max_file_size": 1000,
            "tools": ["read_file"],
        },
        spend={"unit": "USD", "limit": "100.00", "per_action": "10.00"},
    )
    log.child_of(root)
    read(log)
    log.child_of(root, **wider)
    broken(log, rulebook.NARROWING)


def test_invariant_5_the_limit_of_an_ancestor_holds_for_all_its_children_together() -> None:
    log = Log().found()
    log.enrol()
    log.enrol(CHILD, "child")
    root = log.root()
    spend = {"unit": "USD", "limit": "60.00"}
    children = [log.child_of(root, scope=["payment:send"], spend=spend) for _ in range(2)]
    first, second = (
        log.ask(child, "make_payment", {"payee": "ACME"}, pair=CHILD, risk="HIGH", cost="60.00") for child in children
    )
    log.request(first)
    read(log)
    log.request(second)
    broken(log, rulebook.SPEND)


def test_invariant_5_an_agent_without_a_parent_issues_nothing() -> None:
    log, _ = standing()
    log.enrol(CHILD, "child")
    with pytest.raises(ValueError, match="parent"):
        log.issue(log.document(issuer=ids.agent_id(ROBO.public_key), subject=CHILD), ROBO)


def test_invariant_12_an_action_of_another_realm_does_not_count() -> None:
    log, root = standing()
    log.allow(log.ask(root, realm="gate.example/staging"))
    broken(log, rulebook.ENTRY)


def test_invariant_12_a_delegation_of_another_realm_does_not_count() -> None:
    log, _ = standing()
    log.root(realm="gate.example/staging")
    broken(log, rulebook.REALM)


def test_invariant_12_a_vote_for_another_realm_does_not_count() -> None:
    log, ask = asked()
    log.vote(ask, realm="gate.example/staging")
    broken(log, rulebook.REALM)


def test_invariant_12_a_rotation_signed_for_another_realm_does_not_count() -> None:
    log, _ = standing()
    log.realm, here = "gate.example/staging", log.realm
    log.rotate(ROBO, key("robo 2"))
    body = log.entries.pop()["body"]
    log.envelopes.pop()
    log.realm = here
    log.add("agent.key_rotated", body["agent"], builder.agent_actor(ROBO), body)
    broken(log, rulebook.AGENT_KEY)


def test_invariant_12_a_log_of_another_realm_than_the_pinned_one_is_refused() -> None:
    log = Log(realm="gate.example/staging")
    log.genesis()
    broken(log, rulebook.REALM)


def test_invariant_12_a_whole_entry_lifted_from_another_log_is_refused() -> None:
    log, _ = standing()
    other = Log(realm="gate.example/staging").found()
    log.envelopes.append(other.envelopes[5])
    broken(log, rulebook.ORDER)
