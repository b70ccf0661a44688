"""What an agent can read and do about itself: enrol, rotate, pass on, revoke, read its receipts and the log."""

from __future__ import annotations

from typing import Any

import pytest

from audit import publisher
from audit.log import commit
from governance.actions import invite_agent, rotate_key
from governance.models import Agent, AgentKey
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Send

pytestmark = pytest.mark.usefixtures("notarised")


def test_an_agent_enrols_with_its_own_key_and_has_no_authority(world: World, door: Send) -> None:
    command, token = invite_agent.new("newcomer", world.ada, world.ada)
    commit(invite_agent.apply, command)
    newcomer = AgentUnderTest(door, KeyPair.generate(), "sha256:" + "0" * 64)
    body = {"token": token, "public_key": b64u(newcomer.key.public_key)}
    answer = newcomer.post("/enroll", body)
    assert answer.status == 201
    assert answer.json["key"] == newcomer.key.thumbprint
    assert answer.json["fingerprint"].count("·") == 2
    me = newcomer.get("/me")
    assert me.json["delegations"] == []
    assert newcomer.read().code == "out-of-scope"


def test_enrolling_needs_the_key_that_is_enrolled(world: World, door: Send) -> None:
    command, token = invite_agent.new("newcomer", world.ada, world.ada)
    commit(invite_agent.apply, command)
    newcomer = AgentUnderTest(door, KeyPair.generate(), "")
    other = KeyPair.generate()
    answer = newcomer.post("/enroll", {"token": token, "public_key": b64u(other.public_key)})
    assert (answer.status, answer.code) == (401, "signature")
    assert not Agent.objects.filter(name="newcomer").exists()


def test_an_agent_sees_itself(world: World, robo: AgentUnderTest) -> None:
    robo.pay("100.00")
    answer = robo.get("/me").json
    assert answer["agent"]["id"] == world.robo.id
    assert answer["delegations"][0]["left"] == {"amount": "50.00", "unit": "USD"}
    assert answer["pending"] == 1
    assert "make_payment" in {tool["name"] for tool in answer["tools"]}


def test_a_rotated_key_takes_over(world: World, robo: AgentUnderTest) -> None:
    new = KeyPair.generate()
    message = rotate_key.preimage(
        realm=world.realm, agent=world.robo.id, old=robo.key.thumbprint, public_key=new.public_key
    )
    body = {"public_key": b64u(new.public_key), "signature": b64u(robo.key.sign(message))}
    assert robo.post("/keys/rotate", body).json["key"] == new.thumbprint
    assert robo.read().code == "key-revoked"
    robo.key = new
    assert robo.read().status == 200
    assert AgentKey.objects.filter(agent=world.robo).count() == 2


def test_invariant_4_an_agent_passes_on_only_what_is_narrower(world: World, robo: AgentUnderTest) -> None:
    parent = world.delegate(max_depth=1)
    narrower = world.document(
        "twin",
        issuer=world.robo.id,
        parent=parent.id,
        scope=["file:read:/project/src"],
        spend=None,
        not_after=world_time(parent),
    )
    signed = {"document": narrower, "signature": world.sign_as_agent(narrower)}
    answer = robo.post("/delegations", signed)
    assert answer.status == 201, answer.raw
    assert robo.post("/delegations", signed).status == 200
    assert robo.get(f"/delegations/{answer.json['id']}").json["document"] == narrower
    wider = {**narrower, "scope": ["file:read:/"], "nonce": b64u(b"w" * 16)}
    refused = robo.post("/delegations", {"document": wider, "signature": world.sign_as_agent(wider)})
    assert refused.status in (403, 422)
    revoked = robo.post(f"/delegations/{answer.json['id']}/revoke", {"reason": "Done."})
    assert revoked.json["revoked_at"]
    assert revoked.json["published"] is False
    publisher.Publisher().publish_once()
    again = robo.post(f"/delegations/{answer.json['id']}/revoke", {"reason": "Done."})
    assert (again.json["published"], again.json["revoked_at"]) == (True, revoked.json["revoked_at"])


def world_time(parent: Any) -> str:
    from imprimatur.formats import canonical

    return str(canonical.loads(bytes(parent.document))["not_after"])


def test_an_agent_reads_its_receipt_and_the_published_log(robo: AgentUnderTest) -> None:
    action = robo.read().json
    assert robo.get(f"/proofs/{action['receipt']['index']}").code == "log-behind"
    publisher.Publisher().publish_once()
    receipt = robo.get(f"/receipts/{action['id']}").json
    assert receipt == action["receipt"]
    proof = robo.get(f"/proofs/{receipt['index']}")
    assert proof.status == 200
    assert proof.raw.startswith(b"c2sp.org/tlog-proof@v1\n")
    assert robo.send("GET", "/api/v1/log/checkpoint", {}, b"").raw.startswith(b"test.imprimatur\n")
    size = int(robo.get("/log/checkpoint").raw.split(b"\n")[1])
    tile = robo.send("GET", f"/api/v1/log/tile/0/000.p/{size}", {}, b"")
    assert len(tile.raw) == 32 * size


def test_entry_bundles_and_other_agents_entries_are_not_for_agents(robo: AgentUnderTest) -> None:
    robo.read()
    publisher.Publisher().publish_once()
    assert robo.get("/log/tile/entries/000.p/1").status == 403
    assert robo.send("GET", "/api/v1/log/tile/../../keys/decision.key", {}, b"").status == 404
    assert robo.get("/proofs/0").status == 404


def test_a_comment_is_a_commitment_in_the_log(robo: AgentUnderTest) -> None:
    from audit.models import Entry

    action = robo.delete().json
    answer = robo.post(f"/actions/{action['id']}/comments", {"text": "It is only a fixture."})
    assert answer.status == 201
    entry = Entry.objects.get(pk=answer.json["index"])
    assert entry.kind == "comment.added"
    assert b"fixture" not in bytes(entry.envelope)


def test_a_withheld_parameter_is_bound_and_never_seen(robo: AgentUnderTest) -> None:
    from approvals import openings
    from approvals.models import ActionRequest

    withheld = {"account": "c:" + "A" * 43}
    answer = robo.pay("10.00", withheld=withheld)
    assert answer.status == 202, answer.raw
    request = ActionRequest.objects.get()
    assert "account" in request.card["withheld"]
    assert withheld["account"] not in openings.values(request.id)


def test_the_well_known_document_names_keys_to_compare(door: Send, world: World) -> None:
    answer = door("GET", "/.well-known/imprimatur", {}, b"")
    assert answer.json["realm"] == world.realm
    assert len(answer.json["decision"]) == 1
