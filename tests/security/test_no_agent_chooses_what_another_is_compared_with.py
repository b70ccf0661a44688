"""What a reviewer sees as unchanged must be what this agent was allowed before, not what another one slipped in."""

from __future__ import annotations

import pytest

from approvals.models import ActionRequest
from approvals.views import card
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Answer, through_django

PATH = "/project/src/a.py"


@pytest.fixture
def robo(world: World) -> AgentUnderTest:
    assert world.delegation is not None
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


@pytest.fixture
def twin(world: World) -> AgentUnderTest:
    return AgentUnderTest(through_django, world.keys["twin"], world.delegate("twin").id)


def write(agent: AgentUnderTest, content: str, **more: object) -> Answer:
    answer = agent.submit("write_file", {"path": PATH, "content": content, **more})
    assert answer.status in {200, 202}, answer.json
    return answer


def body(world: World, answer: Answer) -> card.Body:
    shown = card.card_page(world.rui, ActionRequest.objects.get(pk=answer.json["id"])).body
    assert shown is not None
    return shown


def test_what_another_agent_wrote_hides_no_line(world: World, robo: AgentUnderTest, twin: AgentUnderTest) -> None:
    write(twin, "open the door\n")
    shown = body(world, write(robo, "open the door\n", destructive=True))
    assert (shown.kind, shown.label) == ("text", "Content")
    assert (" ", "open the door") in shown.first


def test_the_same_agents_last_write_is_what_it_is_compared_with_and_the_label_says_whose(
    world: World, robo: AgentUnderTest, twin: AgentUnderTest
) -> None:
    write(robo, "one\n")
    write(twin, "two\n")
    shown = body(world, write(robo, "two\n", destructive=True))
    assert shown.kind == "diff"
    assert shown.label == "Content, against what was last approved for this agent"
    assert [line for line in shown.first if line[0] != " "] == [("-", "one"), ("+", "two")]


def test_what_would_be_lost_is_what_this_agent_wrote(world: World, robo: AgentUnderTest, twin: AgentUnderTest) -> None:
    write(twin, "nothing of value\n")
    answer = robo.delete(PATH)
    assert card.card_page(world.rui, ActionRequest.objects.get(pk=answer.json["id"])).body is None
    write(robo, "one\n")
    shown = body(world, robo.delete(PATH))
    assert shown.label == "Content that would be lost, as it was last approved for this agent"
