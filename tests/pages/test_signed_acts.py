"""What one person may do alone is sent by a click or signed; a signature that says anything else does nothing here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals.models import Grant
from audit import signer
from audit.log import commit
from audit.models import Entry
from audit.selectors import payload_of
from governance.actions import set_pause
from governance.models import Agent, Ceremony, Pause, PersonKey
from imprimatur.verify.history import History
from tests.conftest import REALM, World
from tests.desk.requests import ask

JSON = {"Accept": "application/json"}


@dataclass
class Sheet:
    """One sheet: where it is, what its form sends, and what comes of it."""

    act: str
    url: str
    sign: str
    fields: dict[str, Any]
    subject: str


def agent(world: World) -> Sheet:
    url = reverse("agent_suspend", args=[world.robo.id])
    return Sheet("agent.suspended", url, f"{url}/sign", {"reason": "odd"}, world.robo.id)


def agent_key(world: World) -> Sheet:
    url = reverse("agent_key_revoke", args=[world.robo.id, world.keys["robo"].thumbprint])
    fields = {"reason": "leaked\r\non a disk", "since": "2026-01-01T00:00"}
    return Sheet("agent.key_revoked", url, f"{url}/sign", fields, world.robo.id)


def agent_key_from_now(world: World) -> Sheet:
    return Sheet(**{**vars(agent_key(world)), "fields": {"reason": "leaked", "since": ""}})


def delegation(world: World) -> Sheet:
    assert world.delegation is not None
    url = reverse("delegation_revoke", args=[world.delegation.id])
    return Sheet("delegation.revoked", url, f"{url}/sign", {"reason": "done"}, world.delegation.id)


def person_key(world: World) -> Sheet:
    fields = {"key": world.key_of("rosa").fingerprint, "reason": "left in a taxi", "since": "", "stolen": "on"}
    return Sheet("person.key_revoked", reverse("key_revoke"), reverse("key_revoke_sign"), fields, world.rosa.id)


def stop(world: World) -> Sheet:
    fields = {"what": f"agent:{world.robo.id}", "reason": "odd"}
    return Sheet("pause.set", reverse("pauses"), reverse("pause_sign"), fields, world.robo.id)


def stop_everything(world: World) -> Sheet:
    fields = {"what": "everything:", "reason": "fire"}
    return Sheet("pause.set", reverse("pauses"), reverse("pause_sign"), fields, "everything")


def lift(world: World) -> Sheet:
    commit(set_pause.apply, set_pause.Command(Pause.TOOL, "read_file", "odd", world.ada))
    fields = {"scope": "tool", "target": "read_file", "reason": "fine again"}
    return Sheet("pause.lifted", reverse("pause_lift"), reverse("pause_lift_sign"), fields, "read_file")


def grant(world: World) -> Sheet:
    given = issue(world)
    url = reverse("grant-revoke", args=[given.id])
    return Sheet("grant.revoked", url, reverse("grant-revoke-sign", args=[given.id]), {"reason": "enough"}, given.id)


def issue(world: World) -> Grant:
    """Rui approves in advance, in the demo by a click."""
    from approvals import grants
    from approvals.actions import issue_grant
    from audit.log import utc_now
    from governance import ceremonies
    from imprimatur.formats.timestamps import format_time

    asked = ask(world, "write_file", {"path": "/project/src/a.py", "content": "x = 1", "destructive": True})
    chosen = {
        "effects": ["file:write:/project/src/a.py"],
        "parameters": {name: {"op": "any"} for name in grants.parameters_of(asked) or {}},
        "max_uses": 3,
        "not_after": format_time(utc_now() + timedelta(minutes=15)),
    }
    signed = ceremonies.session(world.rui, grants.document(world.rui, asked, chosen, None))
    grant = commit(issue_grant.apply, issue_grant.command(world.rui.id, asked, signed))
    world.publish()
    return grant


SHEETS: dict[str, Callable[[World], Sheet]] = {
    "agent": agent,
    "agent key": agent_key,
    "agent key from now": agent_key_from_now,
    "delegation": delegation,
    "person key": person_key,
    "stop": stop,
    "stop everything": stop_everything,
    "lift": lift,
    "grant": grant,
}
each_sheet = pytest.mark.parametrize("name", SHEETS)


@pytest.fixture
def keyed(world: World) -> Iterator[World]:
    """Ada, Rui and Rosa hold keys; afterwards the verifier goes through the whole log."""
    for who in ("ada", "rui", "rosa"):
        world.signing(who)
    yield world
    history = History(REALM, [signer.decision_key().public_key])
    for row in Entry.objects.order_by("index"):
        history.feed(row.index, bytes(row.envelope))


@pytest.fixture
def ada(keyed: World) -> Client:
    client = Client()
    client.force_login(keyed.ada.user)
    return client


def opened(world: World, client: Client, sheet: Sheet, who: str = "ada", **changes: Any) -> dict[str, Any]:
    """Ask for the ceremony, as the page's script does."""
    fields = {**sheet.fields, **changes, "credential": world.key_of(who).fingerprint}
    answer = client.post(sheet.sign, fields, headers=JSON)
    assert answer.status_code == 200, answer.content.decode()
    return dict(answer.json())


