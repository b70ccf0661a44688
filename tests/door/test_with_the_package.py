"""The agents' own package talks to both doors: what it checks of a receipt has to hold for what we write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit import signer
from audit.models import LogHead
from governance.models import Agent
from imprimatur import Imprimatur
from imprimatur.errors import ActionBlocked
from imprimatur.formats import canonical, ids
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.trust import parse
from tests.conftest import World
from tests.door.agent import ORIGIN, Send

LOCAL = "http://localhost:8000"

pytestmark = pytest.mark.usefixtures("notarised")


class ThroughTheDoor(httpx2.BaseTransport):
    """Sends what the package sends through a door of ours."""

    def __init__(self, door: Send) -> None:
        self.door = door

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        parts = urlsplit(str(request.url))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {
            name.title(): value for name, value in request.headers.items() if name not in {"host", "content-length"}
        }
        answer = self.door(request.method, target, headers, request.read())
        return httpx2.Response(answer.status, headers=answer.headers, content=answer.raw)


@pytest.fixture
def gate(world: World, door: Send, settings: Any) -> Imprimatur:
    settings.ORIGINS = [ORIGIN, LOCAL]
    assert world.delegation is not None
    trust = {"realm": world.realm, "decision": [{"key": b64u(signer.decision_key().public_key), "from": 0}]}
    return Imprimatur(
        url=LOCAL,
        key=world.keys["robo"],
        delegation=world.delegation.id,
        trust=parse(canonical.dumps(trust)),
        agent=world.robo.id,
        transport=ThroughTheDoor(door),
        sleep=lambda seconds: None,
    )


def test_a_tool_runs_only_after_its_receipt_was_checked(gate: Imprimatur) -> None:
    ran: list[str] = []

    @gate.tool("write_file")
    def write_file(path: str, content: str) -> str:
        ran.append(path)
        return "ok"

    assert write_file("/project/src/a.py", "print(1)\n") == "ok"
    assert ran == ["/project/src/a.py"]
    assert ActionRequest.objects.get().state == "SUCCEEDED"


def test_a_refusal_is_an_exception_and_nothing_runs(gate: Imprimatur) -> None:
    ran: list[str] = []

    @gate.tool("read_file")
    def read_file(path: str) -> None:
        ran.append(path)

    with pytest.raises(ActionBlocked) as caught:
        read_file("/etc/passwd")
    assert caught.value.code == "out-of-scope"
    assert ran == []


def test_what_a_person_approved_passes_the_package_s_checks(world: World, gate: Imprimatur) -> None:
    pending = gate.submit("delete_file", {"path": "/project/src/a.py"})
    assert pending.pending
    request = ActionRequest.objects.get()
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
    claimed = gate.redeem(gate.wait(pending))
    assert claimed.redeemed
    gate.outcome(claimed, "SUCCEEDED")
    assert ActionRequest.objects.get().state == "SUCCEEDED"


def test_a_rotated_key_takes_over_and_keeps_the_agent(gate: Imprimatur, tmp_path: Path) -> None:
    agent, old = gate.agent, gate.config.key
    told = gate.rotate(tmp_path / "agent.key.new")
    new = KeyPair.load(tmp_path / "agent.key.new")
    assert told == {"agent": agent, "key": new.thumbprint}
    assert new.agent == agent
    assert gate.agent == agent
    assert new.public_key != old.public_key
    assert gate.tool("read_file")(lambda path: f"read {path}")("/project/src/a.py") == "read /project/src/a.py"


def test_a_rotation_whose_answer_was_lost_is_finished_by_the_same_call(gate: Imprimatur, tmp_path: Path) -> None:
    before = gate.config
    gate.rotate(tmp_path / "new")
    gate.config = gate._core.config = gate._core.wire.config = before
    assert gate.rotate(tmp_path / "new")["key"] == KeyPair.load(tmp_path / "new").thumbprint
    assert gate.me()["agent"]["id"] == gate.agent


def test_many_outcomes_are_reported_at_once(gate: Imprimatur) -> None:
    done = [gate.redeem(gate.submit("read_file", {"path": f"/project/src/{name}.py"})) for name in "ab"]
    missing = ids.new_id("act", datetime.now(UTC))
    reports: list[dict[str, Any]] = [{"decision": one, "outcome": "SUCCEEDED", "result": "read"} for one in done]
    told = gate.outcomes([*reports, {"action": missing, "outcome": "FAILED"}])
    assert [item["status"] for item in told] == [200, 200, 404]
    assert {request.state for request in ActionRequest.objects.all()} == {"SUCCEEDED"}


def test_an_agent_is_seen_when_it_asks_at_most_once_a_minute_and_the_epoch_stays(
    world: World, gate: Imprimatur
) -> None:
    gate.submit("read_file", {"path": "/project/src/a.py"})
    seen, epoch = Agent.objects.get(pk=world.robo.id).last_seen_at, LogHead.objects.get().epoch
    assert seen is not None
    gate.submit("read_file", {"path": "/project/src/b.py"})
    assert Agent.objects.get(pk=world.robo.id).last_seen_at == seen
    Agent.objects.filter(pk=world.robo.id).update(last_seen_at=seen - timedelta(minutes=2))
    gate.submit("read_file", {"path": "/project/src/c.py"})
    assert Agent.objects.get(pk=world.robo.id).last_seen_at >= seen
    assert LogHead.objects.get().epoch == epoch


def test_a_persons_no_reaches_the_agent_with_its_note(world: World, gate: Imprimatur) -> None:
    pending = gate.submit("delete_file", {"path": "/project/src/a.py"})
    request = ActionRequest.objects.get()
    cast_vote.answer(world.rui, request.id, version=request.version, decision="deny", reason="Keep it.")
    with pytest.raises(ActionBlocked) as caught:
        gate.wait(pending)
    assert caught.value.note == "Keep it."
    assert caught.value.decided_by == "Rui Falk"
