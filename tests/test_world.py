from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import transaction

from audit import signer
from audit.log import utc_now
from audit.models import Entry, LogHead
from governance.models import Person
from tests import templates
from tests.conftest import begun_world


def test_the_cast_can_be_brought_in_and_every_step_is_in_the_log(world):
    kinds = list(Entry.objects.values_list("kind", flat=True))
    assert kinds[0] == "log.genesis"
    assert kinds.count("person.added") == len(world.people)
    assert kinds[-1] == "delegation.issued"
    assert LogHead.objects.get().size == len(kinds)


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_is_put_back_is_a_log_that_goes_on(world, time):
    entries = list(Entry.objects.order_by("index").values_list("envelope", flat=True))
    assert world.publish() == len(entries) == LogHead.objects.get().size
    assert signer.decision_key().public_key
    world.robo.name = "changed in memory"
    Person.objects.update(name=f"changed in the {time} test")
    world.delegate()
    assert world.publish() == len(entries) + 1


@pytest.mark.parametrize("time", ["first", "second"])
def test_no_test_sees_what_another_did(world, time):
    assert world.robo.name == "robo"
    assert {person.name for person in Person.objects.all()} == {person.name for person in world.people.values()}
    assert world.delegation.id == Entry.objects.order_by("-index")[0].subject
    assert world.publish() == Entry.objects.count()
    world.ada.name = "changed"


def test_a_template_is_not_for_another_time_nor_for_other_settings(db: None, settings: Any, tmp_path: Path):
    def built(folder: str) -> str:
        settings.DATA_DIR = tmp_path / folder
        settings.DATA_DIR.mkdir()
        settings.LOG_DIR, settings.KEYS_DIR = settings.DATA_DIR / "log", settings.DATA_DIR / "keys"
        signer.forget()
        before = transaction.savepoint()
        robo = begun_world().robo.id
        transaction.savepoint_rollback(before)
        return robo

    now = utc_now()
    with time_machine.travel(now, tick=False):
        robo = built("one")
        assert built("two") == robo
    with time_machine.travel(now - templates.OLDEST, tick=False):
        past = built("three")
    assert past != robo
    settings.RP_ID = "example.org"
    assert built("four") not in {robo, past}
