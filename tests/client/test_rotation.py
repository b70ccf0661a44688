"""A new key for the same agent, and files that are usable whatever step a crash falls on."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import imprimatur as ip
from imprimatur.cli import main
from imprimatur.client import rotation
from imprimatur.formats.ids import agent_id
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair
from imprimatur.testing import FakeGate
from tests.client.conftest import Gate, Make
from tests.client.test_cli import agent, run

__all__ = ["agent"]


def rotate(held: Gate, path: Path) -> Any:
    if not held.asynchronous:
        return held.gate.rotate(path)
    import asyncio

    return asyncio.run(held.gate.rotate(path))


def test_the_new_key_signs_from_then_on_and_the_agent_stays_the_same(make: Make, tmp_path: Path) -> None:
    held = make({"tool": "allow"})
    before, agent_before = held.gate.config.key, held.gate.agent
    told = rotate(held, tmp_path / "new.key")
    new = KeyPair.load(tmp_path / "new.key")
    assert told == {"agent": agent_before, "key": new.thumbprint}
    assert held.gate.config.key.public_key == new.public_key != before.public_key
    assert held.gate.agent == new.agent == agent_before
    assert stat.S_IMODE((tmp_path / "new.key").stat().st_mode) == 0o600
    assert held.govern()("x") == "did x"


def test_a_lost_answer_is_found_out_with_the_new_key(make: Make, tmp_path: Path) -> None:
    held = make({"tool": "allow"})
    held.road.lose_answer = lambda request, number: number == 1
    told = rotate(held, tmp_path / "new.key")
    assert told["key"] == KeyPair.load(tmp_path / "new.key").thumbprint
    assert held.road.paths() == ["keys/rotate", "keys/rotate", "me"]
    assert held.govern()("x") == "did x"


def test_without_an_answer_the_present_key_stays_and_the_same_call_tries_again(make: Make, tmp_path: Path) -> None:
    held = make({"tool": "allow"})
    before = held.gate.config.key
    held.road.lose = lambda request, number: True
    with pytest.raises(ip.ServerError):
        rotate(held, tmp_path / "new.key")
    assert held.gate.config.key is before
    new = (tmp_path / "new.key").read_bytes()
    held.road.lose = lambda request, number: False
    rotate(held, tmp_path / "new.key")
    assert (tmp_path / "new.key").read_bytes() == new


def test_an_answer_about_another_key_is_not_believed(make: Make, tmp_path: Path) -> None:
    held = make({"tool": "allow"})
    before = held.gate.config.key
    held.road.change = {"rotate": lambda document: document.update(key="somebody-elses")}
    with pytest.raises(ip.ServerError, match="another agent or key"):
        rotate(held, tmp_path / "new.key")
    assert held.gate.config.key is before


def test_a_file_that_is_not_a_rotations_is_never_taken_for_the_new_key(tmp_path: Path) -> None:
    gate = FakeGate()
    KeyPair.generate().save(tmp_path / "someone.key")
    with pytest.raises(ip.ConfigError, match="no key of a rotation"):
        gate.rotate(tmp_path / "someone.key")
    assert gate.door.retired == set()


def test_a_key_file_names_its_agent_and_refuses_another_spelling(tmp_path: Path) -> None:
    name = agent_id(KeyPair.generate().public_key)
    KeyPair.generate(name).save(tmp_path / "a")
    assert KeyPair.load(tmp_path / "a").agent == name
    (tmp_path / "a").write_text((tmp_path / "a").read_text().replace(name, "ag_x"))
    with pytest.raises(KeyFileError):
        KeyPair.load(tmp_path / "a")


Agent = tuple[Any, dict[str, str]]


def test_the_command_replaces_the_file_and_keeps_the_old_one(tmp_path: Path, agent: Agent) -> None:
    server, environment = agent
    path = tmp_path / "agent.key"
    old = KeyPair.load(path)
    done = run("rotate", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    new = KeyPair.load(path)
    assert server.door.public_key == new.public_key != old.public_key
    assert new.agent == agent_id(old.public_key)
    assert KeyPair.load(tmp_path / "agent.key.old").public_key == old.public_key
    assert stat.S_IMODE((tmp_path / "agent.key.old").stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.glob("agent.key*")) == ["agent.key", "agent.key.old"]
    assert run("request", "quick", cwd=tmp_path, **environment).returncode == 0
    assert run("rotate", cwd=tmp_path, **environment).returncode == 0
    assert KeyPair.load(path).agent == new.agent
    assert KeyPair.load(tmp_path / "agent.key.old").public_key == new.public_key


class Crash(BaseException):
    """The power went."""


def crash(*_: object, **__: object) -> None:
    raise Crash


STEPS: list[Callable[[pytest.MonkeyPatch], None]] = [
    lambda patch: patch.setattr(rotation, "body", crash),
    lambda patch: patch.setattr(rotation, "put_in_place", crash),
    lambda patch: patch.setattr(rotation, "_save", _save_once()),
    lambda patch: patch.setattr(Path, "replace", _replace(1)),
    lambda patch: patch.setattr(Path, "replace", _replace(2)),
]


def _save_once() -> Callable[[KeyPair, Path], None]:
    calls: Iterator[int] = iter(range(9))

    def save(key: KeyPair, path: Path) -> None:
        if next(calls):
            raise Crash
        key.save(path)

    return save


def _replace(crashing: int) -> Callable[[Path, Path], None]:
    calls, real = iter(range(1, 9)), Path.replace

    def replace(source: Path, target: Path) -> None:
        if next(calls) == crashing:
            raise Crash
        real(source, target)

    return replace


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_keys_with_which_the_same_command_finishes(
    step: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, environment = agent
    path = tmp_path / "agent.key"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        step(patch)
        main(["rotate"])
    usable = [KeyPair.load(one).public_key for one in tmp_path.glob("agent.key*") if not one.name.endswith(".part")]
    assert server.door.public_key in usable
    assert main(["rotate"]) == 0
    assert KeyPair.load(path).public_key == server.door.public_key
    assert KeyPair.load(tmp_path / "agent.key.old").public_key != server.door.public_key
    assert sorted(p.name for p in tmp_path.glob("agent.key*")) == ["agent.key", "agent.key.old"]
    assert main(["request", "quick"]) == 0


def test_the_doctor_points_at_an_interrupted_rotation(tmp_path: Path, agent: Agent) -> None:
    _, environment = agent
    KeyPair.generate().save(tmp_path / "agent.key.new")
    done = run("doctor", cwd=tmp_path, **environment)
    assert done.returncode == 1
    assert "A rotation was interrupted" in done.stdout


def test_many_outcomes_travel_in_requests_of_a_hundred(make: Make) -> None:
    held = make({"tool": "allow"})
    reports = [{"action": f"act_{number:026d}", "outcome": "FAILED"} for number in range(150)]
    told = held.gate.outcomes(reports)
    if held.asynchronous:
        import asyncio

        told = asyncio.run(told)
    assert [item["action"] for item in told] == [report["action"] for report in reports]
    assert {item["status"] for item in told} == {404}
    assert held.road.paths() == ["outcomes", "outcomes"]


def test_an_outcome_of_an_own_decision_is_told_by_the_decision() -> None:
    gate = FakeGate({"tool": "allow"})
    done = gate.redeem(gate.submit("tool", {"a": 1}))
    assert gate.outcomes([{"decision": done, "outcome": "SUCCEEDED", "result": "fine"}])[0]["state"] == "SUCCEEDED"
    assert gate.asked[0].result == "fine"


@pytest.mark.parametrize(
    "report", [{}, {"action": "x", "outcome": "FAILED"}, {"action": "act_" + "0" * 26, "outcome": "x"}]
)
def test_an_outcome_that_cannot_be_read_is_not_sent(report: dict[str, str]) -> None:
    with pytest.raises(ip.ConfigError, match="An outcome is"):
        FakeGate().outcomes([report])
