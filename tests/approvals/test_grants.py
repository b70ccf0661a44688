"""Approving in advance: what runs on a grant, what does not, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group

from approvals import grants
from approvals.actions import cast_vote, issue_grant, redeem_approval, revoke_grant
from approvals.models import ActionRequest, Grant
from audit.log import commit, utc_now
from audit.models import Entry
from audit.publisher import Publisher
from audit.selectors import payload_of
from governance import ceremonies
from governance.actions import activate_policy, register_tool, revoke_delegation, set_pause, suspend_agent
from governance.errors import Refused
from governance.models import Person, Policy, Tool
from imprimatur.formats import signing
from imprimatur.formats.entries import attempt_digest
from imprimatur.rules import money
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.rules.policy import digest as policy_digest
from tests.conftest import World
from tests.desk.requests import DELETE, PAY, ask

PATH = "/project/src/a.py"


def overwrite(world: World, path: str = PATH, content: str = "x = 1", **more: Any) -> ActionRequest:
    """Robo asks to overwrite a file, which the user marked destructive: HIGH, and it can be undone."""
    return ask(world, "write_file", {"path": path, "content": content, "destructive": True}, **more)


def choice(request: ActionRequest, **changes: Any) -> dict[str, Any]:
    """What a reviewer chooses: any content, in any file of the folder, three times, for fifteen minutes."""
    chosen: dict[str, Any] = {
        "effects": ["file:write:/project/src"],
        "parameters": {
            "path": {"op": "starts_with", "value": "/project/src/"},
            "content": {"op": "any"},
            "destructive": {"op": "equals", "value": True},
        },
        "max_uses": 3,
        "not_after": signing_time(timedelta(minutes=15)),
        **changes,
    }
    return chosen


def signing_time(later: timedelta) -> str:
    from imprimatur.formats.timestamps import format_time

    return format_time(utc_now() + later)


def issue(person: Person, request: ActionRequest, **changes: Any) -> Grant:
    """Issue a grant, and publish it, so that it is used."""
    signed = ceremonies.session(person, grants.document(person, request, choice(request, **changes), None))
    grant = commit(issue_grant.apply, issue_grant.command(person.id, request, signed))
    Publisher().publish_once()
    return grant


def refused(person: Person, request: ActionRequest, **changes: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        issue(person, request, **changes)
    assert not Grant.objects.exists()
    assert not Entry.objects.filter(kind="grant.issued").exists()
    return caught.value


@pytest.fixture
def asked(world: World, notarised: object) -> ActionRequest:
    request = overwrite(world)
    assert (request.state, request.risk) == ("PENDING", "HIGH")
    return request


@pytest.fixture
def grant(world: World, asked: ActionRequest) -> Grant:
    return issue(world.rui, asked)


# --- use ---------------------------------------------------------------------------------------------------------------


def test_what_is_like_the_request_runs_without_asking_and_says_on_what(
    world: World, asked: ActionRequest, grant: Grant
) -> None:
    later = overwrite(world, "/project/src/deep/b.py", "y = 2")
    assert (later.state, later.verdict, later.risk) == ("APPROVED", "allow", "HIGH")
    assert later.grant == grant
    decided = payload_of(Entry.objects.get(kind="action.decided", subject=later.id))
    assert decided["body"]["grant"] == grant.id
    assert decided["body"]["votes"] == []
    assert {"rel": "grant", "index": grant.index} in decided["refs"]
    grant.refresh_from_db()
    assert grant.uses == 1
    asked.refresh_from_db()
    assert asked.state == "PENDING", "one signature is one statement: the request it was made from still waits"


def test_invariant_1_an_approval_in_advance_is_redeemed_once_like_any_other(world: World, grant: Grant) -> None:
    later = overwrite(world)

    def redeem() -> ActionRequest:
        attempt = attempt_digest("a" * 22)
        command = redeem_approval.Command(
            later.id, world.robo.id, world.keys["robo"].thumbprint, later.action_digest, attempt
        )
        return commit(redeem_approval.apply, command).request

    assert redeem().state == "REDEEMED"


def test_an_attempt_is_redeemed_at_once_as_with_what_is_low(world: World, grant: Grant) -> None:
    later = overwrite(world, attempt="b" * 22)
    assert later.state == "REDEEMED"


def test_the_log_holds_the_statement_that_was_made_and_none_of_what_was_left_open(world: World, grant: Grant) -> None:
    overwrite(world, content="a very private matter")
    entry = payload_of(Entry.objects.get(kind="grant.issued"))
    assert entry["actor"] == {"type": "person", "id": world.rui.id, "assurance": "H0"}
    said = signing.parse(entry["body"]["statement"].encode(), signing.GRANT)
    assert said["request"] == grant.request_id
    assert signing.grant_id(entry["body"]["statement"].encode()) == grant.id == entry["subject"]
    assert "private" not in "".join(bytes(one.envelope).decode() for one in Entry.objects.all())


def test_uses_are_counted_and_the_last_one_is_the_last(world: World, asked: ActionRequest) -> None:
    issue(world.rui, asked, max_uses=2)
    states = [overwrite(world, content=str(number)).state for number in range(3)]
    assert states == ["APPROVED", "APPROVED", "PENDING"]


def test_its_money_is_counted_and_what_would_be_too_much_is_asked_about(make_world: Callable[..., World]) -> None:
    world = make_world({**DEMO_POLICY, "rules": [{"name": "pay", "tool": "make_payment", "risk": "HIGH"}]})
    document = {**Tool.objects.get(name="make_payment", current=True).document, "reversibility": "reversible"}
    commit(register_tool.apply, register_tool.Command(document, world.ada))
    request = ask(world, *PAY)

    def capped(person: Person, amount: str) -> Grant:
        parameters = {name: {"op": "any"} for name in PAY[1]}
        cap = {"amount": amount, "unit": "USD"}
        return issue(person, request, effects=["payment:send:vendor"], parameters=parameters, max_total=cap)

    def pay(amount: str) -> ActionRequest:
        return ask(world, PAY[0], {**PAY[1], "amount": amount})

    assert (request.state, request.risk) == ("PENDING", "HIGH")
    small, large = capped(world.rui, "42.00"), capped(world.rosa, "60.00")
    assert [pay(amount).grant for amount in ("40.00", "50.00", "2.00")] == [small, large, small]
    assert pay("11.00").state == "PENDING"
    assert not grants.count(large, money.parse_amount("10.000001")), "it counts once more what was found"
    assert grants.count(large, money.parse_amount("10.00"))


def test_the_oldest_live_grant_is_used_first(world: World, asked: ActionRequest) -> None:
    first, second = issue(world.rui, asked, max_uses=1), issue(world.rosa, asked)
    assert [overwrite(world, content=str(n)).grant for n in range(2)] == [first, second]


def test_the_same_request_again_counts_no_second_use(world: World, grant: Grant) -> None:
    from approvals import submission
    from approvals.actions import submit_request
    from tests.races.scenario import wish

    world.agents["robo"] = world.robo
    made = wish(world, "write_file", {"path": PATH, "content": "x", "destructive": True}, "the-same")
    for _ in range(2):
        row = commit(submit_request.apply, submission.prepare(made)).request
        assert row.state == "APPROVED"
    grant.refresh_from_db()
    assert grant.uses == 1


@pytest.mark.parametrize(
    "wish",
    [
        ("write_file", {"path": "/project/src-evil/a.py", "content": "", "destructive": True}),
        ("write_file", {"path": "/project/tests/a.py", "content": "", "destructive": True}),
        ("delete_file", {"path": PATH}),
    ],
)
def test_what_goes_further_is_asked_about_or_refused(
    world: World, grant: Grant, wish: tuple[str, dict[str, Any]]
) -> None:
    assert ask(world, *wish).state in {"PENDING", "REFUSED"}
    grant.refresh_from_db()
    assert grant.uses == 0


def test_another_agent_and_another_delegation_get_nothing_of_it(world: World, grant: Grant) -> None:
    twins = world.delegate("twin")
    assert overwrite(world, agent="twin", delegation=twins.id).state == "PENDING"
    again = world.delegate("robo")
    assert overwrite(world, delegation=again.id).state == "PENDING"


def test_withheld_fields_never_match(world: World, grant: Grant) -> None:
    verdict = _judged(world)
    assert verdict is not None
    hidden = replace(verdict, withheld=("content",))
    assert _answering(world, verdict) == grant
    assert _answering(world, hidden) is None


@pytest.mark.parametrize("floor", ["freeze", "unknown", "policy-error", "irreversible", "something-new"])
def test_a_floor_that_wants_a_person_now_is_not_answered_by_a_grant(world: World, grant: Grant, floor: str) -> None:
    verdict = _judged(world)
    assert _answering(world, replace(verdict, floors=(*verdict.floors, floor))) is None


def test_a_pause_forbids_grants_and_lets_nothing_run(world: World, grant: Grant) -> None:
    commit(set_pause.apply, set_pause.Command("tool", "write_file", "look first", by=world.ada))
    assert overwrite(world).state == "PENDING"


def test_a_raised_risk_is_asked_about(world: World, grant: Grant) -> None:
    assert overwrite(world, risk="CRITICAL").state == "PENDING"


def _judged(world: World) -> Any:
    from governance import judgement

    return judgement.judge(
        agent=world.robo,
        delegation_id=world.delegation.id,  # type: ignore[union-attr]
        tool="write_file",
        parameters={"path": PATH, "content": "", "destructive": True},
        claimed_effects=None,
        claimed_cost=None,
        claimed_risk=None,
        context={},
        now=utc_now(),
    )


def _answering(world: World, verdict: Any) -> Grant | None:
    row = overwrite(world, "/project/tests/a.py")
    row.binding = bytes(Grant.objects.get().request.binding)
    found: list[Grant | None] = []
    commit(lambda writer, _: found.append(grants.answering(writer, row, verdict)), None)
    return found[0]


# --- who and what may ----------------------------------------------------------------------------------------------------


def test_invariant_3_only_who_could_approve_it_may_approve_it_in_advance(world: World, asked: ActionRequest) -> None:
    assert refused(world.ada, asked).code == "not-allowed"  # owns the agent, and is no reviewer
    assert refused(world.people["audra"], asked).code == "not-allowed"
    world.robo.owner = world.rui
    world.robo.save()
    assert "own" in refused(world.rui, ActionRequest.objects.get(pk=asked.pk)).message


def test_a_click_is_too_little_where_policy_wants_a_key(make_world: Callable[..., World]) -> None:
    world = make_world({**DEMO_POLICY, "assurance": "H2"})
    assert "key of your own" in refused(world.rui, overwrite(world)).message


def test_nothing_irreversible_or_critical_is_approved_in_advance(world: World, notarised: object) -> None:
    for request in (ask(world, *DELETE), overwrite(world, risk="CRITICAL")):
        effects = [f"{e['action']}:{e['resource']}" for e in grants.action_of(request).effects]
        parameters = {name: {"op": "any"} for name in grants.parameters_of(request) or {}}
        assert refused(world.rui, request, effects=effects, parameters=parameters).code == "not-allowed"


def test_a_policy_may_forbid_grants(make_world: Callable[..., World]) -> None:
    world = make_world({**DEMO_POLICY, "grants": False})
    assert "policy" in refused(world.rui, overwrite(world)).message


def test_a_rule_that_wants_two_approvals_takes_no_grant(make_world: Callable[..., World]) -> None:
    rule = {"name": "two", "tool": "write_file", "risk": "HIGH", "stages": [{"role": "reviewer", "count": 2}]}
    world = make_world({**DEMO_POLICY, "rules": [rule]})
    assert "more than one" in refused(world.rui, overwrite(world)).message


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"effects": ["*"]}, "too wide"),
        ({"effects": ["file:write"]}, "too wide"),
        ({"effects": ["file:write:/project/src", "file:delete:/project/src"]}, "nothing to do"),
        ({"effects": ["file:write:/project/tests"]}, "nothing to do"),
        ({"parameters": {"path": {"op": "any"}}}, "very request"),
        (
            {
                "parameters": {
                    "path": {"op": "equals", "value": "/project/src/other.py"},
                    "content": {"op": "any"},
                    "destructive": {"op": "any"},
                }
            },
            "very request",
        ),
    ],
)
def test_a_grant_that_reaches_too_far_is_refused(
    world: World, asked: ActionRequest, changes: dict[str, Any], because: str
) -> None:
    assert because in refused(world.rui, asked, **changes).message


def test_a_grant_lasts_at_most_an_hour(world: World, asked: ActionRequest) -> None:
    with pytest.raises(ValueError, match="60 minutes"):
        issue(world.rui, asked, not_after=signing_time(timedelta(minutes=61)))
    with pytest.raises(ValueError, match="max_uses"):
        issue(world.rui, asked, max_uses=101)


def test_an_answered_request_is_no_model(world: World, asked: ActionRequest) -> None:
    cast_vote.answer(world.rui, asked.id, version=asked.version, decision="deny", reason="no")
    assert refused(world.rui, asked).code == "wrong-state"


def test_a_statement_of_another_request_or_person_issues_nothing(world: World, asked: ActionRequest) -> None:
    other = overwrite(world, "/project/src/b.py")
    signed = ceremonies.session(world.rui, grants.document(world.rui, other, choice(other), None))
    with pytest.raises(Refused) as caught:
        commit(issue_grant.apply, issue_grant.command(world.rui.id, asked, signed))
    assert caught.value.code == "wrong-state"
    with pytest.raises(Refused):
        commit(issue_grant.apply, issue_grant.command(world.rosa.id, other, signed))
    assert not Grant.objects.exists()


def test_a_request_asked_under_an_earlier_policy_is_no_model(world: World, asked: ActionRequest) -> None:
    commit(activate_policy.apply, activate_policy.Command({**DEMO_POLICY, "name": "Another"}, by=world.ada))
    asked.refresh_from_db()
    assert (asked.state, asked.policy) == ("PENDING", policy_digest(DEMO_POLICY))
    assert "policy changed" in refused(world.rui, asked).message


def test_the_same_statement_issues_one_grant(world: World, asked: ActionRequest) -> None:
    signed = ceremonies.session(world.rui, grants.document(world.rui, asked, choice(asked), None))
    commit(issue_grant.apply, issue_grant.command(world.rui.id, asked, signed))
    with pytest.raises(Refused):
        commit(issue_grant.apply, issue_grant.command(world.rui.id, asked, signed))
    assert Grant.objects.count() == 1


# --- how it ends -------------------------------------------------------------------------------------------------------


def over(grant: Grant) -> str:
    return grants.why_over(grants.rows().get(pk=grant.pk), utc_now())


def test_revoking_ends_it_and_anybody_who_reviews_may(world: World, grant: Grant) -> None:
    with pytest.raises(Refused):
        commit(revoke_grant.apply, revoke_grant.Command(grant.id, world.people["audra"]))
    commit(revoke_grant.apply, revoke_grant.Command(grant.id, world.rosa, "not today"))
    commit(revoke_grant.apply, revoke_grant.Command(grant.id, world.ada))
    assert overwrite(world).state == "PENDING"
    entry = payload_of(Entry.objects.get(kind="grant.revoked"))
    assert entry["body"] == {"grant": grant.id, "reason": "not today"}
    assert over(grant) == "Revoked."


def test_time_ends_it(world: World, asked: ActionRequest, grant: Grant) -> None:
    Grant.objects.update(not_after=utc_now() - timedelta(seconds=1))
    assert overwrite(world).state == "PENDING"
    assert "time" in over(grant)


def test_it_dies_with_the_reviewers_role_and_account(world: World, grant: Grant) -> None:
    world.rui.user.groups.remove(Group.objects.get(name="reviewer"))
    assert overwrite(world).state == "PENDING"
    assert "Rui Falk" in over(grant)
    world.rui.user.groups.add(Group.objects.get(name="reviewer"))
    assert over(grant) == ""
    world.rui.user.is_active = False
    world.rui.user.save()
    assert overwrite(world).state == "PENDING"
    assert "no longer active" in over(grant)


def test_it_dies_with_its_delegation(world: World, grant: Grant) -> None:
    assert world.delegation is not None
    commit(revoke_delegation.apply, revoke_delegation.Command(world.delegation.id, by=world.ada))
    assert overwrite(world).state == "REFUSED"
    assert "delegation" in over(grant)


def test_it_dies_with_the_policy_version(world: World, grant: Grant) -> None:
    changed = {**DEMO_POLICY, "name": "Another"}
    commit(activate_policy.apply, activate_policy.Command(changed, by=world.ada))
    assert Policy.objects.get(active=True).digest != grant.policy
    assert overwrite(world).state == "PENDING"
    assert over(grant) == "The policy changed since."


def test_it_dies_with_the_version_of_the_tool(world: World, grant: Grant) -> None:
    document = {**Tool.objects.get(name="write_file", current=True).document, "title": "Write it"}
    commit(register_tool.apply, register_tool.Command(document, world.ada))
    assert overwrite(world).state == "PENDING"
    assert "tool changed" in over(grant)


def test_a_suspended_agent_has_no_use_for_it(world: World, grant: Grant) -> None:
    commit(suspend_agent.apply, suspend_agent.Command(world.robo, "odd", world.ada))
    assert overwrite(world).state == "REFUSED"
    assert "suspended" in over(grant)
    grant.refresh_from_db()
    assert grant.uses == 0


# --- words -------------------------------------------------------------------------------------------------------------


def test_one_sentence_says_what_will_run(asked: ActionRequest) -> None:
    said = {"tool": "write_file", **choice(asked)}
    sentence = grants.sentence(said, "robo")
    assert "robo may use write_file up to 3 times on file:write:/project/src" in sentence
    assert 'path begins with "/project/src/"' in sentence
    assert "destructive is exactly true" in sentence
    assert "with any content" in sentence
    assert sentence.endswith("nobody will be asked.")


@pytest.mark.parametrize(
    ("effect", "held", "offered"),
    [
        (
            {"action": "file:write", "resource": "/project/src/a.py"},
            ["file:write:/project"],
            ["file:write:/project/src/a.py", "file:write:/project/src", "file:write:/project"],
        ),
        (
            {"action": "file:write", "resource": "/project/src/a.py"},
            ["file:write:/project/src", "file:read"],
            ["file:write:/project/src/a.py", "file:write:/project/src"],
        ),
        (
            {"action": "network:http", "resource": "api.example.com/v1/items"},
            ["network:http"],
            [
                "network:http:api.example.com/v1/items",
                "network:http:api.example.com/v1",
                "network:http:api.example.com",
            ],
        ),
        (
            {"action": "email:send", "resource": "a@example.org"},
            ["email:send"],
            ["email:send:a@example.org", "email:send:example.org"],
        ),
    ],
)
def test_only_what_the_delegation_holds_is_offered(effect: dict[str, str], held: list[str], offered: list[str]) -> None:
    assert grants.widenings(effect, held) == offered
