from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.append_only import let_tests_flush
from tests.conftest import World

let_tests_flush()

Login = Callable[[str], Client]


@pytest.fixture
def login(world: World) -> Login:
    """A browser in which somebody of the cast is signed in."""

    def sign_in(name: str) -> Client:
        client = Client(enforce_csrf_checks=False)
        client.force_login(world.people[name].user)
        return client

    return sign_in
