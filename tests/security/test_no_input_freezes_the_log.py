"""Whatever the server accepts, the notary has to accept too: an entry it refuses would freeze the log for everybody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals import submission
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from governance.actions import correct_spend, issue_delegation, revoke_key, rotate_key
from governance.errors import Refused
from governance.models import Delegation
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from tests.conftest import World
from tests.door.agent import AgentUnderTest

pytestmark = pytest.mark.usefixtures("notarised")


def later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Let time pass, for the server and for the log."""
    from audit import log

    really = log.utc_now
    for module in ("audit.log", "governance.ceremonies", "approvals.submission", "approvals.door.authenticate"):
        monkeypatch.setattr(f"{module}.utc_now", lambda: really() + by)


def approve(world: World, request: ActionRequest, who: str = "rui", decision: str = "approve", **more: Any) -> Any:
    request.refresh_from_db()
    return cast_vote.answer(world.people[who], request.id, version=request.version, decision=decision, **more)


def test_a_reviewer_cannot_approve_what_stands_on_a_delegation_that_ended_meanwhile(
    world: World, robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    robo.delegation = world.delegate(not_after=format_time(utc_now() + timedelta(seconds=90))).id
    asked = robo.delete()
    assert asked.status == 202
    request = ActionRequest.objects.get(pk=asked.json["id"])
    later(monkeypatch, timedelta(seconds=100))
    with pytest.raises(Refused) as refused:
        approve(world, request)
    assert refused.value.code in {"approval-expired", "delegation-expired"}


def test_a_request_never_waits_longer_than_its_delegation_lasts(world: World, robo: AgentUnderTest) -> None:
    row = world.delegate(not_after=format_time(utc_now() + timedelta(seconds=90)))
    robo.delegation = row.id
    request = ActionRequest.objects.get(pk=robo.delete(ttl=600).json["id"])
    assert request.expires_at <= row.not_after


def test_a_key_that_was_rotated_away_while_its_request_was_judged_asks_nothing(
    world: World, robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = submission.prepare

    def rotated_meanwhile(wish: Any) -> Any:
        command = really(wish)
        new = KeyPair.generate()
        message = rotate_key.preimage(
            realm=world.realm, agent=world.robo.id, old=robo.key.thumbprint, public_key=new.public_key
        )
        commit(
            rotate_key.apply,
            rotate_key.Command(world.robo, robo.key.thumbprint, new.public_key, b64u(robo.key.sign(message))),
        )
        return command

    monkeypatch.setattr(submission, "prepare", rotated_meanwhile)
    monkeypatch.setattr("tests.door.agent.time.time", lambda: utc_now().timestamp() + 4)
    answer = robo.read()
    assert (answer.status, answer.code) == (401, "key-revoked")
    assert not ActionRequest.objects.exists()


def test_a_key_that_was_revoked_while_its_request_was_judged_asks_nothing(
    world: World, robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = submission.prepare

    def revoked_meanwhile(wish: Any) -> Any:
        command = really(wish)
        commit(revoke_key.apply, revoke_key.Command(robo.key.thumbprint, "lost", by=world.ada))
        return command

    monkeypatch.setattr(submission, "prepare", revoked_meanwhile)
    answer = robo.delete()
    assert (answer.status, answer.code) == (401, "key-revoked")
    assert not ActionRequest.objects.exists()


def test_a_delegation_issued_while_its_first_request_is_judged_counts_with_all_it_says(
    world: World, robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the request would rest on no delegation, and whom it acts for could approve it."""
    document = world.document(on_behalf_of=world.rui.id)
    from imprimatur.formats import delegation as formats

    robo.delegation = formats.delegation_id(document)
    really = submission.prepare

    def issued_meanwhile(wish: Any) -> Any:
        command = really(wish)
        signature = world.sign_as_person(document)
        world.issue(issue_delegation.Command(document, signature, world.ada))
        return command

    monkeypatch.setattr(submission, "prepare", issued_meanwhile)
    answer = robo.delete()
    if answer.status == 202:
        request = ActionRequest.objects.get(pk=answer.json["id"])
        assert request.delegation_id == robo.delegation
        with pytest.raises(Refused, match="behalf"):
            approve(world, request)
        approve(world, request, "rosa")
    else:
        assert not ActionRequest.objects.filter(verdict="allow").exists()


def test_a_correction_below_a_chain_gives_back_once_at_each_link(world: World, robo: AgentUnderTest) -> None:
    root = world.delegate(max_depth=1)
    ends = format_time(root.not_after - timedelta(minutes=1))
    part = world.pass_on(root, "robo", "twin", spend={"unit": "USD", "limit": "100.00"}, not_after=ends)
    twin = AgentUnderTest(robo.send, world.keys["twin"], part.id)
    asked = twin.pay("40.00")
    assert asked.status == 202, asked.json
    request = ActionRequest.objects.get(pk=asked.json["id"])
    approve(world, request)
    approve(world, request, "rosa", "confirm", typed=request.target)
    assert twin.redeem(asked.json).status == 200
    commit(correct_spend.apply, correct_spend.Command(part.id, "40.00", "USD", "It came back.", world.ada))
    assert {row.spent for row in Delegation.objects.filter(pk__in=[root.id, part.id])} == {0}
