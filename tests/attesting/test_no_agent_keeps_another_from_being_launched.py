"""A launch names all delegations of its agent: no other agent decides whether they fit."""

from __future__ import annotations

import pytest

from governance.actions import issue_delegation
from governance.errors import Refused
from imprimatur.formats import attestation
from imprimatur.formats.timestamps import format_time
from tests.attesting.service import ServiceUnderTest
from tests.conftest import World

pytestmark = pytest.mark.usefixtures("published")


def test_agents_pass_on_so_many_delegations_to_one_agent_and_no_more(
    orchestrator: ServiceUnderTest, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issue_delegation, "MOST_PASSED_ON", 3)
    parent = world.delegate("robo", max_depth=1)
    within = {"max_depth": 0, "not_after": format_time(parent.not_after), "not_before": format_time(parent.not_before)}
    for number in range(3):
        world.pass_on(parent, "robo", "twin", purpose=f"part {number}", **within)
    with pytest.raises(Refused, match="Revoke one first") as refused:
        world.pass_on(parent, "robo", "twin", purpose="one more", **within)
    assert refused.value.code == "conflict"
    assert orchestrator.attest("twin").status == 201


def test_what_agents_may_pass_on_leaves_room_in_a_launch() -> None:
    most: int = attestation.LAUNCH_SHAPE.required["delegations"].max  # type: ignore[attr-defined]  # a ListOf
    assert most >= issue_delegation.MOST_PASSED_ON * 2
