"""On the wire: what runs on a grant, and what a reviewer suggests with a no, both through the agents' own package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from approvals import grants, statements
from approvals.actions import cast_vote, issue_grant
from approvals.models import ActionRequest
from audit import trust
from audit.log import commit
from governance import ceremonies
from imprimatur import ApprovalDenied, Imprimatur, ReceiptError
from imprimatur.formats import canonical, receipts
from imprimatur.formats.trust import parse
from tests.approvals.test_grants import choice
from tests.conftest import World
from tests.door.agent import AgentUnderTest, new_attempt
from tests.door.test_with_the_package import gate

__all__ = ["gate"]

pytestmark = pytest.mark.usefixtures("notarised")

WISH = {"path": "/project/src/a.py", "content": "x = 1", "destructive": True}


def test_what_was_approved_in_advance_runs_at_once(world: World, gate: Imprimatur) -> None:
    assert gate.submit("write_file", WISH).pending
    asked = approve_in_advance(world)
    ran = []
    with gate.action("write_file", {**WISH, "path": "/project/src/b.py"}):
        ran.append("b")
    assert ran == ["b"]
    row = ActionRequest.objects.exclude(pk=asked.pk).get()
    assert row.state == "SUCCEEDED"
    decision = gate.submit("write_file", {**WISH, "path": "/project/src/c.py"})
    assert (decision.verdict, decision.risk, decision.decided_by) == ("allow", "HIGH", "Rui Falk, in advance")


def approve_in_advance(world: World, credential: str | None = None) -> ActionRequest:
    """Rui approves what is like the only request so far: with a key, or by a click, which the demo policy takes."""
    asked = ActionRequest.objects.get()
    said = grants.document(world.rui, asked, choice(asked), credential)
    signed = world.signed("rui", said) if credential else ceremonies.session(world.rui, said)
    commit(issue_grant.apply, issue_grant.command(world.rui.id, asked, signed))
    world.publish()
    return asked


def pin(gate: Imprimatur, **changes: Any) -> None:
    """Have the package pin everything that this log says an auditor pins, people and pages too."""
    known = replace(parse(canonical.dumps(trust.document())), **changes)
    gate.config = gate._core.config = gate._core.wire.config = replace(gate.config, trust=known)


@pytest.mark.parametrize("kind", ["passkey", "ssh"])
def test_what_was_approved_in_advance_with_a_key_meets_the_required_human(
    world: World, gate: Imprimatur, kind: str
) -> None:
    key = world.signing("rui") if kind == "passkey" else world.ssh_signing("rui")
    gate.submit("write_file", WISH)
    approve_in_advance(world, key.fingerprint)
    pin(gate)
    ran = []
    with gate.action("write_file", {**WISH, "path": "/project/src/b.py"}, require_human="H2") as act:
        ran.append("b")
    assert ran == ["b"]
    found = receipts.parse(act.receipt)
    assert found.grant is not None
    assert found.grant["actor"]["id"] == world.rui.id
    later = gate.submit("write_file", {**WISH, "path": "/project/src/c.py"}, require_human="H2", execute=False)
    assert gate.redeem(later).redeemed, "redeemed in a call of its own, the grant comes along as well"

    pin(gate, people=())
    with pytest.raises(ReceiptError) as caught, gate.action("write_file", WISH, require_human="H2", call="again"):
        ran.append("c")
    assert caught.value.code == "receipt-assurance"
    assert ran == ["b"]


def test_what_was_approved_in_advance_by_a_click_does_not(world: World, gate: Imprimatur) -> None:
    gate.submit("write_file", WISH)
    approve_in_advance(world)
    with pytest.raises(ReceiptError) as caught, gate.action("write_file", WISH, require_human="H1", call="again"):
        raise AssertionError("nothing runs")
    assert caught.value.code == "receipt-assurance"


def test_every_answer_about_it_carries_the_grant(world: World, robo: AgentUnderTest) -> None:
    robo.submit("write_file", WISH)
    approve_in_advance(world)
    first = robo.submit("write_file", WISH, attempt=(attempt := new_attempt()), key="again")
    action = first.json
    again = robo.submit("write_file", WISH, attempt=attempt, key="again")
    held = robo.get(f"/actions/{action['id']}")
    kept = robo.get(f"/receipts/{action['id']}")
    assert action["receipt"]["grant"]["index"] == first.receipt.entry["refs"][-1]["index"]
    told = [action["receipt"], again.json["receipt"], held.json["receipt"], kept.json]
    assert told == [action["receipt"]] * 4


def test_a_suggestion_comes_back_and_supersedes(world: World, gate: Imprimatur) -> None:
    pending = gate.submit("delete_file", {"path": "/project/src/a.py"})
    row = ActionRequest.objects.get()
    draft = statements.draft(
        row, world.rui, "deny", reason="Not that one.", suggestion={"parameters": {"path": "/project/src/b.py"}}
    )
    commit(cast_vote.apply, cast_vote.Command(world.rui.id, row.id, "deny", statements.by_click(world.rui, draft)))
    with pytest.raises(ApprovalDenied) as caught:
        gate.wait(pending)
    assert caught.value.suggestion == {"path": "/project/src/b.py"}
    assert caught.value.note == "Not that one."
    again = gate.submit("delete_file", caught.value.suggestion, supersedes=caught.value.action_id)
    assert again.pending
    assert ActionRequest.objects.get(pk=again.id).supersedes_id == row.id
