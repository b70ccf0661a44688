"""Grants signed with a key of one's own, through the sheets: what counts, what does not, and what ends them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals import grants
from approvals.actions import redeem_approval
from approvals.models import ActionRequest, Grant
from audit.log import commit, utc_now
from audit.models import Entry
from audit.selectors import payload_of
from governance.actions import revoke_person_key
from governance.errors import Refused
from governance.models import Ceremony, PersonKey
from governance.signing_keys import material
from imprimatur.formats import canonical, evidence, signing
from imprimatur.formats.entries import attempt_digest
from imprimatur.rules.policy import DEFAULT_POLICY
from tests.approvals.test_grants import choice, overwrite
from tests.conftest import World


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


@pytest.fixture
def world(make_world: Callable[..., World], notarised: object) -> World:
    """An installation that takes no click for an approval; Rui holds a signing key."""
    world = make_world(DEFAULT_POLICY)
    world.signing("rui")
    return world


@pytest.fixture
def asked(world: World) -> ActionRequest:
    return overwrite(world)


class Reviewer:
    """Rui's browser on the sheet of a grant."""

    def __init__(self, world: World, who: str = "rui") -> None:
        self.world, self.who = world, who
        self.client = Client()
        self.client.force_login(world.people[who].user)

    def fields(self, request: ActionRequest, **changes: Any) -> dict[str, Any]:
        chosen = canonical.dumps(choice(request, **changes)).decode()
        return {"version": request.version, "grant": chosen}

    def begin(self, request: ActionRequest, credential: str = "", **changes: Any) -> Any:
        named = credential or self.world.key_of(self.who).fingerprint
        fields = {**self.fields(request, **changes), "credential": named}
        return self.client.post(reverse("grant-sign", args=[request.id]), fields)

    def finish(self, request: ActionRequest, offer: dict[str, Any], **lies: Any) -> Any:
        response = json.dumps(self.world.sign(self.who, offer, **lies))
        fields = {**self.fields(request), "ceremony": offer["ceremony"], "response": response}
        return self.client.post(reverse("grant", args=[request.id]), fields)

    def issue(self, request: ActionRequest, **changes: Any) -> Grant:
        reply = self.finish(request, self.begin(request, **changes).json())
        assert reply.status_code == 302, reply.content.decode()
        self.world.publish()
        return Grant.objects.latest("index")


@pytest.mark.parametrize("kind", [("ES256", False), ("EdDSA", True)])
def test_a_signed_grant_counts_and_can_be_checked_from_the_log_alone(
    world: World, asked: ActionRequest, kind: Any
) -> None:
    key = world.signing("rosa", *kind)
    grant = Reviewer(world, "rosa").issue(asked)
    assert (grant.reviewer, grant.key, grant.assurance) == (world.rosa, key.fingerprint, "H2")
    entry = payload_of(Entry.objects.get(kind="grant.issued"))
    assert entry["actor"] == {"type": "person", "id": world.rosa.id, "key": key.fingerprint, "assurance": "H2"}
    evidence.check(
        entry["body"]["evidence"],
        typ=signing.GRANT,
        raw=entry["body"]["statement"].encode(),
        namespace=signing.ssh_namespace(signing.GRANT),
        key=material(key),
    )
    assert overwrite(world).grant == grant


def test_card_list_and_log_say_who_approved_it_in_advance_and_with_what(world: World, asked: ActionRequest) -> None:
    rui = Reviewer(world)
    rui.issue(asked)
    later = overwrite(world)

    def page(name: str, *args: str, query: str = "") -> str:
        return re.sub(r"<[^>]+>", "", rui.client.get(reverse(name, args=args) + query).content.decode())

    assert "Rui Falk, in advance, with a device-bound passkey (H2)" in page("request", later.id)
    assert "Rui Falk, in advance, with a passkey" in page("desk", query="?list=decided")
    assert "was allowed by Rui Falk, in advance, with a passkey" in page("log")


def test_what_is_signed_is_what_the_sheet_said(world: World, asked: ActionRequest) -> None:
    rui = Reviewer(world)
    offer = rui.begin(asked, max_uses=7).json()
    said = json.loads(offer["statement"])
    assert (said["typ"], said["max_uses"], said["effects"]) == (signing.GRANT, 7, ["file:write:/project/src"])
    page = rui.client.post(reverse("grant", args=[asked.id]), {**rui.fields(asked), "credential": ""}).content.decode()
    assert "key of your own" in page, "a click issues nothing here"
    assert not Grant.objects.exists()
    assert rui.finish(asked, offer).status_code == 302
    assert Grant.objects.get().max_uses == 7, "the signature counts, not what the form says besides it"


def test_a_ceremony_is_used_once(world: World, asked: ActionRequest) -> None:
    rui = Reviewer(world)
    offer = rui.begin(asked).json()
    assert rui.finish(asked, offer).status_code == 302
    assert rui.finish(asked, offer).status_code == 409
    assert Grant.objects.count() == 1