def sent(world: World, client: Client, sheet: Sheet, offer: dict[str, Any], who: str = "ada") -> Any:
    """Sign, and send the sheet."""
    return client.post(
        sheet.url, {**sheet.fields, "ceremony": offer["ceremony"], "response": json.dumps(world.sign(who, offer))}
    )


def last() -> dict[str, Any]:
    return payload_of(Entry.objects.order_by("-index")[0])


def entry_of(sheet: Sheet) -> dict[str, Any]:
    return payload_of(Entry.objects.filter(kind=sheet.act).latest("index"))


@each_sheet
def test_a_signature_stands_in_the_log_and_says_what_was_chosen(keyed: World, ada: Client, name: str) -> None:
    sheet = SHEETS[name](keyed)
    offer = opened(keyed, ada, sheet)
    said = json.loads(offer["statement"])
    assert (said["act"], said["subject"], said["person"]) == (sheet.act, sheet.subject, keyed.ada.id)
    assert said["content"]["reason"] == sheet.fields["reason"].replace("\r\n", "\n")

    answer = sent(keyed, ada, sheet, offer)

    assert answer.status_code == 302, answer.content.decode()
    entry = entry_of(sheet)
    assert entry["body"]["signed"]["statement"] == offer["statement"]
    assert {field: entry["body"][field] for field in said["content"]} == said["content"]
    assert entry["actor"]["key"] == keyed.key_of("ada").fingerprint
    assert Ceremony.objects.get(pk=offer["ceremony"]).used_at is not None


@each_sheet
def test_a_click_is_enough(keyed: World, ada: Client, name: str) -> None:
    sheet = SHEETS[name](keyed)
    assert ada.post(sheet.url, sheet.fields).status_code == 302
    entry = entry_of(sheet)
    assert "signed" not in entry["body"]
    assert entry["actor"]["id"] == keyed.ada.id
    assert "key" not in entry["actor"]


@each_sheet
def test_the_sheet_offers_both_and_says_what_has_to_be_signed(keyed: World, ada: Client, name: str) -> None:
    sheet = SHEETS[name](keyed)
    kept = {field: value for field, value in sheet.fields.items() if field in ("key", "scope", "target")}
    page = ada.get(sheet.url, kept)
    text = page.content.decode()
    assert f'data-ceremony="{sheet.sign}"' in text
    assert "A click is enough here; your signature proves more." in text
    assert "Sign with passkey" in text
    assert f'data-says="act" value="{sheet.act}"' in text
    assert 'data-says="content.reason"' in text
    assert page["Permissions-Policy"].startswith("publickey-credentials-get=(self)")


@each_sheet
def test_who_holds_no_key_sees_the_click_alone(world: World, name: str) -> None:
    world.signing("rosa")
    PersonKey.objects.filter(person=world.ada, purpose=PersonKey.SIGNING).delete()
    sheet = SHEETS[name](world)
    client = Client()
    client.force_login(world.ada.user)
    kept = {field: value for field, value in sheet.fields.items() if field in ("key", "scope", "target")}
    assert "Sign with passkey" not in client.get(sheet.url, kept).content.decode()
    assert client.post(sheet.sign, sheet.fields, headers=JSON).status_code == 403


@each_sheet
def test_invariant_12_the_ceremony_of_somebody_else_does_nothing(keyed: World, ada: Client, name: str) -> None:
    sheet = SHEETS[name](keyed)
    others = keyed.people["audra"]
    others.user.groups.set(keyed.ada.user.groups.all())
    keyed.signing("audra")
    colleague = Client()
    colleague.force_login(others.user)
    offer = opened(keyed, colleague, sheet, "audra")
    size = Entry.objects.count()
    refused = sent(keyed, ada, sheet, offer, "audra")
    assert (refused.status_code, Entry.objects.count()) == (422, size)
    assert "no such signing in progress for you" in refused.content.decode()


