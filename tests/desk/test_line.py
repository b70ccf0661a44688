"""The socket of an open page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from approvals import consumers, live
from approvals.consumers import LiveConsumer
from tests.conftest import World, build_world

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60  # seconds; only a line that is broken takes them


class Line(ApplicationCommunicator):
    """One socket, as the server sees it. (The communicator of Channels needs a server that we do not use.)"""

    def __init__(self, session_key: str) -> None:
        scope = {"type": "websocket", "path": "/ws/live/", "session": SessionStore(session_key)}
        super().__init__(LiveConsumer.as_asgi(), scope)

    async def connect(self) -> None:
        await self.send_input({"type": "websocket.connect"})
        assert (await self.receive_output(PATIENCE))["type"] == "websocket.accept"

    async def hear(self) -> dict[str, Any]:
        message = await self.receive_output(PATIENCE)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def say(self, text: str) -> None:
        await self.send_input({"type": "websocket.receive", "text": text})

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(PATIENCE)


@pytest.fixture
def world_kept(transactional_db: None) -> World:
    return build_world()


@sync_to_async
def signed_in(world: World, name: str) -> str:
    client = Client()
    client.force_login(world.people[name].user)
    return str(client.session.session_key)


async def refused(communicator: Line) -> int:
    await communicator.connect()
    message = await communicator.receive_output(PATIENCE)
    assert message["type"] == "websocket.close"
    return int(message["code"])


async def test_nobody_listens_without_a_session_or_a_role(world_kept: World) -> None:
    assert await refused(Line("")) == 4401
    assert await refused(Line("nosuchsession")) == 4401
    assert await refused(Line(await signed_in(world_kept, "mallory"))) == 4401


async def test_invariant_10_a_page_hears_ids_and_versions_and_nothing_else(world_kept: World) -> None:
    communicator = Line(await signed_in(world_kept, "rui"))
    await communicator.connect()
    assert await communicator.hear() == {"changed": []}
    live.hub.publish(live.Event("request", "act_1", 2))
    message = await communicator.hear()
    assert message == {"changed": [{"kind": "request", "id": "act_1", "version": 2}]}
    await communicator.leave()


async def test_a_page_hears_what_changes_while_its_line_is_being_opened(
    world_kept: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, really = await signed_in(world_kept, "rui"), consumers.who_stands

    def meanwhile(key: str) -> object:
        live.hub.publish(live.Event("request", "act_1", 2))
        monkeypatch.setattr(consumers, "who_stands", really)
        return really(key)

    monkeypatch.setattr(consumers, "who_stands", meanwhile)
    communicator = Line(session)
    await communicator.connect()
    while not (changed := (await communicator.hear())["changed"]):
        pass
    assert changed == [{"kind": "request", "id": "act_1", "version": 2}]
    await communicator.leave()


async def test_invariant_10_what_a_page_sends_means_nothing(world_kept: World) -> None:
    communicator = Line(await signed_in(world_kept, "rui"))
    await communicator.connect()
    await communicator.hear()
    await communicator.say('{"decision":"approve","request":"act_1"}')
    await communicator.say("not even json")
    assert await communicator.receive_nothing(0.2)
    await communicator.leave()


async def test_a_role_that_is_taken_away_closes_the_line_before_the_next_word(world_kept: World) -> None:
    communicator = Line(await signed_in(world_kept, "rui"))
    await communicator.connect()
    await communicator.hear()
    await sync_to_async(world_kept.rui.user.groups.clear)()
    live.hub.publish(live.Event("request", "act_1", 2))
    message = await communicator.receive_output(PATIENCE)
    assert (message["type"], message["code"]) == ("websocket.close", 4401)


async def test_a_session_that_ended_closes_the_line_within_a_beat(
    world_kept: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "BEAT", 0.05)
    session = await signed_in(world_kept, "rui")
    communicator = Line(session)
    await communicator.connect()
    await communicator.hear()
    await sync_to_async(SessionStore(session).delete)()
    while (message := await communicator.receive_output(PATIENCE))["type"] != "websocket.close":
        assert message["type"] == "websocket.send"
    assert message["code"] == 4401
