"""What services sign: who may, in which order, and what of it is computed again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from imprimatur.formats import attestation, canonical, ids
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import configuration, drift, tools
from imprimatur.verify import rulebook
from imprimatur.verify.history import History
from tests.verify import builder
from tests.verify.builder import (
    ADA,
    CHILD,
    INODES,
    PEOPLE_KEYS,
    REALM,
    ROBO,
    ROSA,
    RUI,
    SERVICE_KEYS,
    SYSTEM,
    Log,
    by,
    service_actor,
    standing,
)
from tests.verify.reading import Breaking, Case, broken, read

CASES: list[Case] = []

AGENT = ids.agent_id(ROBO.public_key)
DRIFT = {"type": "system", "id": "drift"}
CANARY = {"type": "system", "id": "canary"}
EVERYTHING = {"scope": "everything", "target": "", "reason": "a canary got through"}


def case(rule: rulebook.Rule) -> Callable[[Breaking], Breaking]:
    def keep(make: Breaking) -> Breaking:
        CASES.append((rule, make.__name__, make))
        return make

    return keep


def running() -> Log:
    """A log with an agent under a delegation, and a service of each role."""
    return standing()[0].services()


# --- for which realm ------------------------------------------------------------------------------------------------


@case(rulebook.REALM)
def launch_attested_for_another_realm() -> Log:
    log = running()
    log.launch(realm="elsewhere.example")
    return log


@case(rulebook.REALM)
def observation_made_in_another_realm() -> Log:
    log = running()
    log.observe(log.launch(), realm="elsewhere.example")
    return log


@case(rulebook.REALM)
def canaries_that_ran_in_another_realm() -> Log:
    log = running()
    log.canaries(realm="elsewhere.example")
    return log


# --- who they are ---------------------------------------------------------------------------------------------------


@case(rulebook.SERVICE)
def service_with_an_agents_key() -> Log:
    log, _ = standing()
    log.service(attestation.MONITOR, ROBO)
    return log


@case(rulebook.SERVICE)
def service_with_a_persons_key() -> Log:
    log, _ = standing()
    log.service(attestation.MONITOR, PEOPLE_KEYS[RUI])
    return log


@case(rulebook.SERVICE)
def monitor_with_canaries() -> Log:
    log, _ = standing()
    log.service(attestation.MONITOR, agents=[AGENT])
    return log


@case(rulebook.SERVICE)
def canaries_that_nobody_enrolled() -> Log:
    log, _ = standing()
    log.service(attestation.CANARIES, agents=[ids.agent_id(SERVICE_KEYS[attestation.MONITOR].public_key)])
    return log


@case(rulebook.RESPONSE)
def paused_over_a_canary_that_got_no_answer() -> Log:
    log = running()
    log.respond(canary="pause")
    red = log.canaries(answers={"out-of-scope": (503, "busy")})
    log.add("pause.set", "everything", CANARY, EVERYTHING, refs=(("canary", red),))
    return log


@case(rulebook.ENROLMENT)
def agent_with_a_services_key() -> Log:
    log = running()
    log.enrol(SERVICE_KEYS[attestation.MONITOR], "other")
    return log


@case(rulebook.AGENT_KEY)
def agent_that_takes_up_a_services_key() -> Log:
    log = running()
    log.rotate(ROBO, SERVICE_KEYS[attestation.CANARIES])
    return log


@case(rulebook.PERSON_KEY)
def person_with_a_services_key() -> Log:
    log = running()
    log.enrol_key(ADA, SERVICE_KEYS[attestation.ORCHESTRATOR])
    return log


@case(rulebook.ACTOR)
def service_registered_by_the_server() -> Log:
    log, _ = standing()
    log.service(attestation.MONITOR, actor=SYSTEM)
    return log


@case(rulebook.ACTOR)
def service_that_pauses() -> Log:
    log = running()
    log.add("pause.set", "everything", service_actor(attestation.MONITOR), EVERYTHING)
    return log


@case(rulebook.ACTOR)
def service_that_runs_a_tool_with_its_key() -> Log:
    log = running()
    name = SERVICE_KEYS[attestation.MONITOR].thumbprint
    document = builder.tool_document("serve", executor=name)
    digest = tools.digest(document)
    log.agreed("tool.registered", "serve", {"tool": "serve", "document": document, "digest": digest})
    ask = log.ask(next(iter(log.delegations)), "serve", schema=digest)
    log.allow(ask)
    body = {"request": ask.id, "action_digest": ask.digest, "attempt": "sha256:" + "ab" * 32}
    body["execute_by"] = format_time(log.now + timedelta(seconds=30))
    log.add("action.redeemed", ask.id, {"type": "service", "id": name, "key": name}, body)
    return log


@case(rulebook.SERVICE)
def retired_service_attests() -> Log:
    log = running()
    log.retire(attestation.ORCHESTRATOR)
    log.launch()
    return log


# --- launches -------------------------------------------------------------------------------------------------------


@case(rulebook.LAUNCH)
def launch_attested_twice() -> Log:
    log = running()
    log.launch(launch=log.launch())
    return log


@case(rulebook.LAUNCH)
def launch_entered_for_another_agent() -> Log:
    log = running()
    log.enrol(CHILD, "child")
    log.launch(body={"agent": ids.agent_id(CHILD.public_key)})
    return log


@case(rulebook.ACTOR)
def launch_ended_by_a_person() -> Log:
    log = running()
    log.end_launch(log.launch(), actor=by(ADA))
    return log


@case(rulebook.ACTOR)
def launch_that_the_server_says_exited() -> Log:
    log = running()
    log.end_launch(log.launch(), actor=SYSTEM)
    return log


@case(rulebook.SERVICE)
def launch_ended_by_a_retired_orchestrator() -> Log:
    log = running()
    launch = log.launch()
    log.retire(attestation.ORCHESTRATOR)
    log.end_launch(launch)
    return log


@case(rulebook.LAUNCH)
def launch_from_a_layer_that_nobody_signed() -> Log:
    log = running()
    log.launch(layers=[log.layer(AGENT, None)])
    return log


@case(rulebook.LAUNCH)
def launch_from_a_layer_signed_by_no_admin() -> Log:
    log = running()
    log.launch(layers=[log.layer(AGENT, ROBO)])
    return log


@case(rulebook.LAUNCH)
def launch_from_a_layer_signed_by_an_admin_no_more() -> Log:
    log = running()
    log.agreed("person.changed", ADA, {"person": ADA, "roles": ["reviewer"]})
    log.launch()
    return log


@case(rulebook.LAUNCH)
def launch_from_a_layer_changed_after_signing() -> Log:
    log = running()
    log.launch(layers=[{**log.layer(AGENT), "text": log.layer(AGENT)["text"].replace("256", "512")}])
    return log


@case(rulebook.LAUNCH)
def launch_of_a_suspended_agent() -> Log:
    log = running()
    log.add("agent.suspended", AGENT, by(ADA), {"agent": AGENT, "reason": "strange"})
    log.launch()
    return log


@case(rulebook.LAUNCH)
def launch_of_an_agent_that_nobody_enrolled() -> Log:
    log = running()
    log.launch(CHILD)
    return log


@case(rulebook.LAUNCH)
def launch_under_a_grant_that_was_revoked() -> Log:
    log = running()
    log.revoke(next(iter(log.delegations)))
    log.launch()
    return log


@case(rulebook.LAUNCH)
def launch_under_a_grant_that_ran_out() -> Log:
    log = running()
    log.now += timedelta(days=31)
    log.launch()
    return log


@case(rulebook.LAUNCH)
def launch_that_leaves_out_a_grant() -> Log:
    log = running()
    log.launch(delegations=[])
    return log


@case(rulebook.LAUNCH)
def launch_under_a_policy_from_before() -> Log:
    log = running()
    before = log.policy_digest
    log.respond(drift="alert")
    log.launch(policy=before)
    return log


@case(rulebook.LAUNCH)
def launch_with_an_unsafe_flag() -> Log:
    log = running()
    log.launch(command=["/usr/bin/robo", "--dangerously-skip-permissions"])
    return log


@case(rulebook.LAUNCH)
def launch_refused_out_of_thin_air() -> Log:
    log = running()
    log.refuse_launch("grants-changed")
    return log


@case(rulebook.LAUNCH)
def launch_refused_for_another_reason() -> Log:
    log = running()
    log.refuse_launch("unsafe-flag", delegations=[])
    return log


@case(rulebook.LAUNCH)
def refusal_with_the_digest_of_something_else() -> Log:
    log = running()
    log.refuse_launch("grants-changed", delegations=[], body={"digest": "sha256:" + "ab" * 32})
    return log


@case(rulebook.LAUNCH)
def request_that_names_a_launch_that_has_ended() -> Log:
    log = running()
    launch = log.launch()
    log.end_launch(launch)
    log.allow(log.ask(next(iter(log.delegations)), launch=launch))
    return log


@case(rulebook.LAUNCH)
def request_that_names_another_agents_launch() -> Log:
    log = running()
    log.enrol(CHILD, "child")
    root = next(iter(log.delegations))
    launch = log.launch()
    log.allow(log.ask(log.child_of(root), pair=CHILD, launch=launch))
    return log


@case(rulebook.ELIGIBLE)
def vote_by_who_signed_the_launch() -> Log:
    log = running()
    launch = log.launch(layers=[log.layer(AGENT, PEOPLE_KEYS[RUI])])
    ask = log.ask(next(iter(log.delegations)), "delete_file", risk="HIGH", launch=launch)
    log.request(ask)
    log.vote(ask, RUI)
    return log


# --- observations, canaries -----------------------------------------------------------------------------------------


@case(rulebook.OBSERVATION)
def observation_of_nothing_that_is_called_matched() -> Log:
    log = running()
    log.observe("lau_nobody")
    return log


@case(rulebook.OBSERVATION)
def observation_of_a_launch_that_is_called_unmatched() -> Log:
    log = running()
    log.observe(log.launch(), matched=False)
    return log


@case(rulebook.CANARY)
def canaries_entered_with_another_result() -> Log:
    log = running()
    log.canaries(stated="WARNED")
    return log


@case(rulebook.OBSERVATION)
def drift_that_is_not_told() -> Log:
    log = running()
    launch = log.launch()
    log.observe(launch, processes=[log.process(launch, seccomp=0)])
    return log


@case(rulebook.OBSERVATION)
def drift_that_nobody_observed() -> Log:
    log = running()
    launch = log.launch()
    log.observe(launch, findings=drift.findings(log.launched[launch], drifted(log, launch)))
    return log


@case(rulebook.OBSERVATION)
def observation_of_a_launch_that_has_ended_called_matched() -> Log:
    log = running()
    launch = log.launch()
    log.end_launch(launch)
    log.observe(launch)
    return log


@case(rulebook.CANARY)
def canaries_that_got_through_entered_as_passed() -> Log:
    log = running()
    log.canaries("PASSED", answers={"self-grant": (201, "")})
    return log


@case(rulebook.CANARY)
def canaries_of_which_one_is_missing_entered_as_passed() -> Log:
    log = running()
    log.canaries("PASSED", answers={"forged-entry": None})
    return log


@case(rulebook.ACTOR)
def start_told_by_a_person() -> Log:
    log = running()
    log.add("server.started", log.realm, by(ADA), started())
    return log


def drifted(log: Log, launch: str) -> dict[str, Any]:
    """What a monitor sees when the filter of system calls is gone."""
    return {"processes": [log.process(launch, seccomp=0)], "host": INODES}


def seen_drifting(log: Log, launch: str) -> int:
    seen = drifted(log, launch)
    return log.observe(launch, findings=drift.findings(log.launched[launch], seen), processes=seen["processes"])


def started(**changes: Any) -> dict[str, Any]:
    digest = "sha256:" + "ab" * 32
    return {
        "software": "imprimatur 1",
        "process": "web",
        "packages": {"checked": 3, "wrong": []},
        "lock": digest,
        "settings": digest,
        "options": [],
        "tree": digest,
        **changes,
    }


# --- what the server does by itself ---------------------------------------------------------------------------------


@case(rulebook.RESPONSE)
def suspended_over_drift_where_no_policy_says_so() -> Log:
    log = running()
    suspend(log, seen_drifting(log, log.launch()))
    return log


@case(rulebook.RESPONSE)
def suspended_over_an_observation_without_findings() -> Log:
    log = running()
    log.respond(drift="suspend")
    suspend(log, log.observe(log.launch()))
    return log


@case(rulebook.RESPONSE)
def suspended_over_another_agents_drift() -> Log:
    log = running()
    log.enrol(CHILD, "child")
    log.respond(drift="suspend")
    suspend(log, seen_drifting(log, log.launch()), ids.agent_id(CHILD.public_key))
    return log


@case(rulebook.RESPONSE)
def suspended_again_over_what_an_admin_knew_when_resuming() -> Log:
    log = running()
    log.respond(drift="suspend")
    seen = seen_drifting(log, log.launch())
    suspend(log, seen)
    log.add("agent.resumed", AGENT, by(ADA), {"agent": AGENT, "reason": "looked into"})
    suspend(log, seen)
    return log


@case(rulebook.RESPONSE)
def paused_for_one_agent_over_a_canary() -> Log:
    log = running()
    log.respond(canary="pause")
    red = log.canaries(answers={"self-grant": (201, "")})
    one = {"scope": "agent", "target": AGENT, "reason": "a canary got through"}
    log.add("pause.set", AGENT, CANARY, one, refs=(("canary", red),))
    return log


@case(rulebook.RESPONSE)
def paused_over_a_run_that_passed() -> Log:
    log = running()
    log.respond(canary="pause")
    log.add("pause.set", "everything", CANARY, EVERYTHING, refs=(("canary", log.canaries()),))
    return log


@case(rulebook.RESPONSE)
def agent_resumed_in_the_name_of_a_response() -> Log:
    log = running()
    log.add("agent.suspended", AGENT, by(ADA), {"agent": AGENT, "reason": "strange"})
    log.add("agent.resumed", AGENT, DRIFT, {"agent": AGENT, "reason": "all is well"})
    return log


def suspend(log: Log, over: int, agent: str = AGENT) -> int:
    body = {"agent": agent, "reason": "it drifted"}
    return log.add("agent.suspended", agent, DRIFT, body, refs=(("observation", over),))


def test_a_canary_runner_may_name_enrolled_agents_as_its_own() -> None:
    log, _ = standing()
    log.service(attestation.CANARIES, agents=[AGENT])
    read(log)


def test_what_is_refused_may_name_any_launch() -> None:
    log = running()
    log.deny(log.ask(next(iter(log.delegations)), launch="anything"), "REFUSED", "malformed")
    read(log)


def test_the_people_who_signed_a_launch_are_remembered_and_others_vote() -> None:
    log = running()
    launch = log.launch(layers=[log.layer(AGENT, PEOPLE_KEYS[RUI])])
    ask = log.ask(next(iter(log.delegations)), "delete_file", risk="HIGH", launch=launch)
    log.request(ask)
    log.end_launch(launch)
    log.allow(ask, (log.vote(ask, ROSA),))
    assert read(log).facts.requests[ask.id].launch_signers == [RUI]


def test_who_signed_what_runs_votes_on_nothing_of_its_agent_also_when_it_names_no_launch() -> None:
    log = running()
    log.launch(layers=[log.layer(AGENT, PEOPLE_KEYS[RUI])])
    ask = log.ask(next(iter(log.delegations)), "delete_file", risk="HIGH")
    log.request(ask)
    log.vote(ask, RUI)
    broken(log, rulebook.ELIGIBLE)


def test_a_refused_launch_is_in_the_tree_of_its_orchestrator_and_its_reasons_hold() -> None:
    log = running()
    log.refuse_launch("grants-changed", delegations=[])
    log.refuse_launch("unsigned-layer", layers=[log.layer(AGENT, None)])
    log.launch()
    facts = read(log).facts
    assert (facts.totals.launches, facts.totals.launches_refused, facts.totals.refused_unshown) == (1, 2, 0)
    assert facts.services[service_actor(attestation.ORCHESTRATOR)["id"]].size == 3


def test_a_launch_of_a_suspended_agent_is_refused_for_that_and_it_holds_no_grants() -> None:
    log = running()
    log.add("agent.suspended", AGENT, by(ADA), {"agent": AGENT, "reason": "strange"})
    log.refuse_launch("agent-suspended", delegations=[])
    log.refuse_launch("agent-suspended", "grants-changed")
    read(log)


def test_a_key_that_was_registered_for_delegations_signs_configuration_as_well() -> None:
    log = Log().begun()
    log.person_key(ADA, PEOPLE_KEYS[ADA])
    log.enrol()
    log.services()
    log.launch(delegations=[])
    assert [launch.signers for launch in read(log).facts.launches.values()] == [[ADA]]


def test_a_launch_that_another_release_judged_is_counted_and_not_refused_for_its_tables() -> None:
    log = running()
    elsewhere = {"program": configuration.MERGE_PROGRAM, "digest": "sha256:" + "ab" * 32}
    launch = log.launch(command=["/usr/bin/robo", "--debug"], merge=elsewhere)
    log.refuse_launch("unsafe-flag", "grants-changed", merge=elsewhere, delegations=[])
    facts = read(log).facts
    assert facts.totals.judged_elsewhere == 2
    assert facts.examples["judged elsewhere"][0]["launch"] == launch
    log.launch(merge=elsewhere, delegations=[])
    broken(log, rulebook.LAUNCH, "grants-changed")


def test_drift_suspends_and_a_canary_pauses_where_the_policy_says_so() -> None:
    log = running()
    log.respond(drift="suspend", canary="pause")
    suspend(log, seen_drifting(log, log.launch()))
    red = log.canaries(answers={"self-grant": (201, "")})
    log.add("pause.set", "everything", CANARY, EVERYTHING, refs=(("canary", red),))
    log.add("agent.resumed", AGENT, by(ADA), {"agent": AGENT, "reason": "looked into"})
    log.add("pause.lifted", "everything", by(ADA), EVERYTHING)
    totals = read(log).facts.totals
    assert (totals.suspended_by_drift, totals.paused_by_canary, totals.drifted) == (1, 1, 1)


def test_what_is_observed_is_counted_both_ways() -> None:
    log = running()
    seen, unseen = log.launch(), log.launch()
    log.observe(seen)
    seen_drifting(log, seen)
    log.observe("lau_nobody", matched=False)
    log.observe(None, matched=False, unread=3)
    for launch in (seen, unseen):
        log.end_launch(launch)
    totals = read(log).facts.totals
    assert (totals.observations, totals.drifted, totals.unmatched, totals.unread) == (4, 1, 2, 3)
    assert (totals.launches, totals.launches_ended, totals.never_observed) == (2, 2, 1)


def test_runs_cover_time_and_gaps_and_failed_controls_do_not() -> None:
    log = running()
    log.canaries()
    log.canaries()
    log.now += timedelta(hours=1)
    log.canaries()
    log.canaries(answers={"positive-control": (503, "busy")})
    (coverage,) = read(log).facts.coverage.values()
    assert (coverage["runs"], coverage["passed"], coverage["warned"]) == (4, 3, 1)
    assert [void["why"] for void in coverage["void"]] == ["gap", "control"]


def test_a_run_that_does_not_come_after_the_one_before_covers_nothing() -> None:
    log = running()
    log.canaries()
    last = format_time(log.now - timedelta(seconds=1))  # an entry takes one
    at: dict[str, Any] = {"at": last, "from": last}
    log.canaries(**at)
    facts = read(log).facts
    assert facts.totals.runs_out_of_order == 1
    assert next(iter(facts.coverage.values()))["runs"] == 1


def test_what_services_said_is_forgotten_but_for_what_lives() -> None:
    log = running()
    launch = log.launch()
    seen_drifting(log, launch)
    log.canaries(answers={"self-grant": (201, "")})
    log.end_launch(launch)
    log.now += timedelta(days=2)
    while len(log.envelopes) % 512:
        log.canaries()
    facts = read(log).facts
    assert not facts.launches and not facts.ended_launches and not facts.findings and not facts.red_runs


def test_a_snapshot_with_services_goes_on_exactly_where_it_was_taken() -> None:
    log = running()
    log.respond(drift="suspend", canary="pause")
    launch = log.launch(layers=[log.layer(AGENT, PEOPLE_KEYS[RUI])])
    log.request(log.ask(next(iter(log.delegations)), "delete_file", risk="HIGH", launch=launch))
    log.refuse_launch("grants-changed", delegations=[])
    log.observe(launch)
    suspend(log, seen_drifting(log, launch))
    log.canaries()
    red = log.canaries(answers={"self-grant": (201, "")})
    log.add("pause.set", "everything", CANARY, EVERYTHING, refs=(("canary", red),))
    log.add("server.started", log.realm, SYSTEM, started())
    log.end_launch(launch)
    whole = read(log)
    for cut in range(1, len(log.envelopes)):
        history = read(builder.cut(log, cut))
        resumed = History.restore(canonical.loads(canonical.dumps(history.snapshot())), REALM)
        for index in range(cut, len(log.envelopes)):
            resumed.feed(index, log.envelopes[index])
        assert resumed.snapshot() == whole.snapshot()


def test_the_server_gives_up_launches_for_lost_after_their_orchestrator_was_retired() -> None:
    log = running()
    launch = log.launch()
    log.retire(attestation.ORCHESTRATOR)
    log.end_launch(launch, "lost", SYSTEM)
    facts = read(log).facts
    assert not facts.launches
    assert (facts.totals.launches_lost, facts.totals.never_observed) == (1, 1)


@pytest.mark.parametrize(("rule", "name", "make"), CASES, ids=[name for _, name, _ in CASES])
def test_a_history_with_this_fault_is_refused(rule: rulebook.Rule, name: str, make: Breaking) -> None:
    broken(make(), rule)
