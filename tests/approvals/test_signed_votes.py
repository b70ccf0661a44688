"""Answers signed with a key of one's own, through the sheets: what counts, and every way in which one does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from approvals import eligibility, statements
from approvals.actions import recall_vote, redeem_approval
from approvals.models import ActionRequest, Vote
from audit.log import commit, utc_now
from audit.models import Entry, Opening
from audit.selectors import payload_of
from governance.actions import change_person, revoke_person_key
from governance.errors import Refused
from governance.models import Ceremony, PersonKey
from imprimatur.formats import canonical, digests, evidence, signing, statement
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.entries import attempt_digest
from imprimatur.formats.keys import KeyPair
from imprimatur.rules.policy import DEFAULT_POLICY
from tests.approvals.signing import Browser
from tests.conftest import World, ssh_line
from tests.desk.requests import PAY, ask
from tests.governance import proposals

KINDS = [("ES256", True), ("ES256", False), ("EdDSA", True), ("EdDSA", False)]


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


@pytest.fixture
def world(make_world: Callable[..., World], notarised: object) -> World:
    """An installation that takes no click for an approval."""
    return make_world(DEFAULT_POLICY)


@pytest.fixture
def rui(world: World) -> Browser:
    world.signing("rui")
    return Browser(world, "rui")


@pytest.fixture
def rosa(world: World) -> Browser:
    world.signing("rosa", "EdDSA", False)
    return Browser(world, "rosa")


def state(request: ActionRequest) -> str:
    request.refresh_from_db()
    return request.state


def said(reply: Any) -> str:
    return str(reply.content.decode())


def cast(request: ActionRequest) -> dict[str, Any]:
    """The last vote of a request, as the log has it."""
    return payload_of(Entry.objects.filter(subject=request.id, kind="vote.cast").order_by("-index")[0])


@pytest.mark.parametrize(("alg", "device_bound"), KINDS)
def test_a_signed_approval_counts_and_can_be_checked_from_the_log_alone(
    world: World, alg: str, device_bound: bool
) -> None:
    key = world.signing("rui", alg, device_bound)  # type: ignore[arg-type]
    request = ask(world)
    assert Browser(world, "rui").sign(request, "approve", reason="matches the plan").status_code == 302
    assert state(request) == "APPROVED"
    [vote] = eligibility.live_votes(request)
    assert (vote.person_id, vote.key, vote.assurance) == (world.rui.id, key.fingerprint, "H2")

    entry = cast(request)
    raw = entry["body"]["statement"].encode()
    document = statement.parse(raw)
    assert entry["actor"] == {"type": "person", "id": world.rui.id, "key": key.fingerprint, "assurance": "H2"}
    assert document["credential"] == key.fingerprint
    assert (document["decision"], document["request"]) == ("approve", request.id)
    assert (document["version"], document["display_digest"]) == (1, request.display_digest)
    assert entry["body"]["reason"] == document["reason_commitment"]
    material = evidence.KeyMaterial(
        "webauthn",
        key.fingerprint,
        public_key=bytes(key.public_key),
        credential=un_b64u(key.credential or ""),
        rp_id="localhost",
        device_bound=device_bound,
    )
    given = evidence.check(entry["body"]["evidence"], typ=statement.TYP, raw=raw, namespace="", key=material)
    assert (given.key, given.device_bound) == (key.fingerprint, device_bound)
    assert "matches the plan" not in bytes(Entry.objects.get(pk=entry["index"]).envelope).decode()


def test_invariant_3_a_critical_action_takes_two_people_who_each_sign(
    world: World, rui: Browser, rosa: Browser
) -> None:
    request = ask(world, *PAY)
    assert rui.sign(request, "approve").status_code == 302
    assert state(request) == "AWAITING_CONFIRMATION"
    assert rui.offer(request, "confirm", typed=request.target).status_code == 403
    assert rosa.offer(request, "confirm", typed="vendor/other").status_code == 422
    assert rosa.sign(request, "confirm", typed=request.target).status_code == 302
    assert state(request) == "APPROVED"
    first, second = eligibility.live_votes(request)
    assert statement.parse(bytes(second.statement))["prev_vote"] == digests.sha256(bytes(first.statement))
    assert first.key != second.key


def test_invariant_3_a_confirmation_of_an_approval_that_no_longer_counts_is_refused(
    world: World, rui: Browser, rosa: Browser
) -> None:
    """Roles come and go beside the request, so its version stays: only the vote that is named tells."""
    for login in ("ada", "mallory"):
        world.signing(login)

    def take(who: str) -> None:
        commit(change_person.apply, change_person.Command(world.people[who], roles=(), by=world.ada))

    def give(who: str) -> None:
        change = proposals.propose(world, "ada", proposals.person(world.people[who], roles=("reviewer",)))
        proposals.second(world, "rosa", change)

    give("mallory")
    request = ask(world, *PAY)
    assert rui.sign(request, "approve").status_code == 302
    take("rui")
    assert rosa.sign(request, "approve").status_code == 302
    give("rui")
    mallory = Browser(world, "mallory")
    drafted = mallory.offer(request, "confirm", typed=request.target).json()
    first, last = eligibility.live_votes(request)
    assert json.loads(drafted["statement"])["prev_vote"] == digests.sha256(bytes(last.statement))
    take("rosa")
    signed = {"ceremony": drafted["ceremony"], "response": json.dumps(world.sign("mallory", drafted))}
    refused = mallory.send(request, "confirm", typed=request.target, **signed)
    assert (refused.status_code, state(request)) == (409, "AWAITING_CONFIRMATION")
    assert "The answer you confirm has changed" in said(refused)
    assert mallory.sign(request, "confirm", typed=request.target).status_code == 302
    assert cast(request)["body"]["statement"].count(digests.sha256(bytes(first.statement))) == 1
    assert state(request) == "APPROVED"


def test_a_vote_by_a_lost_key_is_not_redeemed_even_where_nothing_ended_it_yet(world: World, rui: Browser) -> None:
    request = ask(world)
    rui.sign(request, "approve")
    [vote] = eligibility.live_votes(request)
    # The row alone, as if the revocation had not reached the request: redeeming looks at the key once more.
    PersonKey.objects.filter(pk=vote.key).update(revoked_at=vote.cast_at)
    digest, attempt = request.action_digest, attempt_digest("a" * 22)
    command = redeem_approval.Command(request.id, world.robo.id, world.keys["robo"].thumbprint, digest, attempt)
    with pytest.raises(Refused, match="lost before it signed"):
        commit(redeem_approval.apply, command)
    assert state(request) == "APPROVED"


def test_a_recall_of_an_answer_that_was_given_anew_is_refused(world: World, rui: Browser) -> None:
    request = ask(world)
    rui.sign(request, "approve")
    drafted = statements.draft(ActionRequest.objects.get(pk=request.pk), world.rui, "recall")
    other = replace(drafted, document={**drafted.document, "prev_vote": digests.sha256(b"an earlier answer")})
    for draft, refused in ((other, True), (drafted, False)):
        command = recall_vote.Command(world.rui.id, request.id, statements.by_click(world.rui, draft))
        with pytest.raises(Refused, match="another one by now") if refused else nullcontext():
            commit(recall_vote.apply, command)
        assert len(eligibility.live_votes(ActionRequest.objects.get(pk=request.pk))) == int(refused)


def test_the_statement_is_drafted_by_the_server_and_says_what_the_row_says(world: World, rui: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "approve").json()
    document = statement.parse(offer["statement"].encode())
    assert offer["typ"] == statement.TYP
    assert offer["options"]["challenge"] == b64u(signing.challenge(statement.TYP, offer["statement"].encode()))
    assert offer["options"]["userVerification"] == "required"
    assert [one["id"] for one in offer["options"]["allowCredentials"]] == [world.key_of("rui").credential]
    assert document["realm"] == world.realm
    assert (document["risk"], document["action_digest"]) == (request.risk, request.action_digest)
    assert (document["reviewer"], document["policy"]) == (world.rui.id, request.policy)
    assert Vote.objects.count() == 0  # asking for a statement decides nothing


def test_a_click_denies_takes_back_and_looks_over_and_approves_nothing(world: World, rui: Browser) -> None:
    request = ask(world)
    refused = rui.send(request, "approve")
    assert refused.status_code == 403
    assert "sign with a key of your own (H2)" in said(refused)
    assert rui.sign(request, "approve").status_code == 302
    assert rui.send(request, "recall", reason="Wrong file.").status_code == 302
    assert state(request) == "RECALLED"
    other = ask(world)
    assert rui.send(other, "deny", reason="No.").status_code == 302
    assert state(other) == "DENIED"


def test_a_denial_and_a_recall_may_be_signed_as_well(world: World, rui: Browser) -> None:
    request = ask(world)
    assert rui.sign(request, "approve").status_code == 302
    assert rui.sign(request, "recall", reason="Wrong file.").status_code == 302
    assert state(request) == "RECALLED"
    [entry] = [payload_of(row) for row in Entry.objects.filter(subject=request.id, kind="vote.recalled")]
    assert entry["actor"]["assurance"] == "H2"
    assert statement.parse(entry["body"]["signed"]["statement"].encode())["decision"] == "recall"

    other = ask(world)
    assert rui.offer(other, "deny").status_code == 422  # a denial needs words
    assert rui.sign(other, "deny", reason="No.").status_code == 302
    assert cast(other)["actor"]["assurance"] == "H2"
    assert state(other) == "DENIED"


def test_looking_over_may_be_signed(world: World, rui: Browser) -> None:
    request = ask(world, "write_file", {"path": "/project/src/a.py", "content": "x"})
    assert request.look_over == "open"
    assert rui.sign(request, "flag", reason="That is the wrong file.").status_code == 302
    [entry] = [payload_of(row) for row in Entry.objects.filter(subject=request.id, kind="action.looked_over")]
    assert (entry["actor"]["assurance"], entry["body"]["verdict"]) == ("H2", "flagged")


# --- everything that makes a signature count for nothing (research/approvals.md, B2) ----------------------------------


def lies(world: World, **how: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda offer: world.sign("rui", offer, **how)


def rewritten(offer: dict[str, Any], world: World) -> dict[str, Any]:
    """The same JSON with other spaces, after the key signed it."""
    answer = world.sign("rui", offer)
    client_data = json.loads(un_b64u(answer["response"]["clientDataJSON"]))
    answer["response"]["clientDataJSON"] = b64u(json.dumps(client_data).encode())
    return answer


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "in a frame of another site": ({"cross_origin": True}, "frame"),
    "with a page around it": ({"top_origin": "https://evil.example"}, "around ours"),
    "on another origin": ({"origin": "https://evil.example"}, "another origin"),
    "for another site": ({"rp_id": "evil.example"}, "another site"),
    "without a person": ({"flags": 0x01}, "PIN, fingerprint or face"),
    "without a touch": ({"flags": 0x04}, "not touched"),
    "as a registration": ({"type": "webauthn.create"}, "something else"),
    "by a key that says it is synced now": ({"flags": 0x1D}, "opposite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_ceremony_that_went_wrong_counts_for_nothing(world: World, rui: Browser, name: str) -> None:
    how, why = WRONG[name]
    request = ask(world)
    refused = rui.sign(request, "approve", answer=lies(world, **how))
    assert refused.status_code == 401
    assert why in said(refused)
    assert (state(request), Vote.objects.count()) == ("PENDING", 0)


def test_client_data_that_was_written_anew_counts_for_nothing(world: World, rui: Browser) -> None:
    request = ask(world)
    refused = rui.sign(request, "approve", answer=lambda offer: rewritten(offer, world))
    assert refused.status_code == 401
    assert "does not verify" in said(refused)
    assert state(request) == "PENDING"


def test_invariant_12_a_challenge_of_another_purpose_counts_for_nothing(world: World, rui: Browser) -> None:
    request = ask(world)

    def as_a_grant(offer: dict[str, Any]) -> dict[str, Any]:
        challenge = signing.challenge(signing.GRANT, offer["statement"].encode())
        return world.sign("rui", {**offer, "options": {**offer["options"], "challenge": b64u(challenge)}})

    refused = rui.sign(request, "approve", answer=as_a_grant)
    assert (refused.status_code, state(request)) == (401, "PENDING")
    assert "challenge" in said(refused)


def test_invariant_12_a_statement_of_another_realm_counts_for_nothing(world: World, rui: Browser) -> None:
    request = ask(world)

    def elsewhere(offer: dict[str, Any]) -> dict[str, Any]:
        raw = canonical.dumps({**json.loads(offer["statement"]), "realm": "staging.imprimatur"})
        challenge = b64u(signing.challenge(statement.TYP, raw))
        return world.sign("rui", {**offer, "options": {**offer["options"], "challenge": challenge}})

    assert rui.sign(request, "approve", answer=elsewhere).status_code == 401
    assert state(request) == "PENDING"


def test_a_ceremony_of_another_request_counts_for_nothing(world: World, rui: Browser) -> None:
    one, other = ask(world), ask(world)
    offer = rui.offer(one, "approve").json()
    response = json.dumps(world.sign("rui", offer))
    refused = rui.send(other, "approve", ceremony=offer["ceremony"], response=response)
    assert refused.status_code == 422
    assert "an answer to something else" in said(refused)
    assert (state(one), state(other)) == ("PENDING", "PENDING")


def test_a_ceremony_of_another_decision_counts_for_nothing(world: World, rui: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "deny", reason="No.").json()
    response = json.dumps(world.sign("rui", offer))
    refused = rui.send(request, "approve", ceremony=offer["ceremony"], response=response)
    assert (refused.status_code, state(request)) == (422, "PENDING")


def test_a_ceremony_of_another_person_counts_for_nothing(world: World, rui: Browser, rosa: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "approve").json()
    response = json.dumps(world.sign("rui", offer))
    refused = rosa.send(request, "approve", ceremony=offer["ceremony"], response=response)
    assert refused.status_code == 404
    assert "no such signing in progress for you" in said(refused)
    assert state(request) == "PENDING"


def test_a_ceremony_is_used_once(world: World, rui: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "approve").json()
    response = json.dumps(world.sign("rui", offer))
    assert rui.send(request, "approve", ceremony=offer["ceremony"], response=response).status_code == 302
    again = rui.send(request, "approve", ceremony=offer["ceremony"], response=response)
    assert again.status_code == 409
    assert Vote.objects.count() == 1


def test_a_ceremony_ends_with_its_time(world: World, rui: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "approve").json()
    response = json.dumps(world.sign("rui", offer))
    Ceremony.objects.filter(pk=offer["ceremony"]).update(expires_at=utc_now() - timedelta(seconds=1))
    refused = rui.send(request, "approve", ceremony=offer["ceremony"], response=response)
    assert refused.status_code == 409
    assert "waited too long" in said(refused)
    assert state(request) == "PENDING"


def test_a_version_that_changed_under_the_signature_counts_for_nothing(world: World, rui: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "approve").json()
    response = json.dumps(world.sign("rui", offer))
    ActionRequest.objects.filter(pk=request.pk).update(version=2)
    refused = rui.send(request, "approve", ceremony=offer["ceremony"], response=response)
    assert refused.status_code == 409
    assert "changed" in said(refused)
    assert state(request) == "PENDING"


def test_a_key_revoked_after_it_signed_counts_for_nothing(world: World, rui: Browser) -> None:
    request = ask(world)
    offer = rui.offer(request, "approve").json()
    response = json.dumps(world.sign("rui", offer))
    revoke(world, world.key_of("rui"))
    refused = rui.send(request, "approve", ceremony=offer["ceremony"], response=response)
    assert refused.status_code == 401
    assert "revoked" in said(refused)
    assert state(request) == "PENDING"


def test_a_key_that_nobody_vouched_for_signs_nothing(world: World) -> None:
    world.signing("ada")
    key = world.enrolled("rui")
    rui, request = Browser(world, "rui"), ask(world)
    refused = rui.offer(request, "approve", credential=key.fingerprint)
    assert refused.status_code == 403
    assert "waits for a colleague to vouch for it" in refused.json()["detail"]
    signed = rui.offer(request, "deny", reason="No.", credential=key.fingerprint)
    assert "waits for a voucher" in signed.json()["detail"]


def test_a_key_for_delegations_only_signs_no_answer(world: World) -> None:
    from governance.actions import add_person_key, change_person

    # Only admins have such a key; Rui is to be one who may answer as well.
    commit(change_person.apply, change_person.Command(world.rui, roles=("admin", "reviewer"), by=world.ada))
    line = ssh_line(KeyPair.generate())
    key = commit(add_person_key.apply, add_person_key.Command(world.rui, line)).key
    rui, request = Browser(world, "rui"), ask(world)
    refused = rui.offer(request, "deny", reason="No.", credential=key.fingerprint)
    assert refused.status_code == 403
    assert "for delegations only" in refused.json()["detail"]
    assert eligibility.eligible_people(request) == []  # nobody can approve it: Rui can only deny
    assert eligibility.outlook(request).stuck == "Nobody can approve this."


def test_a_passkey_for_signing_in_signs_no_answer(world: World, rui: Browser) -> None:
    from tests.formats.soft_authenticator import SoftAuthenticator

    login = SoftAuthenticator()
    request = ask(world)
    refused = rui.sign(request, "approve", answer=lambda offer: login.sign(un_b64u(offer["options"]["challenge"])))
    assert refused.status_code == 401
    assert state(request) == "PENDING"


def test_where_device_bound_keys_are_asked_for_a_synced_one_is_too_little(
    make_world: Callable[..., World], notarised: object
) -> None:
    world = make_world({**DEFAULT_POLICY, "device_bound": ["CRITICAL"]})
    world.signing("rui")
    world.signing("rosa", "ES256", False)
    rui, rosa = Browser(world, "rui"), Browser(world, "rosa")
    request = ask(world, *PAY)
    assert request.device_bound
    assert rui.sign(request, "approve").status_code == 302
    refused = rosa.offer(request, "confirm", typed=request.target)
    assert refused.status_code == 403
    assert "never leaves its device" in refused.json()["detail"]
    # Past the early answer, the transaction itself refuses it as well.
    ActionRequest.objects.update(device_bound=False)
    offer = rosa.offer(request, "confirm", typed=request.target).json()
    ActionRequest.objects.update(device_bound=True)
    response = json.dumps(world.sign("rosa", offer))
    refused = rosa.send(request, "confirm", typed=request.target, ceremony=offer["ceremony"], response=response)
    assert refused.status_code == 403
    assert "this one is synced" in said(refused)
    assert state(request) == "AWAITING_CONFIRMATION"


def test_with_several_keys_one_is_chosen(world: World, rui: Browser) -> None:
    second = world.vouch(world.enrolled("rui", "EdDSA"))
    request = ask(world)
    assert "Choose the one" in rui.offer(request, "approve").json()["detail"]
    assert rui.sign(request, "approve", credential=second.fingerprint).status_code == 302
    assert eligibility.live_votes(request)[0].key == second.fingerprint


def test_whoever_is_signed_out_learns_it_in_json(world: World) -> None:
    from django.test import Client

    request = ask(world)
    reply = Client().post(reverse("sign", args=[request.id, "approve"]), {}, headers={"Accept": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (401, "signed-out")
    mallory = Browser(world, "mallory").offer(request, "approve")
    assert (mallory.status_code, mallory.json()["code"]) == (403, "not-allowed")


# --- keys that are lost, and people without one -----------------------------------------------------------------------


def revoke(world: World, key: PersonKey, **more: Any) -> None:
    commit(
        revoke_person_key.apply,
        revoke_person_key.Command(key.fingerprint, "lost on the train", by=world.ada, **more),
    )


def test_what_a_stolen_key_approved_is_invalidated_in_the_same_breath(world: World, rui: Browser) -> None:
    request = ask(world)
    rui.sign(request, "approve")
    half, other = ask(world, *PAY), ask(world)
    rui.sign(half, "approve")
    assert (state(request), state(half)) == ("APPROVED", "AWAITING_CONFIRMATION")
    revoke(world, world.key_of("rui"), since=eligibility.live_votes(request)[0].cast_at, stolen=True)
    assert (state(request), request.code) == ("INVALIDATED", "invalidated")
    assert (state(half), state(other)) == ("INVALIDATED", "PENDING")


def test_what_a_key_approved_before_it_was_lost_stands(world: World, rui: Browser) -> None:
    request = ask(world)
    rui.sign(request, "approve")
    revoke(world, world.key_of("rui"))
    assert state(request) == "APPROVED"


def test_invariant_3_a_vote_of_a_lost_key_no_longer_counts_for_what_still_waits(
    world: World, rui: Browser, rosa: Browser
) -> None:
    request = ask(world, *PAY)
    rui.sign(request, "approve")
    revoke(world, world.key_of("rui"))
    assert rosa.offer(request, "confirm", typed=request.target).status_code == 403
    assert rosa.sign(request, "approve").status_code == 302
    assert state(request) == "AWAITING_CONFIRMATION"  # Rosa's is the one approval; somebody else confirms


# --- suggesting a change ----------------------------------------------------------------------------------------------


def proposed(request: ActionRequest, **changes: str) -> dict[str, Any]:
    from approvals import suggestions

    now = {f"set-{one.name}": one.text for one in suggestions.of(request).fields}
    return {**now, **{f"set-{name}": text for name, text in changes.items()}, "reason": "Too much."}


def test_a_suggestion_is_a_no_with_parameters_that_the_agent_can_read(world: World, rui: Browser) -> None:
    from tests.door.agent import AgentUnderTest, through_django

    request = ask(world, *PAY)
    sheet = rui.client.get(reverse("sheet", args=[request.id, "suggest"]))
    assert 'name="set-amount"' in said(sheet)
    assert rui.sign(request, "suggest", **proposed(request, amount="4.20")).status_code == 302
    assert (state(request), request.code) == ("DENIED", "reviewer-denied")
    assert world.delegation is not None
    reply = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id).get(f"/actions/{request.id}")
    assert (reply.status, reply.code, reply.json["note"]) == (403, "reviewer-denied", "Too much.")
    assert reply.json["suggestion"] == {"parameters": {**PAY[1], "amount": "4.20"}}
    entry = cast(request)
    stated = statement.parse(entry["body"]["statement"].encode())
    assert stated["decision"] == "deny"
    assert entry["body"]["suggestion"] == stated["suggestion_commitment"] == request.suggestion
    assert "4.20" not in "".join(bytes(row.envelope).decode() for row in Entry.objects.all())


def test_a_suggestion_may_be_clicked_and_is_held_against_the_schema(world: World) -> None:
    rui = Browser(world, "rui")
    request = ask(world, *PAY)
    wrong = rui.send(request, "suggest", **proposed(request, amount="a lot"))
    assert wrong.status_code == 422
    assert "does not fit the tool" in said(wrong)
    same = rui.send(request, "suggest", **proposed(request))
    assert "Change something" in said(same)
    assert state(request) == "PENDING"
    assert rui.send(request, "suggest", **proposed(request, amount="1.00")).status_code == 302
    assert state(request) == "DENIED"


def test_a_field_that_is_not_at_hand_is_not_in_a_suggestion(world: World) -> None:
    from approvals import suggestions

    request = ask(world, PAY[0], {**PAY[1], "account": "DE02 1203 0000"})
    Opening.objects.filter(name="account").update(value=None, erased_at=utc_now())
    assert "account" not in {one.name for one in suggestions.of(request).fields}
    assert Browser(world, "rui").send(request, "suggest", **proposed(request, amount="1.00")).status_code == 302
    assert state(request) == "DENIED"
