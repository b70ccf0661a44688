"""Telling people and other systems: only who can answer, nothing to decide with, signed, and never in the way."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest
import standardwebhooks

from approvals import clock, jobs
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from approvals.notifications import mail, topics, webhook
from audit import inbox, outbox
from audit.log import utc_now
from audit.models import Outbox
from governance.models import Person
from imprimatur.formats import ed25519
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the outbox put on the queue of the workers."""
    found: list[tuple[str, dict[str, Any]]] = []

    class Queue:
        def enqueue(self, function: str, payload: dict[str, Any]) -> None:
            found.append((function, payload))

    monkeypatch.setattr("django_rq.get_queue", lambda name: Queue())
    return found


@pytest.fixture
def robo(world: World, settings: Any) -> AgentUnderTest:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.WEBHOOK_URL = "http://receiver.invalid/hook"
    settings.WEBHOOK_SECRET = SECRET
    for person in Person.objects.select_related("user"):
        person.user.email = f"{person.user.username}@example.org"
        person.user.save()
    assert world.delegation is not None
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


def test_only_those_who_can_answer_get_mail(robo: AgentUnderTest, queued: Any, mailoutbox: list[Any]) -> None:
    action = robo.delete("/project/src/secret-name.py", justification="Because I say so.").json
    clock.deliver(utc_now())
    [payload] = [payload for name, payload in queued if name == "approvals.jobs.deliver_mail"]
    assert jobs.deliver_mail(payload) == 2
    assert {message.to[0] for message in mailoutbox} == {"rui@example.org", "rosa@example.org"}
    text = mailoutbox[0].subject + mailoutbox[0].body
    assert "HIGH" in text
    assert action["url"] in text
    assert "secret-name" not in text
    assert "Because" not in text


def test_nobody_is_asked_about_what_is_decided_already(
    world: World, robo: AgentUnderTest, queued: Any, mailoutbox: list[Any]
) -> None:
    request = ActionRequest.objects.get(pk=robo.delete().json["id"])
    clock.deliver(utc_now())
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
    [payload] = [payload for name, payload in queued if name == "approvals.jobs.deliver_mail"]
    assert jobs.deliver_mail(payload) == 0
    assert mailoutbox == []


def test_the_tool_of_an_agent_is_inert_in_mail(world: World, robo: AgentUnderTest) -> None:
    request = ActionRequest.objects.get(pk=robo.delete().json["id"])
    request.tool = "https://evil.example/\u202etxt"
    message = mail.compose(request, topics.ASKED, Person.objects.get(pk=world.rui.pk))
    assert message is not None
    assert "https://evil.example" not in message.body
    assert "\u202e" not in message.subject


def test_the_webhook_verifies_under_both_schemes(robo: AgentUnderTest) -> None:
    request = ActionRequest.objects.get(pk=robo.delete().json["id"])
    payload = Outbox.objects.get(topic=topics.WEBHOOK).payload
    body = webhook.body_of(request, payload)
    headers = webhook.headers_of(payload["id"], utc_now(), body)
    told = standardwebhooks.Webhook(SECRET).verify(body, headers)
    assert set(told["data"]) == {"request", "version", "tool", "risk", "url", "people"}
    [v1a] = [part[4:] for part in headers["webhook-signature"].split(" ") if part.startswith("v1a,")]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    public = base64.b64decode(webhook.public_key().removeprefix("whpk_"))
    assert ed25519.verify(public, signed, base64.b64decode(v1a))


@pytest.mark.parametrize("status", [200, 302, 410, 500])
def test_a_receiver_that_does_not_take_it_is_tried_again_later(robo: AgentUnderTest, queued: Any, status: int) -> None:
    request = ActionRequest.objects.get(pk=robo.delete().json["id"])
    payload = Outbox.objects.get(topic=topics.WEBHOOK).payload
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, headers={"location": "http://inside/"}))
    if status == 200:
        webhook.post(request, payload, utc_now(), transport)
        return
    with pytest.raises(webhook.NotDelivered) as caught:
        webhook.post(request, payload, utc_now(), transport)
    assert caught.value.final == (status == 410)


def test_a_dead_receiver_never_blocks_and_is_given_up_in_the_end(
    robo: AgentUnderTest, queued: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*arguments: Any, **more: Any) -> None:
        raise webhook.NotDelivered("ConnectError")

    monkeypatch.setattr(webhook, "post", dead)
    robo.delete()
    now = utc_now()
    for pause in webhook.PAUSES:
        queued.clear()
        assert outbox.deliver(now) >= 1
        [payload] = [payload for name, payload in queued if name == "approvals.jobs.deliver_webhook"]
        assert jobs.deliver_webhook(payload) is False
        assert inbox.drain() == 1
        now = utc_now() + pause
    queued.clear()
    outbox.deliver(now)
    [payload] = [payload for name, payload in queued if name == "approvals.jobs.deliver_webhook"]
    jobs.deliver_webhook(payload)
    inbox.drain()
    assert not Outbox.objects.filter(topic=topics.WEBHOOK, done_at=None).exists()
    assert robo.read().status == 200


def test_redis_being_away_leaves_it_in_the_outbox(robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def away(name: str) -> Any:
        raise redis.ConnectionError("away")

    monkeypatch.setattr("django_rq.get_queue", away)
    assert robo.delete().status == 202
    outbox.deliver(utc_now())
    waiting = Outbox.objects.filter(done_at=None)
    assert {row.topic for row in waiting} == {topics.MAIL, topics.WEBHOOK}
    assert all(row.not_before > utc_now() - timedelta(seconds=1) for row in waiting)
    assert "receiver.invalid" not in json.dumps([row.error for row in waiting])
