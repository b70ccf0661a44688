"""Whoever can write to the database but not to the log is found out: rows that repeat entries are compared with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from approvals.actions import cast_vote
from approvals.models import ActionRequest, Grant, Vote
from audit import fsck
from audit.log import utc_now
from governance.models import Agent, AgentKey, Delegation, Pause, Person, PersonKey, Policy, Tool
from tests.approvals.test_grants import issue, overwrite
from tests.conftest import World
from tests.desk.requests import ask


@pytest.fixture
def lived(world: World) -> World:
    """Something of everything: an approval, a denial, a grant that was used, an open request."""
    for decision in ("approve", "deny"):
        request = ask(world)
        cast_vote.answer(world.rui, request.id, version=request.version, decision=decision, reason="because")
    issue(world.rosa, overwrite(world))
    overwrite(world, "/project/src/b.py")
    ask(world)
    assert Grant.objects.get().uses == 1
    assert fsck.run().findings == []
    return world


def raw(sql: str) -> Callable[[World], object]:
    """Written past every model, as somebody with the database would."""

    def run(world: World) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    return run


def approve_what_was_denied(world: World) -> None:
    ActionRequest.objects.filter(state="DENIED").update(state="APPROVED", verdict="allow", not_after=utc_now())


def another_vote(world: World) -> None:
    request = ActionRequest.objects.get(state="PENDING", votes=None, grants_made=None)
    vote = Vote.objects.filter(decision="approve").first()
    assert vote is not None
    vote.pk, vote.request = None, request
    vote.save()


def wider_scope(world: World) -> None:
    row = Delegation.objects.get()
    Delegation.objects.update(
        document=bytes(row.document).replace(b"file:write:/project/src", b"file:write:/project/xyz")
    )


PLANTED: dict[str, tuple[Callable[[World], object], str]] = {
    "a denied request turned into an approved one": (approve_what_was_denied, "request act_"),
    "another decision": (lambda world: ActionRequest.objects.update(action_digest="sha256:" + "0" * 64), "request act_"),
    "a lower risk": (lambda world: ActionRequest.objects.filter(state="DENIED").update(risk="LOW"), "request act_"),
    "a vote nobody cast": (another_vote, "votes, the log 2"),
    "a vote that says something else": (
        lambda world: Vote.objects.filter(decision="deny").update(decision="approve"), "the vote of entry"),
    "a vote by somebody else": (lambda world: Vote.objects.filter(decision="approve").update(person=world.rosa),
                                "the vote of entry"),
    "a lost vote": (lambda world: Vote.objects.filter(decision="deny").delete(), "not in the table"),
    "a grant used less": (lambda world: Grant.objects.update(uses=0), "grant sha256:"),
    "another grant": (lambda world: Grant.objects.update(statement=b"{}"), "is not what was stated"),
    "a wider delegation": (wider_scope, "is not the document that was signed"),
    "a delegation revoked in secret": (lambda world: Delegation.objects.update(revoked_at=utc_now()),
                                       "revoked in the table alone"),
    "money given back": (lambda world: Delegation.objects.update(spent=5_000_000), "5000000 spent"),
    "a role nobody gave": (lambda world: world.people["mallory"].user.groups.add(Group.objects.get(name="admin")),
                           f"{'person'} pe_"),
    "another name": (lambda world: Person.objects.filter(pk=world.rui.pk).update(name="Rui Other"), "Rui Other"),
    "somebody switched off": (raw("UPDATE auth_user SET is_active = false WHERE username = 'audra'"), "person pe_"),
    "another key": (lambda world: PersonKey.objects.update(purpose="signing"), "key SHA256:"),
    "a key of an agent": (lambda world: AgentKey.objects.filter(agent=world.robo).update(public_key=bytes(32)), "agent ag_"),
    "a suspended agent": (lambda world: Agent.objects.filter(pk=world.robo.pk).update(state="suspended"), "agent ag_"),
    "another owner": (lambda world: Agent.objects.filter(pk=world.robo.pk).update(owner=world.rui), "agent ag_"),
    "another tool": (lambda world: Tool.objects.filter(name="delete_file").update(document={"name": "delete_file"}),
                     "tool delete_file"),
    "a retired tool": (lambda world: Tool.objects.filter(name="delete_file").update(current=False), "tool delete_file"),
    "another policy": (lambda world: Policy.objects.update(document={**Policy.objects.get().document, "rules": []}),
                       "policy sha256:"),
    "a pause nobody set": (
        lambda world: Pause.objects.create(scope="everything", reason="x", set_at=utc_now(), set_by="x"),
        "pause everything:"),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "said"), PLANTED.values(), ids=PLANTED)
def test_a_changed_row_is_found_and_named(lived: World, plant: Callable[[World], object], said: str) -> None:
    plant(lived)
    findings = fsck.run().findings
    assert any(said in finding.what for finding in findings), findings
    assert {finding.where for finding in findings} <= {"answers", "authority"}