@each_sheet
def test_invariant_12_other_words_than_those_signed_do_nothing(keyed: World, ada: Client, name: str) -> None:
    sheet = SHEETS[name](keyed)
    offer = opened(keyed, ada, sheet, reason="something harmless")
    size = Entry.objects.count()
    refused = sent(keyed, ada, sheet, offer)
    assert (refused.status_code, Entry.objects.count()) == (422, size)
    assert "What was signed is not what would be done now" in refused.content.decode()


@each_sheet
def test_a_ceremony_counts_once(keyed: World, ada: Client, name: str) -> None:
    sheet = SHEETS[name](keyed)
    offer = opened(keyed, ada, sheet)
    assert sent(keyed, ada, sheet, offer).status_code == 302
    size = Entry.objects.count()
    again = ada.post(
        sheet.url, {**sheet.fields, "ceremony": offer["ceremony"], "response": json.dumps(keyed.sign("ada", offer))}
    )
    assert again.status_code in (404, 422)
    assert Entry.objects.count() == size


def test_invariant_12_what_was_signed_for_one_subject_does_nothing_to_another(keyed: World, ada: Client) -> None:
    signed, wanted = agent(keyed), agent(keyed)
    wanted.url = reverse("agent_suspend", args=[keyed.agents["twin"].id])
    size = Entry.objects.count()
    refused = sent(keyed, ada, wanted, opened(keyed, ada, signed))
    assert (refused.status_code, Entry.objects.count()) == (422, size)
    assert Agent.objects.get(pk=keyed.agents["twin"].id).state == Agent.ACTIVE


@pytest.mark.parametrize(("signed", "wanted"), [("stop", "delegation"), ("lift", "stop"), ("delegation", "grant")])
def test_invariant_12_what_was_signed_for_one_act_does_nothing_in_another(
    keyed: World, ada: Client, signed: str, wanted: str
) -> None:
    offer = opened(keyed, ada, SHEETS[signed](keyed))
    sheet = SHEETS[wanted](keyed)
    size = Entry.objects.count()
    assert sent(keyed, ada, sheet, offer).status_code == 422
    assert Entry.objects.count() == size


def test_since_when_is_covered_by_the_signature(keyed: World, ada: Client) -> None:
    sheet = agent_key_from_now(keyed)
    offer = opened(keyed, ada, sheet, since="2026-01-01T00:00")
    size = Entry.objects.count()
    assert sent(keyed, ada, sheet, offer).status_code == 422
    assert Entry.objects.count() == size
    offer = opened(keyed, ada, sheet)
    said = json.loads(offer["statement"])
    assert said["content"]["since"] == said["issued_at"]


def test_that_a_key_was_stolen_is_covered_by_the_signature(keyed: World, ada: Client) -> None:
    sheet = person_key(keyed)
    offer = opened(keyed, ada, sheet, stolen="")
    assert "stolen" not in json.loads(offer["statement"])["content"]
    assert sent(keyed, ada, sheet, offer).status_code == 422
    assert PersonKey.objects.get(pk=sheet.fields["key"]).in_force


def test_a_key_is_not_revoked_by_its_own_signature(keyed: World, ada: Client) -> None:
    sheet = person_key(keyed)
    own = keyed.key_of("ada").fingerprint
    sheet.fields["key"] = own
    assert "Sign with passkey" not in ada.get(sheet.url, {"key": own}).content.decode()
    refused = ada.post(sheet.sign, {**sheet.fields, "credential": own}, headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
    assert ada.post(sheet.url, sheet.fields).status_code == 302


def test_a_signature_goes_with_a_reason(keyed: World, ada: Client) -> None:
    sheet = grant(keyed)
    refused = ada.post(sheet.sign, {"reason": " ", "credential": keyed.key_of("ada").fingerprint}, headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert "Say why" in refused.json()["detail"]
    assert ada.post(sheet.url, {"reason": ""}).status_code == 302
    assert last()["body"]["reason"] == "no reason given"


@each_sheet
def test_who_may_not_do_it_is_told_before_signing(keyed: World, name: str) -> None:
    sheet = SHEETS[name](keyed)
    client = Client()
    client.force_login(keyed.people["audra"].user)
    keyed.signing("audra")
    answer = client.post(sheet.sign, {**sheet.fields, "credential": keyed.key_of("audra").fingerprint}, headers=JSON)
    assert answer.status_code in (403, 404)
    assert not Ceremony.objects.filter(person=keyed.people["audra"], typ="imprimatur/act/v1").exists()
