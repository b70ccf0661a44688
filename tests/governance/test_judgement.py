from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from audit import log
from governance import judgement
from governance.actions import (
    activate_policy,
    register_tool,
    retire_tool,
    revoke_delegation,
    set_pause,
    suspend_agent,
)
from governance.models import Delegation, Pause, Policy
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.rules.risk import Risk
from imprimatur.rules.tools import DEFAULT_TOOLS

PAYMENT = {"payee": "vendor/acme", "amount": "20.00", "currency": "USD", "reference": "42"}


@pytest.fixture
def held(cast) -> Delegation:
    return cast.delegate(
        "ada",
        "robo",
        scope=["file:read:/project", "file:write:/project", "payment:send", "shell:run"],
        constraints={"max_file_size": 100},
        spend={"unit": "USD", "limit": "100.00", "per_action": "50.00"},
    )


@pytest.fixture
def judge(cast, held):
    """Judge a wish of robo's under the delegation it holds."""

    def ask(tool: str, parameters: dict[str, Any], **more: Any) -> judgement.Judgement:
        wish = {
            "agent": cast.robo,
            "delegation_id": held.id,
            "claimed_effects": None,
            "claimed_cost": None,
            "claimed_risk": None,
            "context": {},
            "now": log.utc_now(),
        }
        return judgement.judge(**{**wish, "tool": tool, "parameters": parameters, **more})

    return ask


def read(judge, **more: Any) -> judgement.Judgement:
    return judge("read_file", {"path": "/project/a"}, **more)


def test_the_default_levels_decide_or_ask_people(judge):
    low = read(judge)
    medium = judge("write_file", {"path": "/project/a", "content": "x"})
    critical = judge("make_payment", PAYMENT)
    assert (low.outcome, low.risk, low.stages) == ("approve", Risk.LOW, ())
    assert (medium.outcome, medium.risk, medium.reversibility) == ("approve", Risk.MEDIUM, "reversible")
    assert (critical.outcome, critical.risk) == ("pending", Risk.CRITICAL)
    assert [stage.kind for stage in critical.stages] == ["approve", "confirm"]
    assert (critical.cost_micro, critical.unit) == (20_000_000, "USD")
    assert low.cost == {"amount": "0.00", "unit": "USD"}


@pytest.mark.parametrize(
    ("tool", "parameters", "code"),
    [
        ("read_file", {"path": "/etc/passwd"}, "out-of-scope"),
        ("read_file", {"path": "/project/../etc/passwd"}, "out-of-scope"),
        ("read_file", {"path": "/project-evil/a"}, "out-of-scope"),
        ("delete_file", {"path": "/project/a"}, "out-of-scope"),
        ("write_file", {"path": "/project/a", "content": "x" * 101}, "constraint"),
        ("make_payment", {**PAYMENT, "amount": "50.01"}, "over-budget"),
        ("make_payment", {**PAYMENT, "currency": "EUR"}, "over-budget"),
    ],
)
def test_what_the_delegation_does_not_allow_is_refused_with_its_code(judge, tool, parameters, code):
    found = judge(tool, parameters)
    assert (found.outcome, found.code) == ("refused", code)
    assert found.stages == ()


def test_invariant_8_claims_are_compared_and_never_decide_in_the_agents_favour(judge):
    honest = [{"action": "file:read", "resource": "/project/a"}]
    assert read(judge, claimed_effects=honest).outcome == "approve"
    lie = [{"action": "file:read", "resource": "/project/b"}]
    assert read(judge, claimed_effects=lie).code == "resource-mismatch"
    assert judge("make_payment", PAYMENT, claimed_cost={"amount": "1.00", "unit": "USD"}).code == "resource-mismatch"
    assert judge("make_payment", PAYMENT, claimed_risk="LOW").risk is Risk.CRITICAL
    assert read(judge, claimed_risk="HIGH").outcome == "pending"


def test_a_tool_nobody_registered_is_claimed_at_least_high_and_never_spends(judge):
    effects = [{"action": "shell:run", "resource": "make"}]
    found = judge("run_make", {"target": "all"}, claimed_effects=effects)
    assert (found.outcome, found.risk, found.known, found.tool_digest) == ("pending", Risk.HIGH, False, None)
    assert judge("run_make", {}, claimed_effects=None).code == "out-of-scope"
    paid = judge("run_make", {}, claimed_effects=effects, claimed_cost={"amount": "0.01", "unit": "USD"})
    assert paid.code == "over-budget"


