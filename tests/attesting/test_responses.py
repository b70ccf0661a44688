"""What the server does by itself over evidence, where the policy in force says so, and not otherwise."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from audit import publisher
from audit.log import commit, utc_now
from audit.models import Entry
from governance import policy_words
from governance.actions import resume_agent
from governance.models import Agent, Pause
from imprimatur.formats import attestation
from imprimatur.rules import policy as policies
from imprimatur.rules.policy import DEMO_POLICY
from tests.attesting.service import GOT_THROUGH, predicate_of, service, without_seccomp
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django


def responding(**respond: str) -> dict[str, Any]:
    """The demo policy with an answer of its own to what is found."""
    return {**copy.deepcopy(DEMO_POLICY), "respond": respond}


def test_policy_can_suspend_the_agent_in_the_same_transaction(make_world: Any) -> None:
    world: World = make_world(responding(drift="suspend"))
    assert world.delegation is not None
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    orchestrator = service(world, through_django, attestation.ORCHESTRATOR)
    monitor = service(world, through_django, attestation.MONITOR)
    text = orchestrator.launch()
    orchestrator.post("/launches", {"statement": text})
    launch = predicate_of(text)
    waits = robo.delete()
    assert waits.status == 202

    answer = monitor.see(launch, processes=[without_seccomp(launch)])
    index = answer.json["observations"][0]["index"]

    assert Agent.objects.get(pk=world.robo.pk).state == Agent.SUSPENDED
    suspended = Entry.objects.get(kind="agent.suspended")
    assert (suspended.actor_type, suspended.actor_id) == ("system", "drift")
    assert suspended.index == index + 1
    assert robo.get(f"/actions/{waits.json['id']}").json["state"] == "INVALIDATED"
    assert robo.read().code == "suspended"
    assert monitor.see(launch, processes=[without_seccomp(launch)]).status == 201
    assert Entry.objects.filter(kind="agent.suspended").count() == 1, "once is enough"

    commit(resume_agent.apply, resume_agent.Command(world.robo, "looked at it", world.ada))
    assert monitor.see(launch).status == 201
    assert robo.read().status == 200
    assert monitor.see(launch, processes=[without_seccomp(launch)]).status == 201
    assert Entry.objects.filter(kind="agent.suspended").count() == 2
    world.publish()
    assert publisher.published_size() == Entry.objects.count(), "the notary accepts all of it"


def test_policy_can_pause_everything_over_a_red_run(make_world: Any) -> None:
    world: World = make_world(responding(canary="pause"))
    assert world.delegation is not None
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    canary = service(world, through_django, attestation.CANARIES)
    now = utc_now()
    allowed = robo.read()
    assert allowed.status == 200

    index = canary.report(now - timedelta(seconds=2), **GOT_THROUGH).json["index"]
    assert Pause.objects.get().scope == Pause.EVERYTHING
    paused = Entry.objects.get(kind="pause.set")
    assert (paused.actor_type, paused.actor_id, paused.index) == ("system", "canary", index + 1)
    assert robo.redeem(allowed.json).code == "paused"
    assert canary.report(now - timedelta(seconds=1), **GOT_THROUGH).status == 201
    assert Pause.objects.count() == 1, "it stands already"
    world.publish()
    assert publisher.published_size() == Entry.objects.count(), "the notary accepts all of it"


def test_what_the_server_may_do_by_itself_is_said_where_policy_is_read_and_changed() -> None:
    before: dict[str, Any] = copy.deepcopy(DEMO_POLICY)
    after = responding(drift="suspend", canary="alert")
    [line] = policy_words.of_policy(before, after)

    assert (line.kind, line.what, line.before) == ("changed", "What the server does by itself", "nothing")
    assert line.words == "over drift it suspends the agent; over a canary that got through it tells admins"
    assert policy_words.setting("respond", {"canary": "pause"}) == "over a canary that got through it stops everything"
    assert policies.from_toml(policies.to_toml(after)) == after
