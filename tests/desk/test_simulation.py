"""What a policy would have changed: recorded requests, judged by both policies, before anybody puts it in force."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from approvals import simulation
from approvals.models import ActionRequest
from audit.log import utc_now
from audit.models import Entry, Opening
from imprimatur.rules.policy import DEMO_POLICY, Policy, to_toml, validate
from tests.conftest import World
from tests.desk.conftest import Login
from tests.desk.requests import ask

READ: tuple[str, dict[str, Any]] = ("read_file", {"path": "/project/a.py"})
BEFORE = validate(DEMO_POLICY)


def with_rules(**risks: str) -> Policy:
    rules = [{"name": f"{tool.replace('_', '-')}-rule", "tool": tool, "risk": risk} for tool, risk in risks.items()]
    return validate({**DEMO_POLICY, "rules": [*rules, *DEMO_POLICY["rules"]]})


@pytest.fixture
def recorded(world: World) -> World:
    ask(world)
    ask(world, *READ)
    ask(world, *READ)
    return world


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        (BEFORE, {}),
        (with_rules(read_file="HIGH"), {"up": 2}),
        (with_rules(delete_file="CRITICAL"), {"up": 1}),
        (with_rules(delete_file="LOW"), {}),  # the floor of what destroys stands
        (validate({**DEMO_POLICY, "deny": [{"name": "no", "reason": "x", "tool": "read_file"}]}), {"denied": 2}),
    ],
)
def test_the_counts_say_what_would_change(recorded: World, after: Policy, counts: dict[str, int]) -> None:
    found = simulation.simulate(BEFORE, after, utc_now())
    assert (found.judged, found.unreadable, found.more) == (3, 0, False)
    assert {kind: many for kind, many in found.counts.items() if many} == counts
    back = simulation.simulate(after, BEFORE, utc_now())
    turned = {"up": "down", "denied": "allowed"}
    assert {kind: many for kind, many in back.counts.items() if many} == {turned[k]: n for k, n in counts.items()}


def test_other_people_to_ask_is_a_difference_too(recorded: World) -> None:
    stages = [{"role": "reviewer", "count": 2}]
    after = validate({**DEMO_POLICY, "rules": [{"name": "d", "tool": "delete_file", "risk": "HIGH", "stages": stages}]})
    assert simulation.simulate(BEFORE, after, utc_now()).count(simulation.STAGES) == 1


def test_old_requests_are_left_out_and_many_are_bounded(recorded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST", 2)
    found = simulation.simulate(BEFORE, BEFORE, utc_now())
    assert (found.judged, found.more) == (2, True)
    assert simulation.simulate(BEFORE, BEFORE, utc_now() + timedelta(days=31)).judged == 0


def test_what_was_erased_is_judged_as_withheld_or_said_to_be_unreadable(recorded: World) -> None:
    Opening.objects.update(value=None)
    found = simulation.simulate(BEFORE, with_rules(read_file="HIGH"), utc_now())
    assert found.judged + found.unreadable == 3
    assert not found.count(simulation.DOWN)


def test_the_page_shows_it_with_links_and_writes_nothing(recorded: World, login: Login) -> None:
    size = Entry.objects.count()
    address, text = reverse("policy_simulate"), to_toml(with_rules(delete_file="CRITICAL").document)
    page = login("ada").post(address, {"toml": text}).content.decode()
    deleted = ActionRequest.objects.get(tool="delete_file")
    assert "<b>1</b> rise in risk" in page and reverse("request", args=[deleted.pk]) in page
    fragment = login("ada").post(address, {"toml": text}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment and "rise in risk" in fragment
    assert "None of the 3 requests" in login("ada").post(address, {"toml": to_toml(DEMO_POLICY)}).content.decode()
    assert login("ada").post(address, {"toml": "rules = ["}).status_code == 422
    assert login("rui").post(address, {"toml": text}).status_code == 403
    assert login("ada").get(address).status_code == 405
    assert Entry.objects.count() == size
