from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from approvals.door import limits, rejections
from tests.conftest import World
from tests.evidence.attested import Story, begin, tell


@pytest.fixture
def fresh_door(settings: Any) -> Iterator[None]:
    """No limit and no count of another test."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    for limiter in (limits.addresses, limits.keys, limits.rejected):
        limiter.clear()
    rejections.clear()
    yield


@pytest.fixture
def begun_story(world: World, fresh_door: None) -> Story:
    """Services are registered, and nothing ran."""
    return begin(world)


@pytest.fixture
def attested(begun_story: Story) -> Story:
    """Services attested, looked and attacked."""
    return tell(begun_story)
