from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.alone import alone
from tests.conftest import World
from tests.runtime.agents import Yard
from tests.runtime.served import Served, needs_a_sandbox, shared_folder


@pytest.fixture(autouse=True)
def turn() -> Iterator[None]:
    """No other test starts what a monitor would see meanwhile."""
    with alone():
        yield


@pytest.fixture
def served(world: World, settings: Any) -> Iterator[Served]:
    """The real server, with the usual cast."""
    settings.ROOT_URLCONF = "tests.door.urls"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name and "server." not in name]
    with shared_folder() as folder:
        made = Served(world, settings, folder)
        yield made
        made.http.server_close()


@pytest.fixture
def yard(served: Served) -> Yard:
    """An orchestrator with layers that Ada signed, and what its agent runs."""
    needs_a_sandbox()
    return Yard(served)
