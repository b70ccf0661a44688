"""Which launch a request comes from is the agent's word, so it frees nobody who signed what runs (invariant 8)."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit.log import commit
from governance.actions import add_person_key, change_person
from governance.errors import Refused
from imprimatur import Imprimatur
from imprimatur.formats import attestation
from imprimatur.formats.keys import KeyPair
from tests.attesting.service import ServiceUnderTest, predicate_of, service
from tests.conftest import World, ssh_line
from tests.door.agent import AgentUnderTest, through_django
from tests.door.test_grants_and_suggestions import WISH, approve_in_advance
from tests.door.test_with_the_package import gate

__all__ = ["gate"]


@pytest.fixture
def orchestrator(world: World) -> ServiceUnderTest:
    """One whose layers Rui signs, who reviews as well."""
    commit(change_person.apply, change_person.Command(world.rui, roles=("admin", "reviewer"), by=world.ada))
    pair = KeyPair.generate()
    commit(add_person_key.apply, add_person_key.Command(world.rui, ssh_line(pair)))
    world.ssh["rui"] = pair
    return service(world, through_django, attestation.ORCHESTRATOR)


@pytest.fixture
def robo(world: World) -> AgentUnderTest:
    assert world.delegation is not None
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


def runs(orchestrator: ServiceUnderTest, world: World, who: str, name: str = "robo") -> dict[str, Any]:
    text = orchestrator.launch(name, layers=[orchestrator.layer(world.agents[name].pk, who=who)])
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    orchestrator.took(text)
    return predicate_of(text)


def answers(world: World, who: str) -> None:
    row = ActionRequest.objects.get()
    cast_vote.answer(world.people[who], row.pk, version=row.version, decision="approve", reason="fine")


@pytest.mark.parametrize("ended", [False, True], ids=["it runs on", "it ended meanwhile"])
def test_a_request_that_names_no_launch_is_not_answered_by_who_signed_what_runs(
    orchestrator: ServiceUnderTest, robo: AgentUnderTest, world: World, ended: bool
) -> None:
    launch = runs(orchestrator, world, "rui")
    asked = robo.delete()
    assert (asked.status, asked.json["can_answer"]) == (202, 1)
    if ended:
        assert orchestrator.post(f"/launches/{launch['launch']}/ended", {"how": "exited", "code": 0}).status == 200
    with pytest.raises(Refused, match="You signed the launch of"):
        answers(world, "rui")
    answers(world, "rosa")
    world.publish()


def test_naming_another_launch_frees_nobody_either(
    orchestrator: ServiceUnderTest, robo: AgentUnderTest, world: World
) -> None:
    runs(orchestrator, world, "rui")
    other = runs(orchestrator, world, "ada")
    assert robo.delete(context={"launch": other["launch"]}).json["can_answer"] == 1
    with pytest.raises(Refused, match="You signed the launch of"):
        answers(world, "rui")


def test_who_signed_what_runs_has_approved_nothing_in_advance_either(
    orchestrator: ServiceUnderTest, gate: Imprimatur, world: World
) -> None:
    gate.submit("write_file", WISH)
    approve_in_advance(world)
    assert gate.submit("write_file", {**WISH, "path": "/project/src/b.py"}).verdict == "allow"
    launch = runs(orchestrator, world, "rui")
    assert gate.submit("write_file", {**WISH, "path": "/project/src/c.py"}).pending
    assert orchestrator.post(f"/launches/{launch['launch']}/ended", {"how": "exited"}).status == 200
    assert gate.submit("write_file", {**WISH, "path": "/project/src/d.py"}).verdict == "allow"
    world.publish()


def test_who_signed_for_another_agent_or_for_what_is_over_answers(
    orchestrator: ServiceUnderTest, robo: AgentUnderTest, world: World
) -> None:
    runs(orchestrator, world, "rui", "twin")
    over = runs(orchestrator, world, "rui")
    assert orchestrator.post(f"/launches/{over['launch']}/ended", {"how": "exited"}).status == 200
    assert robo.delete().json["can_answer"] == 2
    answers(world, "rui")
    world.publish()