def test_parameters_that_do_not_fit_the_schema_are_no_decision(judge, refused):
    for parameters in ({}, {"path": 7}, {"path": "/project/a", "mode": "w"}):
        with refused("schema"):
            judge("read_file", parameters)


def test_a_delegation_that_is_not_the_agents_own_is_refused(cast, judge, held):
    below = cast.delegate("robo", "helper", held, scope=["file:read:/project"], spend=None, max_depth=0)
    for claimed in ("sha256:" + "0" * 64, below.id):
        found = read(judge, delegation_id=claimed)
        assert (found.outcome, found.code, found.chain) == ("refused", "out-of-scope", ())


def test_before_and_after_its_window_a_delegation_allows_nothing(judge):
    for hours in (-1, 2):
        found = read(judge, now=log.utc_now() + timedelta(hours=hours))
        assert (found.outcome, found.code) == ("refused", "delegation-expired")


def test_a_freeze_asks_a_person_even_for_what_is_low(cast, judge):
    log.commit(set_pause.apply, set_pause.Command(Pause.TOOL, "read_file", "looking", by=cast.ada))
    found = read(judge)
    assert (found.outcome, found.risk, found.paused) == ("pending", Risk.HIGH, True)


def test_a_deny_rule_of_the_policy_says_no_and_names_itself(cast, judge):
    deny = {"name": "no-secrets", "reason": "Secrets stay closed.", "tool": "read_file"}
    activate(cast, {**DEMO_POLICY, "deny": [{**deny, "when": 'resource == "/project/secret"'}]})
    found = judge("read_file", {"path": "/project/secret"})
    assert (found.outcome, found.code, found.rule) == ("denied", "policy-denied", "no-secrets")
    assert read(judge).outcome == "approve"


def activate(cast, document: dict[str, Any]) -> activate_policy.Result:
    return log.commit(activate_policy.apply, activate_policy.Command(document, cast.ada))


def recheck(found: judgement.Judgement) -> judgement.Judgement:
    with log.writing() as writer:
        return judgement.recheck(writer, found)


def test_recheck_keeps_what_nothing_touched_and_judges_again_what_changed(cast, judge, held):
    found = read(judge)
    assert recheck(found) is found
    activate(cast, {**DEMO_POLICY, "rules": []})
    assert recheck(found).risk is Risk.HIGH
    log.commit(revoke_delegation.apply, revoke_delegation.Command(held.id, cast.ada))
    assert recheck(found).code == "delegation-revoked"


def test_invariant_5_a_revocation_earlier_in_the_same_batch_already_counts(cast, judge, held):
    found = read(judge)
    _, again = log.run_batch(
        [(revoke_delegation.apply, revoke_delegation.Command(held.id, cast.ada)), (judgement.recheck, found)]
    )
    assert (again.outcome, again.code) == ("refused", "delegation-revoked")


def test_recheck_asks_for_a_new_request_when_the_tool_itself_changed(cast, judge, refused):
    found = read(judge)
    changed = {**DEFAULT_TOOLS["read_file"], "title": "Look into a file"}
    log.commit(register_tool.apply, register_tool.Command(changed, cast.ada))
    with refused("busy"):
        recheck(found)


def test_what_was_approved_is_not_redeemed_after_any_authority_changed(cast, judge, held):
    found = read(judge)

    def still() -> str | None:
        with log.writing() as writer:
            refusal = judgement.still_allowed(
                writer, delegation=held, tool="read_file", tool_digest=found.tool_digest or ""
            )
        return refusal.code if refusal else None

    assert still() is None
    log.commit(retire_tool.apply, retire_tool.Command("read_file", "old", cast.ada))
    assert still() == "invalidated"
    log.commit(suspend_agent.apply, suspend_agent.Command(cast.robo, "odd", by=cast.ada))
    assert still() == "suspended"
    log.commit(set_pause.apply, set_pause.Command(Pause.EVERYTHING, "", "stop", by=cast.ada))
    assert still() == "paused"


def test_a_policy_altered_in_the_database_decides_nothing(judge, refused):
    Policy.objects.filter(active=True).update(document={**DEMO_POLICY, "rules": []})
    with refused("policy-error"):
        read(judge)
