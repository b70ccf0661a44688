"""Who is a canary is known to lists and notifications alone."""

from __future__ import annotations

import ast

import pytest
from django.test import Client
from django.urls import reverse

from approvals import queue
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit import fsck
from audit.log import commit, utc_now
from audit.models import Entry, Outbox
from governance.errors import Refused
from governance.models import Agent
from governance.runtime import canary_agents
from governance.runtime.actions import register_service, retire_service
from governance.runtime.models import CanaryAgent
from imprimatur.formats import ids
from imprimatur.formats.attestation import CANARIES, MONITOR
from imprimatur.formats.keys import KeyPair
from tests.architecture.sources import OWN, ROOT, modules, tree
from tests.canary.desk import Canaries

MARKER = {"canary_agents", "CanaryAgent"}
MAY_KNOW = {
    "approvals/notifications/topics.py": "notifications: mail, webhooks, reminders and escalations leave canaries out",
    "approvals/queue.py": "the lists of the desk",
    "audit/views/log.py": "the list of the log's entries",
    "governance/apps.py": "tells the room below which entries its list leaves out",
    "governance/migrations/0007_canary_agents.py": "the table",
    "governance/runtime/actions/register_service.py": "an admin declares them",
    "governance/runtime/alarms.py": "notifications: mail about refused launches",
    "governance/runtime/canary_agents.py": "the marker itself",
    "governance/runtime/canary_page.py": "the page of the canaries names them",
    "governance/runtime/mirrors.py": "holds the table against the log",
    "governance/runtime/models.py": "the table",
    "governance/runtime/reading.py": "the list of refused launches",
    "governance/views/agents.py": "the list of agents",
}
DECIDES = (
    "approvals/actions/",
    "approvals/door/",
    "approvals/submission.py",
    "governance/judgement.py",
    "governance/actions/",
)


def names(module: str) -> set[str]:
    found = set()
    for node in ast.walk(tree(ROOT / module)):
        match node:
            case ast.ImportFrom(module=of, names=given):
                found |= {alias.name for alias in given} | set((of or "").split("."))
            case ast.Import(names=given):
                found |= {part for alias in given for part in alias.name.split(".")}
            case ast.Attribute(attr=name) | ast.Name(id=name):
                found.add(name)
            case ast.Constant(value=str(text)):
                found.add(text)
    return found


def test_invariant_4_no_check_can_tell_a_canary_from_any_other_agent() -> None:
    know = {module for module in modules(*OWN) if names(module) & MARKER}
    assert know - MAY_KNOW.keys() == set(), "a module that may decide something knows who is a canary"
    assert "governance/runtime/canary_agents.py" in know
    assert not [module for module in MAY_KNOW if module.startswith(DECIDES)]


def test_lists_leave_canaries_out_and_say_so(canaries: Canaries, client: Client) -> None:
    world = canaries.world
    assert canaries.run().result == "PASSED"
    asked = ActionRequest.objects.filter(agent__in=[agent.pk for agent in canaries.agents])
    hidden = len(asked)
    assert hidden > 5 and queue.decided(canaries=False) == []
    client.force_login(world.rui.user)

    page = client.get("/?list=decided").content.decode()
    assert f"{hidden} canary requests hidden" in page and "canary one" not in page
    shown = client.get("/?list=decided&canaries=shown").content.decode()
    assert "canary one" in shown and "Requests of canaries are shown" in shown
    agents = client.get("/agents/").content.decode()
    assert "2 canaries hidden" in agents and "canary one" not in agents and "robo" in agents
    assert "canary one" in client.get("/agents/?canaries=shown").content.decode()


def test_the_log_leaves_entries_of_canaries_out_of_its_list_and_nowhere_else(
    canaries: Canaries, client: Client
) -> None:
    assert canaries.run().result == "PASSED"
    client.force_login(canaries.world.people["audra"].user)
    one = canaries.agents[0].pk
    theirs = Entry.objects.filter(agent__in=[agent.pk for agent in canaries.agents])

    page = client.get("/log/").content.decode()
    assert f"{theirs.count()} entries of canaries hidden here" in page
    links = [f'href="{reverse("entry", args=[index])}"' for index in theirs.values_list("index", flat=True)]
    assert len(links) > 10 and not [link for link in links if link in page]
    shown = client.get("/log/?canaries=shown").content.decode()
    assert "Entries of canaries are shown" in shown and [link for link in links if link in shown]
    by_name = client.get(f"/log/?agent={one}").content.decode()
    assert "hidden here" not in by_name and by_name.count('class="says"') > 10


def test_nobody_is_told_of_what_a_canary_asks(canaries: Canaries, settings: object) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"  # type: ignore[attr-defined]
    settings.WEBHOOK_URL = "https://hooks.example.org/"  # type: ignore[attr-defined]
    assert canaries.run().result == "PASSED"
    assert ActionRequest.objects.filter(state="CANCELLED").exists(), "one waited for people"
    assert not Outbox.objects.filter(topic__in=(topics.MAIL, topics.WEBHOOK)).exists()


def test_an_agent_is_a_canary_as_long_as_its_runner_is_in_use(canaries: Canaries) -> None:
    one = canaries.agents[0].pk
    assert canary_agents.includes(one) and not canary_agents.includes(canaries.world.robo.pk)
    commit(retire_service.apply, retire_service.Command(canaries.service.pk, "moved", canaries.world.ada))
    assert not canary_agents.includes(one)
    assert CanaryAgent.objects.count() == 2 and Agent.objects.filter(pk=one).exists()
    assert queue.of_canaries(open=True, now=utc_now()) == 0


@pytest.mark.parametrize(
    ("role", "agents", "code"),
    [
        (MONITOR, 1, "invalid"),
        (CANARIES, 2, "conflict"),
        (CANARIES, 0, "not-found"),
    ],
)
def test_only_a_canary_runner_has_agents_and_only_those_that_are_nobody_elses(
    canaries: Canaries, role: str, agents: int, code: str
) -> None:
    key = KeyPair.generate()
    nobody = (ids.agent_id(key.public_key),)
    mine = {0: nobody, 1: (canaries.world.robo.pk,), 2: (canaries.agents[0].pk,)}[agents]
    command = register_service.Command("another", role, key.public_key, canaries.world.ada, agents=mine)
    with pytest.raises(Refused) as refused:
        commit(register_service.apply, command)
    assert refused.value.code == code


def test_the_table_of_canaries_is_held_against_the_log(canaries: Canaries) -> None:
    canaries.world.publish()
    assert not [found for found in fsck.run().findings if "canary agent" in found.what]
    CanaryAgent.objects.create(agent=canaries.world.robo, service=canaries.service)
    (found,) = [found for found in fsck.run().findings if "canary agent" in found.what]
    assert canaries.world.robo.pk in found.what
