"""A held answer costs a thread or a connection, so one key may hold only so many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from approvals import waiting
from governance.errors import Refused
from tests.conftest import World
from tests.door.agent import AgentUnderTest


@pytest.fixture
def many(world: World) -> Iterator[str]:
    """Robo's key waits as often as it may, at something that never happens."""
    key = world.keys["robo"].thumbprint
    wakes: list[Callable[[], None]] = [partial(bool, number) for number in range(waiting.MOST_PER_KEY)]
    for wake in wakes:
        waiting.bell.listen("act_elsewhere", 1, wake, key)
    yield key
    for wake in wakes:
        waiting.bell.leave("act_elsewhere", wake)
    assert waiting.bell.waiting() == 0


def test_a_key_that_holds_its_waits_gets_no_further_one(many: str, robo: AgentUnderTest) -> None:
    pending = robo.delete()
    assert pending.status == 202
    answer = robo.get(f"/actions/{pending.json['id']}?wait=5")
    assert (answer.status, answer.code) == (429, "rate-limited")
    assert answer.headers["retry-after"]
    assert robo.get(f"/actions/{pending.json['id']}").status == 202


def test_waits_that_have_ended_are_given_back_and_other_keys_have_their_own() -> None:
    bell = waiting.Bell()
    wakes: list[Callable[[], None]] = [partial(bool, number) for number in range(waiting.MOST_PER_KEY)]
    for wake in wakes:
        bell.listen("act_1", 1, wake, "one")
    with pytest.raises(Refused) as refused:
        bell.listen("act_2", 1, bool, "one")
    assert refused.value.code == "rate-limited"
    bell.listen("act_2", 1, bool, "two")
    bell.leave("act_1", wakes[0])
    bell.leave("act_1", wakes[0])
    bell.listen("act_2", 1, int, "one")
    with pytest.raises(Refused):
        bell.listen("act_2", 1, str, "one")
