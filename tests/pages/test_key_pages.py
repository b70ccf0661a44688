from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from governance.models import Ceremony, PersonKey
from imprimatur.formats import sshsig
from imprimatur.formats.encoding import b64, un_b64u
from imprimatur.formats.keys import KeyPair
from tests.accounts import sessions
from tests.formats.soft_authenticator import SoftAuthenticator


@pytest.fixture
def signed_in(desk, world):
    """A browser of somebody who has just signed in with a password."""

    def enter(login: str, *, ago: float = 0) -> Client:
        return sessions.signed_in(world.people[login], ago=ago)

    return enter


def enrol(client: Client, key: SoftAuthenticator, label: str = "phone") -> Any:
    """Enrol a passkey as the page's script does."""
    begun = client.post(reverse("passkey_begin"), {"label": label}).json()
    made = key.register(un_b64u(begun["options"]["challenge"]))
    asked = client.post(
        reverse("passkey_created"), {"ceremony": begun["ceremony"], "response": json.dumps(made)}
    ).json()
    signed = key.sign(un_b64u(asked["options"]["challenge"]))
    return client.post(reverse("passkey_enrol"), {"ceremony": asked["ceremony"], "response": json.dumps(signed)})


def test_a_passkey_is_enrolled_and_put_in_force_by_the_first_admin_on_the_pages(signed_in, world, desk):
    client = signed_in("ada")

    assert enrol(client, SoftAuthenticator()).json() == {"next": reverse("keys")}
    key = PersonKey.objects.get(person=world.ada, purpose=PersonKey.SIGNING)
    assert not key.in_force and desk.last["kind"] == "person.key_enrolled"
    page = client.get(reverse("vouch", args=[world.ada.id]), {"key": key.fingerprint})
    assert "Put it in force" in page.content.decode()
    client.post(reverse("vouch", args=[world.ada.id]), {"key": key.fingerprint})
    key.refresh_from_db()

    assert key.signs_decisions and key.first
    assert desk.last["body"] == {"person": world.ada.id, "fingerprint": key.fingerprint, "first": True}


def test_a_colleague_vouches_with_a_signature_on_the_page(signed_in, world, desk):
    ada = world.signing("ada")
    client = signed_in("rui")
    enrol(client, SoftAuthenticator("EdDSA"))
    key = PersonKey.objects.get(person=world.rui)
    assert "Ada Brandt" in client.get(reverse("keys")).content.decode()

    voucher = signed_in("ada")
    assert key.fingerprint in voucher.get(reverse("keys")).content.decode().replace("%2F", "/")
    url = reverse("vouch", args=[world.rui.id])
    assert voucher.get(url, {"key": key.fingerprint}).status_code == 200
    asked = voucher.post(f"{url}/sign", {"key": key.fingerprint, "credential": ada.fingerprint}).json()
    said = json.loads(asked["statement"])
    assert (said["for"], said["key"], said["credential"]) == (world.rui.id, key.fingerprint, ada.fingerprint)
    answer = {"ceremony": asked["ceremony"], "response": json.dumps(world.sign("ada", asked)), "key": key.fingerprint}
    assert voucher.post(url, answer).status_code == 302
    key.refresh_from_db()

    assert key.signs_decisions and key.vouched_by == world.ada.id
    assert desk.last["actor"] == {"type": "person", "id": world.ada.id, "key": ada.fingerprint, "assurance": "H2"}


def test_a_colleague_vouches_in_a_terminal(signed_in, world, desk):
    ada = world.ssh_signing("ada")
    key = world.enrolled("rui")
    client, url = signed_in("ada"), reverse("vouch_ssh", args=[world.rui.id])
    page = client.get(reverse("vouch", args=[world.rui.id]), {"key": key.fingerprint})
    assert "Sign with an SSH key" in page.content.decode()
    shown = client.post(url, {"key": key.fingerprint, "credential": ada.fingerprint})
    assert "ssh-keygen -Y sign -n imprimatur-vouch-v1" in shown.content.decode()
    ceremony = Ceremony.objects.get(person=world.ada, typ="imprimatur/vouch/v1", used_at=None)
    answer = {"key": key.fingerprint, "ceremony": ceremony.id}
    wrong = sshsig.sign(KeyPair.generate(), bytes(ceremony.statement), "imprimatur-vouch-v1")
    refused = client.post(url, {**answer, "signature": wrong})
    assert refused.status_code == 422 and "names another SSH key" in refused.content.decode()

    assert client.post(url, {**answer, "signature": world.sign_ssh("ada", ceremony)}).status_code == 302

    key.refresh_from_db()
    assert key.signs_decisions
    assert desk.last["body"]["signed"]["evidence"]["kind"] == "ssh"


def test_a_vouch_without_a_signature_is_refused_in_words(signed_in, world):
    world.signing("ada")
    key = world.enrolled("rui")
    answer = signed_in("ada").post(reverse("vouch", args=[world.rui.id]), {"key": key.fingerprint})

    assert answer.status_code == 422
    assert "This came without a signature" in answer.content.decode()
    key.refresh_from_db()
    assert not key.in_force


def test_an_old_session_adds_no_key(signed_in, world):
    client = signed_in("rui", ago=301)

    begun = client.post(reverse("passkey_begin"), {"label": "phone"})
    assert (begun.status_code, begun.json()["code"]) == (403, "not-allowed")
    page = client.get(reverse("keys")).content.decode()
    assert reverse("keys_again") in page and "data-enrol" not in page
    assert client.get(reverse("keys_again")).url.startswith(reverse("account_reauthenticate"))
    assert client.get(reverse("keys_ssh")).url.startswith(reverse("account_reauthenticate"))
    assert not PersonKey.objects.filter(person=world.rui).exists()


