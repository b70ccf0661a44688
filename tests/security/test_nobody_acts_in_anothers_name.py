"""An admin may do much, and nothing of it in the name of somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from audit.log import commit
from audit.models import Entry
from governance.actions import add_person, add_person_key
from governance.errors import Refused
from governance.models import PersonKey
from imprimatur.formats.keys import KeyPair
from tests.conftest import World, ssh_line


@pytest.fixture
def boss(world: World) -> Any:
    """A second admin."""
    command, _ = add_person.new("boss", ("admin",), by=world.ada)
    return commit(add_person.apply, command).person


def test_invariant_4_an_admin_registers_no_key_that_would_sign_as_another_admin(
    world: World, boss: Any, settings: Any
) -> None:
    settings.ROOT_URLCONF = "server.urls"
    line = ssh_line(KeyPair.generate())
    with pytest.raises(Refused) as refused:
        commit(add_person_key.apply, add_person_key.Command(boss, line, by=world.ada))
    assert refused.value.code == "not-allowed"
    ada = Client()
    ada.force_login(world.ada.user)
    path = f"/people/{boss.id}/keys/add"
    answer = ada.post(path, {"line": line, "step": "register"})
    assert answer.status_code in {403, 422}
    assert not PersonKey.objects.filter(person=boss).exists()
    assert not Entry.objects.filter(kind="person.key_added", subject=boss.id).exists()


def test_everybody_registers_their_own_key_and_the_console_may_for_them(world: World, boss: Any) -> None:
    commit(add_person_key.apply, add_person_key.Command(boss, ssh_line(KeyPair.generate()), by=boss))
    commit(add_person_key.apply, add_person_key.Command(boss, ssh_line(KeyPair.generate())))
    actors = Entry.objects.filter(kind="person.key_added", subject=boss.id).order_by("index")
    assert list(actors.values_list("actor_id", flat=True)) == [boss.id, "console"]
