"""An agent shows the server the newest entry that it was handed: a log that lost it, or has another one, must stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from imprimatur import AsyncImprimatur, ControlPlaneUnavailable, Imprimatur
from imprimatur.client.held import SUFFIX
from imprimatur.formats import dsse, entries
from imprimatur.formats.keys import KeyPair
from imprimatur.testing import DELEGATION, ORIGIN, Door, Time

SEEN = "log/seen"


@dataclass
class Agent:
    """One agent with its key in a file; every ``start`` is another process of it."""

    folder: Path
    asynchronous: bool
    time: Time = field(default_factory=Time)
    sent: list[httpx2.Request] = field(default_factory=list)
    lose: Callable[[httpx2.Request], bool] = lambda request: False
    instead: Callable[[httpx2.Request], httpx2.Response | None] = lambda request: None

    def __post_init__(self) -> None:
        key = KeyPair.generate()
        self.key = self.folder / "agent.key"
        key.save(self.key)
        self.door = Door({"tool": "allow", "slow": "approve"}, agent_key=key, clock=self.time.now)

    def carry(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        if self.lose(request):
            raise httpx2.ConnectError("nobody there")
        return self.instead(request) or self.door.handle(request)

    def start(self) -> Callable[[str], Any]:
        """A new process: calls a governed tool by name."""
        ways: Any = {"transport": httpx2.MockTransport(self.carry), "wire": self.time.wire()}
        if not self.asynchronous:
            gate = Imprimatur(ORIGIN, self.key, DELEGATION, self.door.trust, sleep=self.time.sleep, **ways)
            return lambda name: gate.tool(name)(lambda value: f"did {value}")(1)
        agate = AsyncImprimatur(ORIGIN, self.key, DELEGATION, self.door.trust, sleep=self.time.async_sleep, **ways)

        async def act(value: int) -> str:
            return f"did {value}"

        return lambda name: asyncio.run(agate.tool(name)(act)(1))

    def paths(self) -> list[str]:
        return [one.url.path.removeprefix("/api/v1/") for one in self.sent]

    def presented(self) -> list[dict[str, Any]]:
        """The entries that were presented, parsed."""
        told = [json.loads(one.content)["envelope"] for one in self.sent if one.url.path.endswith(SEEN)]
        return [entries.parse(dsse.open_envelope(text.encode()).payload) for text in told]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    return Agent(tmp_path, request.param)


def test_a_first_run_presents_nothing_and_a_restart_presents_the_newest_entry_once(agent: Agent) -> None:
    act = agent.start()
    act("tool")
    act("slow")
    assert SEEN not in agent.paths()
    kept = agent.key.with_name(agent.key.name + SUFFIX)
    assert kept.stat().st_mode & 0o777 == 0o600
    agent.sent.clear()
    act = agent.start()
    act("tool")
    act("tool")
    assert agent.paths()[0] == SEEN
    assert agent.paths().count(SEEN) == 1
    [entry] = agent.presented()
    assert entry["realm"] == agent.door.realm


def test_after_a_lost_connection_the_newest_entry_is_presented_before_anything_else(agent: Agent) -> None:
    act = agent.start()
    act("slow")
    agent.sent.clear()
    agent.lose = lambda request: len(agent.sent) == 1
    assert act("slow") == "did 1"
    assert agent.paths()[:3] == ["actions", SEEN, "actions"]
    [entry] = agent.presented()
    assert entry["kind"] == "action.redeemed", "the newest of what a receipt holds"


def test_a_log_that_froze_over_it_means_that_nothing_runs(agent: Agent) -> None:
    agent.start()("tool")
    frozen = {
        "type": "x",
        "title": "Not now",
        "status": 503,
        "code": "log-frozen",
        "detail": "Frozen.",
        "hint": "Wait.",
    }
    agent.instead = lambda request: httpx2.Response(503, json=frozen)
    with pytest.raises(ControlPlaneUnavailable) as caught:
        agent.start()("tool")
    assert caught.value.code == "log-frozen"


def test_an_older_server_or_one_that_was_set_up_anew_is_asked_all_the_same(agent: Agent) -> None:
    agent.start()("tool")
    agent.instead = lambda request: httpx2.Response(404, json={}) if request.url.path.endswith(SEEN) else None
    assert agent.start()("tool") == "did 1"
    unknown = {"code": "malformed", "detail": "No key of this log signed it."}
    agent.instead = lambda request: httpx2.Response(422, json=unknown) if request.url.path.endswith(SEEN) else None
    assert agent.start()("tool") == "did 1"


def test_an_agent_that_is_turned_away_for_now_presents_it_with_its_next_request(agent: Agent) -> None:
    agent.start()("tool")
    agent.sent.clear()
    agent.instead = lambda request: httpx2.Response(429, json={}) if len(agent.sent) == 1 else None
    assert agent.start()("tool") == "did 1"
    assert agent.paths()[:3] == [SEEN, "actions", SEEN]


@pytest.mark.parametrize("content", [b"", b"no envelope", b"{}", b"x" * 70_000])
def test_a_damaged_file_is_no_reason_to_stop(agent: Agent, content: bytes) -> None:
    agent.start()("tool")
    agent.key.with_name(agent.key.name + SUFFIX).write_bytes(content)
    agent.sent.clear()
    assert agent.start()("tool") == "did 1"
    assert SEEN not in agent.paths()


def test_where_nothing_can_be_written_memory_has_to_do(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("imprimatur.durable.write_file", refuse)
    act = agent.start()
    act("slow")
    agent.sent.clear()
    agent.lose = lambda request: len(agent.sent) == 1
    assert act("slow") == "did 1"
    assert SEEN in agent.paths()
