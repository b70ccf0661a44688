from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from approvals.door import limits, rejections
from audit.models import Entry
from imprimatur.verify.history import History
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Send, through_asgi, through_django


@pytest.fixture(autouse=True)
def fresh_door(settings: Any) -> Iterator[None]:
    """No limit and no count of another test, and the API where agents expect it."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.ROOT_URLCONF = "tests.door.urls"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name and "server." not in name]
    for limiter in (limits.addresses, limits.keys, limits.services, limits.rejected):
        limiter.clear()
    rejections.clear()
    yield


@pytest.fixture(params=[through_django, through_asgi], ids=["django", "asgi"])
def door(request: pytest.FixtureRequest) -> Send:
    """Both ways in. What holds for one holds for the other."""
    way: Send = request.param
    return way


@pytest.fixture
def robo(world: World, door: Send) -> AgentUnderTest:
    """The agent with Ada's delegation."""
    assert world.delegation is not None
    return AgentUnderTest(door, world.keys["robo"], world.delegation.id)


@pytest.fixture
def twin(world: World, door: Send) -> AgentUnderTest:
    """Another agent, which claims robo's delegation."""
    assert world.delegation is not None
    return AgentUnderTest(door, world.keys["twin"], world.delegation.id)


@pytest.fixture
def notarised(db: None, settings: Any) -> Iterator[Callable[[], int]]:
    """After the test, the whole log is held against the verifier's own rules: what we wrote must be a lawful history."""

    def check() -> int:
        history = History(settings.REALM)
        for entry in Entry.objects.order_by("index"):
            history.feed(entry.index, bytes(entry.envelope))
        return history.size

    yield check
    assert check() > 0
