from __future__ import annotations

from typing import Any

import pytest

from audit import kinds as log_kinds
from audit import log
from audit.models import Entry
from governance import freshness, sentences, triggers
from governance.actions import login_reset, revoke_person_key, set_pause
from governance.models import Agent, AgentKey, Delegation, Pause, Person, PersonKey, Policy, Tool
from imprimatur.formats import dsse, entries
from imprimatur.formats.entries import KINDS


@pytest.fixture
def held(cast) -> Delegation:
    return cast.delegate("ada", "robo", spend={"unit": "USD", "limit": "10.00"})


def raised(change: Any) -> bool:
    before = freshness.epoch()
    change()
    return freshness.epoch() > before


def test_every_change_of_authority_raises_the_epoch_whoever_makes_it(cast, held):
    log.commit(set_pause.apply, set_pause.Command(Pause.EVERYTHING, "", "x", cast.ada))
    rui = cast.people["rui"].user
    changes = {
        "agent": lambda: Agent.objects.update(state=Agent.SUSPENDED),
        "agent key": lambda: AgentKey.objects.update(revoked_since=log.utc_now()),
        "delegation": lambda: Delegation.objects.update(revoked_at=log.utc_now()),
        "limit": lambda: Delegation.objects.update(limit=1),
        "person key": lambda: PersonKey.objects.update(revoked_at=log.utc_now()),
        "person": lambda: Person.objects.filter(user=rui).update(name="Other"),
        "active": lambda: type(rui).objects.filter(pk=rui.pk).update(is_active=False),
        "role taken": rui.groups.clear,
        "policy": lambda: Policy.objects.update(active=False),
        "tool": lambda: Tool.objects.filter(name="read_file").update(current=False),
        "pause": lambda: Pause.objects.update(lifted_at=log.utc_now()),
        "deleted": lambda: Pause.objects.all().delete(),
    }
    assert [name for name, change in changes.items() if not raised(change)] == []


def test_bookkeeping_does_not_raise_the_epoch(cast, held):
    ada = cast.ada.user
    assert not raised(lambda: Delegation.objects.update(reserved=1, spent=1))
    assert not raised(lambda: Agent.objects.update(last_seen_at=log.utc_now()))
    assert not raised(ada.save)


def test_a_missing_trigger_is_noticed_at_start(db):
    from django.db import connection

    assert triggers.check_installed() == []
    with connection.cursor() as cursor:
        name = "epoch_governance_pause_insert"
        on = " ON governance_pause" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER {name}{on}")
    assert name in triggers.check_installed()[0]


def test_every_kind_of_this_room_has_a_sentence_that_names_people_and_agents(cast, held):
    rooms = ("person.", "agent.", "delegation.", "tool.", "policy.", "pause.", "spend.", "change.", "service.")
    rooms += ("launch.", "observation.", "canary.", "server.")
    assert {kind for kind in KINDS if kind.startswith(rooms)} == set(sentences.SENTENCES)
    log.commit(login_reset.apply, login_reset.Command(cast.people["rui"], login_reset.SECOND_FACTOR, by=cast.ada))
    lost = cast.vouch(cast.enrolled_ssh("ada"), by="ada")
    cast.signing("rui")
    log.commit(
        revoke_person_key.apply, revoke_person_key.Command(lost.fingerprint, "left behind", by=cast.ada, stolen=True)
    )
    said = {}
    for row in Entry.objects.order_by("index"):
        entry = entries.parse(dsse.open_envelope(bytes(row.envelope)).payload)
        said[row.kind] = log_kinds.sentence(entry)
    assert said["delegation.issued"].startswith("Ada delegated file:read:/project, file:write:/project to robo, until ")
    assert said["person.added"] == "Ada added Mallory without a role"
    assert said["agent.enrolled"].startswith("The agent helper enrolled with the key ")
    assert said["agent.invited"] == "Ada invited an agent called helper, owned by Ada"
    assert said["person.login_reset"] == "Ada gave Rui a login without the second factor they had"
    assert said["person.key_enrolled"].startswith("Rui enrolled a passkey bound to one device, ")
    assert said["person.key_enrolled"].endswith(", called “rui's key”; it waits for a voucher")
    assert said["person.key_vouched"].startswith("Ada vouched for the key ")
    assert said["person.key_vouched"].endswith(" of Rui, before three people could take part")
    assert said["person.key_revoked"].startswith(f"Ada revoked the key {lost.fingerprint} of Ada as stolen from ")
