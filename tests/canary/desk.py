"""The whole server behind a transport: what the runner sends goes through Django, in the test's own transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from django.test import Client

from audit import trust as anchors
from audit.errors import PublishRefused
from audit.log import commit
from governance.actions import enrol_agent, invite_agent
from governance.models import Agent
from governance.runtime.actions import register_service
from governance.runtime.models import CanaryRun, Service
from imprimatur.canary import folder as folders
from imprimatur.canary import runner
from imprimatur.canary.attempts import LIMIT, SCOPE
from imprimatur.formats import canonical
from imprimatur.formats.keys import KeyPair
from tests.conftest import World

URL = "http://localhost:8000"

Gate = Callable[[str, str], int | None]
"""From method and path to a status that is answered in the server's place; 0 is no answer, None asks the server."""


@dataclass
class Desk(httpx2.BaseTransport):
    """``asked`` is what reached the server. What it wrote is published after each request, as elsewhere by a thread."""

    world: World
    gate: Gate = lambda method, path: None
    publishing: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path))
        instead = self.gate(request.method, path)
        if instead == 0:
            raise httpx2.ConnectError("nobody answers")
        if instead is not None:
            headers = {"content-type": "application/problem+json"}
            return httpx2.Response(instead, headers=headers, content=b'{"code": "busy", "detail": "Too much."}')
        given = {name: value for name, value in request.headers.items() if name not in ("content-type", "host")}
        reply = Client(enforce_csrf_checks=True, raise_request_exception=False).generic(
            request.method,
            path,
            request.read(),
            content_type=request.headers.get("content-type", "application/octet-stream"),
            headers=given,
            SERVER_NAME="localhost",
            SERVER_PORT="8000",
        )
        answered = list(reply.headers.items()) + [
            ("set-cookie", each.OutputString()) for each in reply.cookies.values()
        ]
        if self.publishing:
            with suppress(PublishRefused):  # the log is frozen then, as it is when the publisher's thread finds it
                self.world.publish()
        return httpx2.Response(reply.status_code, headers=answered, content=reply.content)


@dataclass
class Canaries:
    """A folder that an admin set up, and how to run it."""

    world: World
    path: Path
    desk: Desk
    service: Service
    agents: list[Agent]

    def run(self, **changes: Any) -> runner.Run:
        """One run against the server."""
        return runner.run(self.path, transport=self.desk, sleep=lambda seconds: None, **changes)

    def wrong(self, done: runner.Run) -> dict[str, tuple[int, str]]:
        """The attempts that did not get what they must."""
        from imprimatur.rules import canaries

        return {
            str(each["name"]): (each["status"], str(each["code"]))
            for each in done.attempts
            if not canaries.as_expected(each)
        }

    def newest(self) -> CanaryRun:
        """The newest run that the server has."""
        found = CanaryRun.objects.first()
        assert found is not None
        return found


def enrol(world: World, name: str, key: KeyPair) -> Agent:
    """Enrol an agent whose key is there already."""
    command, token = invite_agent.new(name, world.ada, world.ada)
    commit(invite_agent.apply, command)
    return commit(enrol_agent.apply, enrol_agent.Command(token, key.public_key)).agent


def set_up(world: World, path: Path) -> Canaries:
    """What an admin does: two agents, two services, one delegation."""
    made = folders.make(path, URL, canonical.dumps(anchors.server()))
    names = ("canary one", "canary two")
    agents = [enrol(world, name, key) for name, key in zip(names, (made.one, made.two), strict=True)]
    world.agents |= dict(zip(names, agents, strict=True))
    world.keys |= dict(zip(names, (made.one, made.two), strict=True))
    services = []
    for folder in (made.results, made.launches):
        mine = tuple(agent.pk for agent in agents) if folder is made.results else ()
        command = register_service.Command(
            f"canary {folder.role}", folder.role, folder.key.public_key, world.ada, agents=mine
        )
        services.append(commit(register_service.apply, command).service)
    world.delegate("canary one", scope=list(SCOPE), spend={"unit": "USD", "limit": LIMIT}, max_depth=1)
    return Canaries(world, path, Desk(world), services[0], agents)
