"""A stolen session of an admin must not become a key that outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from audit.models import Entry
from governance.models import PersonKey
from imprimatur.formats.keys import KeyPair
from tests.conftest import World, ssh_line

PASSWORD = "correct horse battery staple"


@pytest.fixture
def session(world: World, settings: Any) -> Iterator[Client]:
    """Ada's session, as whoever holds her cookie has it."""
    settings.ROOT_URLCONF = "server.urls"
    cache.clear()
    world.ada.user.set_password(PASSWORD)
    world.ada.user.save()
    client = Client()
    client.force_login(world.ada.user)
    yield client
    cache.clear()


def register(world: World, session: Client, password: str | None) -> Any:
    data = {"line": ssh_line(KeyPair.generate()), "step": "register"}
    if password is not None:
        data["password"] = password
    return session.post(f"/people/{world.ada.id}/keys/add", data)


@pytest.mark.parametrize("password", [None, "", "a guess", PASSWORD.upper()])
def test_invariant_4_a_session_without_the_password_registers_no_key(
    world: World, session: Client, password: str | None
) -> None:
    size, keys = Entry.objects.count(), PersonKey.objects.count()
    answer = register(world, session, password)
    assert answer.status_code == 422
    assert answer.context["key_form"].errors["password"]
    assert "This is not your password" in answer.content.decode()
    assert (Entry.objects.count(), PersonKey.objects.count()) == (size, keys)


def test_with_the_password_the_key_is_registered(world: World, session: Client) -> None:
    keys = PersonKey.objects.count()
    assert register(world, session, PASSWORD).status_code == 302
    assert PersonKey.objects.count() == keys + 1


def test_passwords_are_guessed_here_no_faster_than_at_the_login(world: World, session: Client) -> None:
    keys = PersonKey.objects.count()
    for _ in range(5):
        register(world, session, "a guess")
    answer = register(world, session, PASSWORD)
    assert answer.status_code == 422
    assert "Too many" in answer.content.decode()
    assert PersonKey.objects.count() == keys
