from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from approvals.door import limits, rejections
from audit import publisher
from audit.models import LogHead
from imprimatur.formats.attestation import CANARIES, MONITOR, ORCHESTRATOR
from tests.attesting.service import ServiceUnderTest, service
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django


@pytest.fixture(autouse=True)
def fresh_door(settings: Any) -> Iterator[None]:
    """No limit and no count of another test."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    for limiter in (limits.addresses, limits.keys, limits.services, limits.rejected):
        limiter.clear()
    rejections.clear()
    yield


@pytest.fixture
def robo(world: World) -> AgentUnderTest:
    assert world.delegation is not None
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


@pytest.fixture
def orchestrator(world: World) -> ServiceUnderTest:
    return service(world, through_django, ORCHESTRATOR)


@pytest.fixture
def monitor(world: World) -> ServiceUnderTest:
    return service(world, through_django, MONITOR)


@pytest.fixture
def canary(world: World) -> ServiceUnderTest:
    return service(world, through_django, CANARIES)


@pytest.fixture
def published(world: World) -> Iterator[Callable[[], int]]:
    """After the test the publisher, as a notary, signs everything that was written: else the log would freeze."""

    def publish() -> int:
        world.publish()
        head = LogHead.objects.get()
        assert head.state == LogHead.OPEN, head.frozen_reason
        assert publisher.published_size() == head.size, "the notary refused to publish"
        return int(head.size)

    yield publish
    publish()
