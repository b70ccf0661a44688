"""`imprimatur canary` as an admin and an operator use it: init, what is registered from what it printed, run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.log import commit
from governance.actions import invite_agent
from governance.models import Agent
from governance.runtime.actions import register_service
from governance.runtime.models import CanaryRun
from imprimatur.canary.attempts import LIMIT, SCOPE
from imprimatur.formats.encoding import un_b64u
from tests.conftest import World
from tests.runtime.served import Served


@pytest.fixture
def served(world: World, tmp_path: Path, settings: Any) -> Iterator[Served]:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    made = Served(world, settings, tmp_path)

    def published(method: str, path: str) -> None:
        world.publish()

    made.gate = published
    yield made
    made.http.server_close()


def invited(world: World, name: str) -> str:
    command, token = invite_agent.new(name, world.ada, world.ada)
    commit(invite_agent.apply, command)
    return token


def test_from_two_invitations_to_a_run_in_the_log(served: Served, world: World, tmp_path: Path) -> None:
    folder = tmp_path / "canary"
    words = ["canary", "init", str(folder), "--trust", str(served.trust)]
    tokens = [invited(world, name) for name in ("canary one", "canary two")]

    one = served.run(*words, "--invitation", tokens[0])
    assert one.returncode == 2 and "two invitations" in one.stderr and not folder.exists(), "and it is not used up"
    none = served.run(*words)
    assert none.returncode == 2 and "first agent is not enrolled, and there is no invitation" in none.stderr
    wrong = served.run(*words, "--invitation", tokens[0], "--invitation", "inv_" + "x" * 43)
    assert wrong.returncode == 2 and "second agent is not enrolled, and its invitation was refused" in wrong.stderr

    told = served.run(*words, *(word for token in tokens for word in ("--invitation", token)))
    assert told.returncode == 0, told.stderr
    again = served.run(*words)
    assert (again.returncode, again.stdout) == (0, told.stdout), "it changes nothing the second time"

    agents = re.findall(r"^(?:first|second) agent\s*(ag_\S+)", told.stdout, re.M)
    assert list(Agent.objects.filter(name__startswith="canary").order_by("name").values_list("pk", flat=True)) == agents
    keys = re.findall(r"^role\s+(\S+)\npublic key\s+(\S+)", told.stdout, re.M)
    assert [role for role, _ in keys] == ["canary", "orchestrator"]
    for role, key in keys:
        mine = tuple(agents) if role == "canary" else ()
        command = register_service.Command(f"canary {role}", role, un_b64u(key), world.ada, agents=mine)
        commit(register_service.apply, command)
    assert all(scope in told.stdout for scope in SCOPE) and f"--spend {LIMIT}" in told.stdout

    early = served.run("canary", "run", str(folder), "--once")
    assert early.returncode == 1 and early.stdout.count("Have an admin sign one") == 1, "said once, for all of them"

    world.agents["canary one"] = Agent.objects.get(pk=agents[0])
    world.delegate("canary one", scope=list(SCOPE), spend={"unit": "USD", "limit": LIMIT}, max_depth=1)
    done = served.run("canary", "run", str(folder), "--once", "--every", "60")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["result", "PASSED"]), done.stdout
    newest = CanaryRun.objects.first()
    assert newest is not None and (newest.result, newest.every) == ("PASSED", 60)
    assert f"entry        {newest.index}" in done.stdout
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_is_bound_to_its_server_and_wrong_words_are_told(served: Served, tmp_path: Path) -> None:
    missing = served.run("canary", "run", str(tmp_path / "none"), "--once")
    assert missing.returncode == 2 and "imprimatur canary init" in missing.stderr
    often = served.run("canary", "run", str(tmp_path / "none"), "--every", "1")
    assert often.returncode == 2 and "between 10 and 86,400" in often.stderr
