"""Who is switched off while a page of theirs is under way does nothing any more: the log would have to refuse it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from approvals.actions import add_comment, cancel_request, cast_vote, look_over
from approvals.models import ActionRequest
from audit.actions import ask_bundle, issue_bundle
from audit.log import commit
from audit.models import Bundle
from governance.actions import change_person, revoke_delegation, revoke_key, set_pause, suspend_agent
from governance.errors import Refused
from tests.conftest import World
from tests.door.agent import AgentUnderTest

pytestmark = pytest.mark.usefixtures("notarised")


def _vote(world: World, request: ActionRequest) -> None:
    cast_vote.answer(world.people["owen"], request.id, version=request.version, decision="deny", reason="no")


DEEDS: dict[str, Callable[[World, ActionRequest], object]] = {
    "comment": lambda world, asked: commit(
        add_comment.apply, add_comment.command(asked.id, "so", person=world.people["owen"])
    ),
    "cancel": lambda world, asked: commit(
        cancel_request.apply, cancel_request.Command(asked.id, person=world.people["owen"].id)
    ),
    "vote": _vote,
    "look over": lambda world, asked: look_over.look_over(world.people["owen"], asked.id, "acknowledged"),
    "revoke a delegation": lambda world, asked: commit(
        revoke_delegation.apply, revoke_delegation.Command(asked.delegation_id or "", world.people["owen"], "why")
    ),
    "revoke a key": lambda world, asked: commit(
        revoke_key.apply, revoke_key.Command(asked.key_id, "why", by=world.people["owen"])
    ),
    "suspend": lambda world, asked: commit(
        suspend_agent.apply, suspend_agent.Command(asked.agent, "why", world.people["owen"])
    ),
    "pause": lambda world, asked: commit(
        set_pause.apply, set_pause.Command("everything", "", "why", world.people["owen"])
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_who_was_switched_off_meanwhile_writes_nothing_into_the_log(world: World, door: Any, deed: str) -> None:
    from governance.actions import add_person

    command, _ = add_person.new("owen", ("reviewer",), by=world.ada)
    world.people["owen"] = commit(add_person.apply, command).person
    world.enrol("owned", owner="owen")
    agent = AgentUnderTest(door, world.keys["owned"], world.delegate("owned").id)
    request = ActionRequest.objects.select_related("agent").get(pk=agent.delete().json["id"])
    assert world.people["owen"].user.is_active  # as the page found them
    commit(change_person.apply, change_person.Command(world.people["owen"], active=False, by=world.ada))
    with pytest.raises(Refused):
        DEEDS[deed](world, request)


def test_a_bundle_for_somebody_switched_off_meanwhile_fails_and_stays_out_of_the_log(world: World) -> None:
    audra = world.people["audra"]
    bundle = commit(ask_bundle.apply, ask_bundle.Command(audra.user_id, audra.id))
    commit(change_person.apply, change_person.Command(audra, active=False, by=world.ada))
    built = issue_bundle.Command(bundle.id, "sha256:" + "0" * 64, 1, 1, 1)
    assert commit(issue_bundle.apply, built) is None
    assert Bundle.objects.get(pk=bundle.id).state == Bundle.FAILED