@pytest.mark.parametrize(
    "lies",
    [
        {"origin": "https://evil.example"},
        {"cross_origin": True},
        {"flags": 0x01},
    ],
)
def test_a_signature_that_does_not_hold_issues_nothing(
    world: World, asked: ActionRequest, lies: dict[str, Any]
) -> None:
    rui = Reviewer(world)
    reply = rui.finish(asked, rui.begin(asked).json(), **lies)
    assert reply.status_code >= 400
    assert "does not count" in reply.content.decode()
    assert not Grant.objects.exists()


def test_an_expired_ceremony_issues_nothing(world: World, asked: ActionRequest) -> None:
    rui = Reviewer(world)
    offer = rui.begin(asked).json()
    Ceremony.objects.filter(pk=offer["ceremony"]).update(expires_at=utc_now())
    assert rui.finish(asked, offer).status_code == 409
    assert not Grant.objects.exists()


def test_a_vote_is_no_grant_and_a_grant_no_vote(world: World, asked: ActionRequest) -> None:
    rui = Reviewer(world)
    fields = {"version": asked.version, "display_digest": asked.display_digest, "reason": ""}
    named = {"credential": world.key_of("rui").fingerprint}
    vote = rui.client.post(reverse("sign", args=[asked.id, "approve"]), {**fields, **named}).json()
    assert rui.finish(asked, vote).status_code == 409
    offer = rui.begin(asked).json()
    answer = {**fields, "ceremony": offer["ceremony"], "response": json.dumps(world.sign("rui", offer))}
    assert rui.client.post(reverse("sheet", args=[asked.id, "approve"]), answer).status_code >= 400
    assert not Grant.objects.exists()
    asked.refresh_from_db()
    assert asked.state == "PENDING"


def test_who_may_not_is_given_nothing_to_sign(world: World, asked: ActionRequest) -> None:
    world.signing("ada")
    reply = Reviewer(world, "ada").begin(asked)
    assert reply.status_code == 403
    assert reply.json()["code"] == "not-allowed"
    rui = Reviewer(world)
    assert rui.begin(asked, credential=world.key_of("ada").fingerprint).status_code in {403, 422}
    assert not Grant.objects.exists()


def test_a_device_bound_rule_wants_such_a_key_for_grants_too(make_world: Callable[..., World], db: None) -> None:
    world = make_world({**DEFAULT_POLICY, "device_bound": ["HIGH"]})
    world.signing("rui", "ES256", False)
    asked = overwrite(world)
    reply = Reviewer(world).finish(asked, Reviewer(world).begin(asked).json())
    assert "never leaves its device" in reply.content.decode()
    assert not Grant.objects.exists()


def test_it_dies_with_the_key_that_signed_it(world: World, asked: ActionRequest) -> None:
    grant = Reviewer(world).issue(asked)
    before = overwrite(world)
    assert before.state == "APPROVED"
    key = world.key_of("rui").fingerprint
    commit(revoke_person_key.apply, revoke_person_key.Command(key, by=world.ada, reason="lost"))
    assert overwrite(world).state == "PENDING"
    assert "revoked" in grants.why_over(grants.rows().get(pk=grant.pk), utc_now())


def test_what_a_stolen_key_approved_in_advance_is_not_redeemed(world: World, asked: ActionRequest) -> None:
    grant = Reviewer(world).issue(asked)
    later = overwrite(world)
    command = revoke_person_key.Command(
        world.key_of("rui").fingerprint, by=world.ada, reason="stolen", since=grant.issued_at, stolen=True
    )
    commit(revoke_person_key.apply, command)
    later.refresh_from_db()
    assert later.state == "INVALIDATED"
    attempt = attempt_digest("a" * 22)
    with pytest.raises(Refused):
        commit(
            redeem_approval.apply,
            redeem_approval.Command(
                later.id, world.robo.id, world.keys["robo"].thumbprint, later.action_digest, attempt
            ),
        )


def test_a_grant_by_a_lost_key_is_not_redeemed_even_where_nothing_ended_it_yet(
    world: World, asked: ActionRequest
) -> None:
    grant = Reviewer(world).issue(asked)
    later = overwrite(world)
    # The row alone, as if the revocation had not reached the request: redeeming looks at the key once more.
    PersonKey.objects.filter(pk=grant.key).update(revoked_at=grant.issued_at)
    digest, attempt = later.action_digest, attempt_digest("a" * 22)
    command = redeem_approval.Command(later.id, world.robo.id, world.keys["robo"].thumbprint, digest, attempt)
    with pytest.raises(Refused, match="lost before it signed"):
        commit(redeem_approval.apply, command)
    later.refresh_from_db()
    assert later.state == "APPROVED"


def test_a_grant_that_is_less_sure_than_a_request_needs_does_not_answer_it(world: World, asked: ActionRequest) -> None:
    grant = Reviewer(world).issue(asked)
    Grant.objects.filter(pk=grant.pk).update(assurance="H0")
    assert overwrite(world).state == "PENDING"
    Grant.objects.filter(pk=grant.pk).update(assurance=grant.assurance)
    assert overwrite(world, content="y").grant == grant
