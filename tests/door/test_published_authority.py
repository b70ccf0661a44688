"""Authority counts once a published checkpoint covers it: before that nobody acts under it, and nothing is decided."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from approvals import grants
from approvals.actions import issue_grant
from approvals.models import ActionRequest, Grant, Nonce
from audit import log, published
from audit.errors import LogFrozen
from audit.models import Entry
from governance import ceremonies
from governance.actions import issue_delegation
from governance.errors import Refused
from governance.models import Delegation
from imprimatur import Imprimatur
from imprimatur.formats import canonical
from imprimatur.formats.timestamps import format_time
from imprimatur.formats.trust import parse
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Send
from tests.door.test_with_the_package import LOCAL, ThroughTheDoor

pytestmark = pytest.mark.usefixtures("notarised")


def issue(world: World, subject: str = "robo", **changes: Any) -> Delegation:
    """A root delegation that is in the log, and that no checkpoint covers yet."""
    document = world.document(subject, **changes)
    command = issue_delegation.Command(document, world.sign_as_person(document), world.ada)
    return log.commit(issue_delegation.apply, command).delegation


def assert_waits(agent: AgentUnderTest, act: Callable[[], Any]) -> None:
    """The act is refused for now: no entry, no row, no nonce used up."""
    before = Entry.objects.count(), ActionRequest.objects.count(), Nonce.objects.count()
    answer = act()
    assert (answer.status, answer.code) == (503, "log-behind")
    assert answer.headers["retry-after"] == "1"
    assert "not yet published" in answer.json["detail"]
    assert "receipt" not in answer.json
    assert (Entry.objects.count(), ActionRequest.objects.count(), Nonce.objects.count()) == before


def test_a_delegation_carries_nothing_before_it_is_published(world: World, robo: AgentUnderTest) -> None:
    robo.delegation = issue(world).id
    assert robo.get(f"/delegations/{robo.delegation}").json["published"] is False
    assert_waits(robo, robo.read)
    assert_waits(robo, robo.delete)
    world.publish()
    assert robo.get(f"/delegations/{robo.delegation}").json["published"] is True
    assert robo.read().json["verdict"] == "allow"
    assert robo.delete().json["verdict"] == "pending"


def test_every_link_of_a_chain_has_to_be_published(world: World, robo: AgentUnderTest, twin: AgentUnderTest) -> None:
    root = issue(world, max_depth=1)
    document = world.document("twin", issuer=world.robo.id, parent=root.id, not_before=None) | {
        "not_before": format_time(root.not_before),
        "not_after": format_time(root.not_after),
    }
    body = {"document": document, "signature": world.sign_as_agent(document)}
    assert_waits(robo, lambda: robo.post("/delegations", body))
    world.publish()
    answer = robo.post("/delegations", body)
    assert (answer.status, answer.json["published"]) == (201, False)
    twin.delegation = answer.json["id"]
    assert_waits(twin, twin.read)
    world.publish()
    assert robo.post("/delegations", body).json["published"] is True
    assert twin.read().json["verdict"] == "allow"


def test_what_became_of_the_delegation_meanwhile_is_judged_anew(world: World, robo: AgentUnderTest) -> None:
    held = issue(world)
    robo.delegation = held.id
    answer = robo.post(f"/delegations/{held.id}/revoke", {"reason": "A slip."})
    assert (answer.status, answer.json["published"]) == (200, False)
    world.publish()
    assert robo.post(f"/delegations/{held.id}/revoke", {"reason": "A slip."}).json["published"] is True
    assert robo.read().code == "delegation-revoked"


def test_while_the_log_is_frozen_nobody_is_told_to_wait_a_second(world: World, robo: AgentUnderTest) -> None:
    robo.delegation = issue(world).id
    log.freeze("by hand")
    assert robo.read().code == "log-frozen"


def test_an_agent_with_the_package_succeeds_a_second_later(world: World, door: Send) -> None:
    held = issue(world)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.publish()

    trust = canonical.dumps({"realm": world.realm, "decision": _decision_anchor()})
    gate = Imprimatur(
        LOCAL,
        world.keys["robo"],
        held.id,
        parse(trust),
        transport=ThroughTheDoor(door),
        sleep=sleep,
        agent=world.robo.id,
    )
    assert gate.tool("read_file")(lambda path: f"read {path}")("/project/src/a.py") == "read /project/src/a.py"
    assert len(slept) == 1
    assert 1 <= slept[0] < 2
    assert list(ActionRequest.objects.values_list("state", flat=True)) == ["SUCCEEDED"]


def _decision_anchor() -> list[dict[str, Any]]:
    from audit import signer
    from imprimatur.formats.encoding import b64u

    return [{"key": b64u(signer.decision_key().public_key), "from": 0}]


def test_what_was_approved_in_advance_answers_for_nothing_before_it_is_published(
    world: World, robo: AgentUnderTest
) -> None:
    def overwrite() -> dict[str, Any]:
        more = {"path": "/project/src/a.py", "content": secrets.token_hex(4), "destructive": True}
        found: dict[str, Any] = robo.submit("write_file", more).json
        return found

    first = ActionRequest.objects.get(pk=overwrite()["id"])
    chosen = {
        "effects": ["file:write:/project/src"],
        "parameters": {"path": {"op": "any"}, "content": {"op": "any"}, "destructive": {"op": "any"}},
        "max_uses": 5,
        "not_after": format_time(log.utc_now() + timedelta(minutes=10)),
    }
    signed = ceremonies.session(world.rui, grants.document(world.rui, first, chosen, None))
    given = log.commit(issue_grant.apply, issue_grant.command(world.rui.id, first, signed))
    assert overwrite()["verdict"] == "pending"
    assert "not yet published" in grants.why_over(given, log.utc_now())
    # Every commit tells the publisher; here nobody listens, so it is told once more what it has published.
    world.publish()
    assert overwrite()["verdict"] == "allow"
    assert Grant.objects.get().uses == 1


def test_a_vote_under_a_delegation_that_is_not_published_waits_too(world: World) -> None:
    from governance import judgement

    held = issue(world)
    with log.writing() as writer, pytest.raises(Refused) as caught:
        judgement.standing_chain(writer, held)
    assert caught.value.code == "log-behind"
    world.publish()
    with log.writing() as writer:
        assert judgement.standing_chain(writer, held)[-1].pk == held.pk


def test_the_database_is_asked_only_about_what_lies_beyond_what_is_known(
    world: World, django_assert_num_queries: Any
) -> None:
    world.publish()
    size = published.size()
    with django_assert_num_queries(0):
        assert published.covers(size - 1)
    with django_assert_num_queries(1):
        assert not published.covers(size)


def test_who_asks_whether_the_log_is_open_learns_the_reason(world: World) -> None:
    published.check_open()
    log.freeze("by hand")
    with pytest.raises(LogFrozen, match="by hand"):
        published.check_open()
