"""Reading and answering in a terminal: the signature alone is the authority, and says what it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from approvals import clock, eligibility
from approvals.models import ActionRequest, Nonce, Vote
from approvals.views import terminal
from audit.log import commit, utc_now
from audit.models import Entry, Opening
from audit.selectors import payload_of
from governance.actions import change_person, revoke_person_key
from governance.models import Ceremony
from governance.views import signed
from imprimatur import cards
from imprimatur.formats import binding as bindings
from imprimatur.formats import commitments, signing, sshsig, statement
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.rules.policy import DEFAULT_POLICY
from tests.approvals.signing import Browser, Terminal
from tests.conftest import World
from tests.desk.requests import PAY, ask


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = "server.urls"
    terminal.limit.forget()
    yield
    terminal.limit.forget()


@pytest.fixture
def world(make_world: Callable[..., World], notarised: object) -> World:
    return make_world(DEFAULT_POLICY)


@pytest.fixture
def rui(world: World) -> Terminal:
    return Terminal(world, "rui", world.ssh_signing("rui"))


def state(request: ActionRequest) -> str:
    request.refresh_from_db()
    return request.state


def opened(openings: list[dict[str, Any]]) -> dict[str, tuple[str, Any]]:
    """The commitments that these openings really open."""
    found = {}
    for one in openings:
        opening = commitments.Opening(one["name"], un_b64u(one["key"]), one["value"])
        found[one["name"]] = (commitments.commitment_of(opening), one["value"])
    return found


def test_a_reviewer_approves_in_a_terminal_what_the_client_rendered_itself(world: World, rui: Terminal) -> None:
    request = ask(world)
    reply = rui.card(request, "approve", reason="matches the plan")
    assert reply.status_code == 200, reply.content
    card = reply.json()

    # The client trusts nothing but the bytes: openings -> commitments -> binding -> digests -> statement.
    values = opened(card["openings"])
    assert {name: made for name, (made, _) in values.items()} == card["binding"]["parameters"]
    assert bindings.action_digest(card["binding"]) == card["action_digest"]
    rendered = cards.render(card["binding"], {name: value for name, (_, value) in values.items()}, card["tool"])
    assert cards.display_digest(rendered) == card["display_digest"]
    stated = statement.parse(card["statement"].encode())
    assert (stated["display_digest"], stated["action_digest"]) == (card["display_digest"], card["action_digest"])
    assert (stated["decision"], stated["stage"], stated["role"]) == ("approve", card["stage"], card["role"])
    assert stated["credential"] == rui.key.fingerprint
    assert stated["reason_commitment"] == opened([card["reason"]])["reason"][0]
    assert (card["agent"]["name"], card["risk"], card["version"]) == ("robo", "HIGH", 1)
    assert card["justification"]["value"].startswith("This is routine")

    done = rui.answer(card)
    assert done.status_code == 200, done.content
    [vote] = eligibility.live_votes(request)
    assert done.json() == {"request": request.id, "state": "APPROVED", "vote": vote.index}
    assert (vote.assurance, vote.key) == ("H2", rui.key.fingerprint)
    entry = payload_of(Entry.objects.get(pk=vote.index))
    assert entry["body"]["evidence"]["kind"] == "ssh"


def test_invariant_3_one_person_signs_in_the_browser_and_another_in_a_terminal(world: World, rui: Terminal) -> None:
    world.signing("rosa")
    request = ask(world, *PAY)
    Browser(world, "rosa").sign(request, "approve", reason="the usual vendor")
    request.refresh_from_db()
    card = rui.card(request, "confirm").json()
    [first] = card["votes"]
    assert (first["name"], first["decision"], first["reason"]["value"]) == (
        "Rosa Imhof",
        "approve",
        "the usual vendor",
    )
    assert card["target"] == "vendor/nordhav"
    wrong = rui.answer(card, typed="vendor/nordhaf")
    assert (wrong.status_code, state(request)) == (422, "AWAITING_CONFIRMATION")
    assert "Type it exactly" in wrong.json()["detail"]
    assert rui.answer(card, typed="vendor/nordhav").json()["state"] == "APPROVED"


def test_a_denial_is_signed_like_an_answer_and_needs_words(world: World, rui: Terminal) -> None:
    request = ask(world)
    silent = rui.card(request, "deny").json()
    assert rui.answer(silent).status_code == 422
    assert rui.answer(rui.card(request, "deny", reason="No.").json()).json()["state"] == "DENIED"


def test_what_was_erased_is_not_sent(world: World, rui: Terminal) -> None:
    request = ask(world, PAY[0], {**PAY[1], "account": "DE02 1203 0000"})
    assert "DE02" in rui.card(request, "approve").content.decode()
    Opening.objects.filter(name="account").update(value=None, erased_at=utc_now())
    card = rui.card(request, "approve").json()
    assert "account" not in {one["name"] for one in card["openings"]}


# --- who may not ------------------------------------------------------------------------------------------------------


def refused(reply: Any, status: int, code: str) -> str:
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.content
    assert reply["Content-Type"] == "application/problem+json"
    assert Vote.objects.count() == 0
    assert Ceremony.objects.filter(typ=statement.TYP).count() == 0
    return str(reply.json()["detail"])


def test_whoever_cannot_sign_gets_one_answer_whatever_the_reason(world: World, rui: Terminal) -> None:
    request, raw = ask(world), None
    world.enrolled_ssh("rosa")  # nobody vouched for it
    passkey = world.signing("rosa")
    stranger = KeyPair.generate()
    waiting = world.rosa.keys.get(kind="ssh", vouched_at=None)

    def by(terminal_: Terminal, **changes: Any) -> Any:
        return terminal_.card(request, "approve", document=terminal_.read(request.id, **changes))

    document = rui.read(request.id)
    raw = signing.encode(document)
    forged = {
        "kind": "ssh",
        "key": rui.key.fingerprint,
        "value": sshsig.sign(stranger, raw, "imprimatur-read-v1"),
    }
    answers = [
        rui.card(request, "approve", document=document, evidence=forged),
        rui.card(request, "approve", namespace="imprimatur-decision-v1"),
        by(rui, person=world.rosa.id),
        by(rui, person="pe_nobody"),
        by(rui, credential=waiting.fingerprint),
        by(Terminal(world, "rosa", waiting)),
        rui.card(request, "approve", evidence={"kind": "session"}),
        by(rui, credential=passkey.fingerprint),
    ]
    told = {refused(answer, 401, "signature") for answer in answers}
    assert len(told) == 1, "one answer for all"
    assert "look under Your keys" in told.pop()


def test_a_revoked_key_reads_nothing(world: World, rui: Terminal) -> None:
    request = ask(world)
    commit(revoke_person_key.apply, revoke_person_key.Command(rui.key.fingerprint, "lost", by=world.ada))
    refused(rui.card(request, "approve"), 401, "signature")


def test_a_person_without_a_role_reads_nothing(world: World, rui: Terminal) -> None:
    request = ask(world)
    commit(change_person.apply, change_person.Command(world.rui, roles=(), by=world.ada))
    told = refused(rui.card(request, "deny", reason="No."), 403, "not-allowed")
    assert "no role" in told
    commit(change_person.apply, change_person.Command(world.rosa, active=False, by=world.ada))


def test_invariant_12_a_statement_of_another_realm_or_time_reads_nothing(world: World, rui: Terminal) -> None:
    request = ask(world)
    refused(rui.card(request, "approve", document=rui.read(request.id, realm="staging.example")), 401, "signature")
    past, later = utc_now() - timedelta(minutes=5), utc_now() + timedelta(minutes=5)
    refused(rui.card(request, "approve", document=rui.read(request.id, past)), 401, "clock-skew")
    refused(rui.card(request, "approve", document=rui.read(request.id, later)), 401, "clock-skew")


def test_a_statement_reads_once(world: World, rui: Terminal) -> None:
    request = ask(world)
    document = rui.read(request.id)
    assert rui.card(request, "approve", document=document).status_code == 200
    again = rui.card(request, "approve", document=document)
    assert (again.status_code, again.json()["code"]) == (401, "replayed")
    assert Nonce.objects.filter(key=rui.key.thumbprint).count() == 1
    later = (utc_now() + timedelta(minutes=5)).replace(second=0)
    clock.forget(later)
    assert Nonce.objects.filter(key=rui.key.thumbprint).count() == 0


def test_whoever_may_not_approve_learns_why_and_gets_nothing_to_sign(world: World) -> None:
    """Ada owns the agent; Audra only audits."""
    world.signing("rui")
    request = ask(world)
    ada = Terminal(world, "ada", world.vouch(world.enrolled_ssh("ada")))
    assert "You own robo" in refused(ada.card(request, "approve"), 403, "not-allowed")
    audra = Terminal(world, "audra", world.ssh_signing("audra"))
    assert "role reviewer" in refused(audra.card(request, "approve"), 403, "not-allowed")


def test_a_request_that_is_not_there_and_one_that_is_over(world: World, rui: Terminal) -> None:
    request = ask(world)
    missing = rui.read("act_" + "0" * 26)
    refused(rui.card(request, "approve", document=missing), 404, "not-found")
    ActionRequest.objects.update(expires_at=utc_now())
    assert "denied" in refused(rui.card(request, "approve"), 409, "wrong-state")


def test_an_answer_with_another_signature_counts_for_nothing(world: World, rui: Terminal) -> None:
    request = ask(world)
    card = rui.card(request, "approve").json()
    assert rui.answer(card, namespace="imprimatur-grant-v1").status_code == 401
    rosa = Terminal(world, "rosa", world.ssh_signing("rosa"))
    assert rosa.answer(card).status_code == 401
    assert rui.answer({**card, "statement": card["statement"].replace("approve", "confirm")}).status_code == 401
    assert rui.answer({**card, "ceremony": "cer_" + "0" * 26}).status_code == 404
    assert Vote.objects.count() == 0
    assert rui.answer(card).status_code == 200
    again = rui.answer(card)
    assert (again.status_code, again.json()["code"]) == (409, "wrong-state")
    assert Vote.objects.count() == 1


@pytest.mark.parametrize("body", [b" ", b"[]", b"{", b'{"statement":1}', b'{"a":1,"a":2}', b"\xff"])
@pytest.mark.parametrize("name", ["terminal-card", "terminal-answer"])
def test_what_cannot_be_read_is_refused_in_words(world: World, rui: Terminal, name: str, body: bytes) -> None:
    refused(rui.post(name, body), 422, "malformed")


def test_too_much_too_often_and_the_wrong_kind_are_refused(world: World, rui: Terminal) -> None:
    from django.urls import reverse

    refused(rui.post("terminal-card", b" " * 70_000), 413, "malformed")
    plain = rui.client.post(reverse("terminal-card"), {"a": "b"})
    refused(plain, 415, "malformed")
    assert rui.client.get(reverse("terminal-card")).status_code == 405
    for _ in range(signed.MOST_A_MINUTE):
        last = rui.post("terminal-answer", b"{}")
    refused(last, 429, "rate-limited")


def test_a_frozen_log_answers_nobody(world: World, rui: Terminal) -> None:
    from audit.log import freeze

    request = ask(world)
    freeze("a test")
    refused(rui.card(request, "approve"), 503, "log-frozen")
