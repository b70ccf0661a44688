"""A gate with a door in memory, and two ways to hold it: from ordinary code and from asyncio."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from imprimatur.client.base import Base
from imprimatur.testing import AsyncFakeGate, Decisions, FakeGate

Change = Callable[[dict[str, Any]], None]


@dataclass
class Road:
    """What lies between client and door: it counts, and may lose or change what passes."""

    gate: Any = None
    sent: list[httpx2.Request] = field(default_factory=list)
    lose: Callable[[httpx2.Request, int], bool] = lambda request, number: False
    lose_answer: Callable[[httpx2.Request, int], bool] = lambda request, number: False
    instead: Callable[[httpx2.Request, int], httpx2.Response | None] = lambda request, number: None
    change: Mapping[str, Change] = field(default_factory=dict)

    def carry(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        number = len(self.sent)
        if self.lose(request, number):
            raise httpx2.ConnectError("nobody there")
        other = self.instead(request, number)
        if other is not None:
            return other
        answer: httpx2.Response = self.gate.door.handle(request)
        if self.lose_answer(request, number):
            raise httpx2.ReadError("cut off")
        step = request.url.path.rpartition("/")[2]
        step = "wait" if step.startswith("act_") else step
        if step in self.change:
            document = json.loads(answer.content)
            self.change[step](document)
            return httpx2.Response(answer.status_code, json=document)
        return answer

    def paths(self) -> list[str]:
        return [one.url.path.removeprefix("/api/v1/") for one in self.sent]

    def steps(self) -> list[str]:
        found = [path.rpartition("/")[2] for path in self.paths()]
        return ["wait" if step.startswith("act_") else step for step in found]


@dataclass
class Gate:
    """A gate under test and the road to its door; ``call`` runs a governed function in either world."""

    gate: Any
    road: Road
    ran: list[dict[str, Any]] = field(default_factory=list)
    asynchronous: bool = False

    def govern(
        self, name: str = "tool", effect: Callable[..., Any] | None = None, **options: Any
    ) -> Callable[..., Any]:
        """A governed function ``(value, extra=…)`` that records that it ran, called as an ordinary one."""

        def run(value: Any, extra: Any = "none") -> Any:
            self.ran.append({"value": copy.deepcopy(value), "extra": extra})
            return effect(value) if effect else f"did {value}"

        if not self.asynchronous:
            return self.gate.tool(name, **options)(run)

        async def arun(value: Any, extra: Any = "none") -> Any:
            return run(value, extra)

        governed = self.gate.tool(name, **options)(arun)
        return lambda *args, **kwargs: asyncio.run(governed(*args, **kwargs))

    @property
    def states(self) -> list[list[str]]:
        return [asked.states for asked in self.gate.asked]


Make = Callable[..., Gate]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Make:
    """Both clients, so that every test says that they agree."""

    def build(decisions: Decisions | None = None, **options: Any) -> Gate:
        road = Road()
        kind: type[Base] = FakeGate if request.param == "sync" else AsyncFakeGate
        gate = kind(decisions, transport=httpx2.MockTransport(road.carry), **options)
        road.gate = gate
        return Gate(gate, road, asynchronous=request.param == "async")

    return build
