"""``POST /delegations/signed``: no session, so the signature alone has to carry it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from governance.models import Delegation
from imprimatur.formats import canonical, sshsig
from imprimatur.formats import delegation as formats
from imprimatur.formats.keys import KeyPair
from tests.conftest import ssh_line

ADDRESS = "/delegations/signed"


@pytest.fixture
def send(desk, world):
    """Send a document and its signature as somebody without a session; CSRF is checked as in production."""
    client = Client(enforce_csrf_checks=True)

    def post(document: Any, signature: Any, raw: bytes | None = None, content_type: str = "application/json"):
        body = raw if raw is not None else json.dumps({"document": document, "signature": signature}).encode()
        return client.post(ADDRESS, body, content_type=content_type)

    return post


def _refused(answer: Any, code: str, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), answer.content
    problem: dict[str, Any] = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    return problem


def test_a_root_signed_by_a_registered_key_is_issued_and_a_second_time_changes_nothing(send, desk, world):
    document = world.document()
    signature = world.sign_as_person(document)
    first = send(document, signature)
    assert first.status_code == 201
    assert first.json()["delegation"] == formats.delegation_id(document)
    entry = desk.last
    assert (entry["kind"], entry["actor"]["id"], entry["actor"]["assurance"]) == (
        "delegation.issued",
        world.ada.id,
        "H2",
    )
    assert entry["body"]["document"] == document
    size = desk.size
    assert send(document, signature).status_code == 200
    assert desk.size == size


def test_invariant_4_a_key_that_is_not_registered_to_the_issuer_signs_nothing(send, desk, world):
    document, size = world.document(), desk.size
    world.ssh["stranger"] = KeyPair.generate()
    _refused(send(document, world.sign_as_person(document, "stranger")), "signature", 401)
    # Rui's own key would be good, if it were registered; the document still names Ada.
    named = {**document, "issuer": world.rui.id}
    _refused(send(named, world.sign_as_person(named)), "signature", 401)
    assert desk.size == size


def test_invariant_4_an_agent_cannot_root_authority_here(send, desk, world):
    size = desk.size
    for document in (
        world.document(),
        world.document(issuer=world.robo.id, parent=world.delegation.id, scope=["file:read:/project"]),
    ):
        _refused(send(document, world.sign_as_agent(document)), "signature", 401)
    assert desk.size == size
    assert Delegation.objects.count() == 1


def test_invariant_4_a_revoked_key_and_a_person_without_the_role_issue_nothing(send, desk, world):
    from audit.log import commit
    from governance.actions import change_person, revoke_person_key

    document = world.document()
    signature = world.sign_as_person(document)
    commit(change_person.apply, change_person.Command(world.rui, roles=("admin",), by=world.ada))
    commit(change_person.apply, change_person.Command(world.ada, roles=("reviewer",), by=world.rui))
    _refused(send(document, signature), "not-allowed", 403)
    commit(
        revoke_person_key.apply,
        revoke_person_key.Command(signature["key"], "lost", by=world.rui),
    )
    _refused(send(document, signature), "key-revoked", 401)


@pytest.mark.parametrize(
    "change",
    [
        {"scope": ["file:write:/"]},
        {"spend": {"unit": "USD", "limit": "150000.00"}},
        {"max_depth": 3},
        {"not_after": "2099-01-01T00:00:00.000Z"},
    ],
)
def test_invariant_4_what_was_changed_after_signing_is_refused(send, desk, world, change):
    document, size = world.document(), desk.size
    signature = world.sign_as_person(document)
    _refused(send({**document, **change}, signature), "signature", 401)
    assert desk.size == size


def test_invariant_12_a_signature_for_another_realm_does_not_count_here(send, desk, world):
    document, size = world.document(realm="staging.imprimatur"), desk.size
    _refused(send(document, world.sign_as_person(document)), "malformed", 422)
    assert desk.size == size


def test_invariant_12_a_signature_for_another_purpose_does_not_count_here(send, desk, world):
    document, size = world.document(), desk.size
    key = world.ssh["ada"]
    armored = sshsig.sign(key, canonical.dumps(document), "imprimatur-decision-v1")
    signature = {"kind": "ssh", "key": sshsig.parse_public_key(ssh_line(key)).fingerprint, "value": armored}
    _refused(send(document, signature), "signature", 401)
    assert desk.size == size


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"{", "application/json", 422),
        (b'{"document": {}, "document": {}, "signature": {}}', "application/json", 422),
        (b'{"document": {"x": 1.5}, "signature": {}}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"document": {}, "signature": {}, "more": 1}', "application/json", 422),
        (b" " * (64 * 1024 + 1), "application/json", 413),
        (b"{}", "text/plain", 415),
        (b"\xff\xfe", "application/json", 422),
    ],
)
def test_what_cannot_be_read_strictly_is_refused(send, desk, raw, content_type, status):
    size = desk.size
    _refused(send(None, None, raw, content_type), "malformed", status)
    assert desk.size == size


def test_one_address_cannot_try_for_ever(send, desk, world):
    answers = [send(None, None, b"{") for _ in range(21)]
    assert {answer.status_code for answer in answers[:20]} == {422}
    _refused(answers[20], "rate-limited", 429)


def test_a_session_adds_nothing_to_it(desk, world):
    document = world.document()
    body = {"document": document, "signature": world.sign_as_agent(document)}
    answer = desk.browser("ada").post(ADDRESS, json.dumps(body), content_type="application/json")
    _refused(answer, "signature", 401)


def test_it_is_sent_and_never_fetched(desk):
    assert desk.browser("ada").get(ADDRESS).status_code == 405
