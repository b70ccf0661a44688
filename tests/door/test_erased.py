"""An agent whose words were erased: its answers and receipts are the same, without the words of others."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit import signer
from audit.actions import erase_openings
from audit.admins import Admin
from audit.log import Writer, commit, commit_each
from audit.models import Entry, Opening
from imprimatur.formats import canonical, dsse
from tests.conftest import World
from tests.door.agent import PREFIX, AgentUnderTest, Answer, new_attempt
from tests.door.test_redeem import approve

pytestmark = pytest.mark.usefixtures("notarised")


def erase(world: World, action: dict[str, Any]) -> None:
    command = erase_openings.Command((action["id"],), "asked", by=Admin(world.ada.user.pk, world.ada.id))
    commit(erase_openings.apply, command)


def without_words(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("note", "version", "why", "detail")}


def test_a_finished_action_answers_as_before_and_its_receipt_verifies(robo: AgentUnderTest, world: World) -> None:
    action = approve(world, robo.delete(key="once", justification="sesame").json)
    robo.redeem(action, new_attempt())
    assert robo.report(action, result="sesame").json["state"] == "SUCCEEDED"
    before = robo.get(f"/actions/{action['id']}")
    erase(world, action)
    after = robo.get(f"/actions/{action['id']}")
    assert after.status == before.status == 200
    assert without_words(after.json) == without_words(before.json)
    assert robo.get(f"/receipts/{action['id']}").json == before.json["receipt"]
    envelope = dsse.open_envelope(after.receipt.envelope)
    assert dsse.verify(envelope, signer.decision_key().public_key)
    assert canonical.loads(envelope.payload)["body"]["action_digest"] == action["action_digest"]


def test_a_denial_answers_without_the_reason(robo: AgentUnderTest, world: World) -> None:
    action = robo.delete().json
    row = ActionRequest.objects.get(pk=action["id"])
    cast_vote.answer(world.rui, row.id, version=row.version, decision="deny", reason="sesame")
    before = robo.get(f"/actions/{action['id']}")
    assert before.json["note"] == "sesame"
    erase(world, action)
    after = robo.get(f"/actions/{action['id']}")
    assert "note" not in after.json and after.status == before.status
    assert without_words(after.json) == without_words(before.json)


def test_the_same_request_again_gets_the_same_answer_and_brings_nothing_back(
    robo: AgentUnderTest, world: World
) -> None:
    action = approve(world, robo.delete(key="once").json)
    robo.redeem(action, new_attempt())
    robo.report(action)
    erase(world, action)
    size = Entry.objects.count()
    again = robo.delete(key="once")
    assert (again.json["id"], again.json["state"]) == (action["id"], "SUCCEEDED")
    row = ActionRequest.objects.get(pk=action["id"])
    assert (list(row.card), row.target) == (["erased"], "")
    assert Entry.objects.count() == size


def test_a_refusal_that_quotes_a_parameter_is_erased_too(robo: AgentUnderTest, world: World) -> None:
    action = robo.write("/project/../sesame").json
    row = ActionRequest.objects.get(pk=action["id"])
    assert row.state == "REFUSED" and "sesame" in str([row.why, row.card])
    erase(world, action)
    row.refresh_from_db()
    assert "sesame" not in str([row.why, row.card, row.target])
    answer = robo.get(f"/actions/{action['id']}")
    assert answer.status == 403 and "sesame" not in str(answer.json)


def test_what_opens_a_commitment_belongs_to_one_request_so_that_a_hold_covers_all_of_it(
    robo: AgentUnderTest, world: World
) -> None:
    """An agent that uses one salt twice would have two requests share what opens them: erased with one, gone of both."""
    raw, committed = robo.submit_body("read_file", {"path": "/project/src/a.py"}, "first")
    again = canonical.dumps_json({**canonical.loads(raw), "context": {"run": "run-2", "call": "second"}})
    path = f"{PREFIX}/actions"

    def send(key: str, body: bytes) -> Answer:
        signed = robo.headers("POST", path, body, idempotency_key=key, committed=committed)
        return robo.send("POST", path, signed, body)

    assert send("first", raw).status == 200
    assert send("first", raw).status == 200, "the same request again is no second one"
    answer = send("second", again)
    assert (answer.status, answer.code) == (422, "malformed")
    assert ActionRequest.objects.count() == 1


def test_a_salt_is_not_used_twice_in_one_batch_either(world: World) -> None:
    def keep(writer: Writer, subject: str) -> bool:
        opening = Opening(commitment="c:one", subject=subject, name="path", key=b"k", value=b"1")
        known = writer.is_kept({opening.commitment})
        writer.keep_opening(opening)
        return known

    assert commit_each([(keep, "act_1"), (keep, "act_2")]) == [False, True]
    assert commit(keep, "act_3") is True