def test_an_ssh_key_is_enrolled_by_pasting_its_signature(signed_in, world):
    pair, client = KeyPair.generate(), signed_in("rui")
    line = f"ssh-ed25519 {b64(sshsig.public_key_blob(pair.public_key))}"
    shown = client.post(reverse("keys_ssh"), {"step": "begin", "label": "laptop", "line": line})
    ceremony = shown.context["ceremony"]
    raw = client.get(reverse("keys_ssh_statement", args=[ceremony.id])).content
    assert "ssh-keygen -Y sign -n imprimatur-enrolment-v1" in shown.content.decode()
    wrong = sshsig.sign(pair, raw, "imprimatur-decision-v1")
    refused = client.post(reverse("keys_ssh"), {"step": "enrol", "ceremony": ceremony.id, "signature": wrong})
    assert refused.status_code == 422 and "another purpose" in refused.content.decode()

    good = sshsig.sign(pair, raw, "imprimatur-enrolment-v1").replace("\n", "\r\n")
    done = client.post(reverse("keys_ssh"), {"step": "enrol", "ceremony": ceremony.id, "signature": good})

    assert done.status_code == 302
    key = PersonKey.objects.get(person=world.rui)
    assert (key.kind, key.line, key.label, key.in_force) == ("ssh", line, "laptop", False)


def test_a_terminal_enrols_an_ssh_key_with_a_code_that_works_once(signed_in, world):
    pair = KeyPair.generate()
    line = f"ssh-ed25519 {b64(sshsig.public_key_blob(pair.public_key))}"
    code = signed_in("rui").post(reverse("keys_ssh"), {"step": "code"}).context["code"]
    terminal = Client(enforce_csrf_checks=True)

    def post(name: str, **body: str) -> Any:
        return terminal.post(reverse(name), json.dumps(body), content_type="application/json")

    wanted = {"person": world.rui.id, "line": line, "label": "laptop"}
    assert post("terminal_key", **wanted, code="aaaa-aaaa-aaaa-aaaa").status_code == 403
    assert post("terminal_key", **{**wanted, "person": world.rosa.id}, code=code).status_code == 403
    begun = post("terminal_key", **wanted, code=code).json()
    assert post("terminal_key", **wanted, code=code).json()["code"] == "not-allowed"
    value = sshsig.sign(pair, begun["statement"].encode(), "imprimatur-enrolment-v1")
    assert post("terminal_key_enrol", ceremony=begun["ceremony"], value=value).json()["state"] == "waits for a voucher"

    assert PersonKey.objects.get(person=world.rui).line == line


def test_somebody_revokes_a_key_of_their_own_as_stolen(signed_in, world, desk):
    key = world.signing("rui")
    data = {"key": key.fingerprint, "reason": "left in a taxi", "stolen": "on"}

    assert signed_in("rosa").post(reverse("key_revoke"), data).status_code == 404
    assert signed_in("rui").post(reverse("key_revoke"), data).status_code == 302
    key.refresh_from_db()

    assert key.stolen and not key.in_force
    assert desk.last["body"]["stolen"] is True


def test_an_admin_resets_a_login_and_reads_the_password_once(signed_in, world, desk):
    answer = signed_in("ada").post(reverse("login_reset", args=[world.rui.id]), {"what": "password"})
    world.rui.refresh_from_db()

    assert world.rui.user.check_password(answer.context["password"])
    assert world.rui.introducers == [world.ada.id]
    assert desk.last["body"] == {"person": world.rui.id, "what": "password"}


def test_a_root_delegation_is_signed_on_the_page_by_a_passkey(signed_in, world, desk):
    from imprimatur.formats import canonical, delegation

    key, client = world.signing("ada"), signed_in("ada")
    raw = canonical.dumps(world.document()).decode()
    url = reverse("delegation_sign")
    asked = client.post(f"{url}/sign", {"document": raw, "credential": key.fingerprint}).json()
    assert asked["statement"] == raw and asked["typ"] == delegation.TYP
    answer = {"document": raw, "ceremony": asked["ceremony"], "response": json.dumps(world.sign("ada", asked))}
    other = canonical.dumps(world.document(purpose="Something else")).decode()
    refused = client.post(url, {**answer, "document": other})
    assert refused.status_code == 422 and "Another delegation was signed" in refused.content.decode()

    assert client.post(url, answer).status_code == 302

    entry = desk.last
    assert entry["kind"] == "delegation.issued"
    assert entry["body"]["signature"]["kind"] == "webauthn"
    assert entry["actor"]["key"] == entry["body"]["signature"]["key"] == key.fingerprint
    assert client.get(reverse("delegation", args=[entry["body"]["delegation"]])).status_code == 200


@pytest.mark.parametrize("login", ["mallory", "nobody"])
def test_key_pages_are_for_people_with_a_role(desk, login):
    assert desk.get(login, "keys").status_code in (302, 403)
    assert desk.post(login, "passkey_begin", data={"label": "x"}).status_code in (302, 403)


def test_an_admin_finds_the_way_to_reset_a_login_and_nobody_resets_their_own(signed_in, world):
    client = signed_in("ada")
    there = reverse("login_reset", args=[world.rui.id])
    assert there in client.get(reverse("person", args=[world.rui.id])).content.decode()
    own = reverse("login_reset", args=[world.ada.id])
    assert own not in client.get(reverse("person", args=[world.ada.id])).content.decode()
    refused = client.post(own, {"what": "second-factor"})

    assert refused.status_code == 422 and "under Your account" in refused.content.decode()
