"""Who may open and who may send, for every address of these rooms. The table is complete, or the first test fails."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

import audit.urls
import governance.urls
from audit.models import Entry

ANYBODY = {"ada", "rui", "audra", "mallory"}
ALL, WATCH, ANSWER, ADMIN = {"ada", "rui", "audra"}, {"ada", "audra"}, {"ada", "rui"}, {"ada"}
NONE: set[str] = set()
EVERYBODY = ("ada", "rui", "audra", "mallory", "nobody")

# name: (arguments, who may GET, who may POST). A GET or POST that the address does not know is 405 for all who may log in.
TABLE: dict[str, tuple[tuple[str, ...], set[str] | None, set[str] | None]] = {
    "agents": ((), ALL, None),
    "agent_invite": ((), ADMIN, ADMIN),
    "agent": (("agent",), ALL, None),
    "agent_suspend": (("agent",), ADMIN, ADMIN),
    "agent_suspend_sign": (("agent",), None, ADMIN),
    "agent_resume": (("agent",), ADMIN, ADMIN),
    "agent_key_revoke": (("agent", "key"), ADMIN, ADMIN),
    "agent_key_revoke_sign": (("agent", "key"), None, ADMIN),
    "delegations": ((), ALL, None),
    "delegation_new": ((), ADMIN, ADMIN),
    "delegation_sign": ((), None, ADMIN),
    "delegation_sign_here": ((), None, ADMIN),
    "delegation": (("delegation",), ALL, None),
    "delegation_document": (("delegation",), ALL, None),
    "delegation_revoke": (("delegation",), ADMIN, ADMIN),
    "delegation_revoke_sign": (("delegation",), None, ADMIN),
    "delegation_correct": (("delegation",), ADMIN, ADMIN),
    "tools": ((), WATCH, None),
    "tool_register": ((), ADMIN, ADMIN),
    "tool": (("tool",), WATCH, None),
    "tool_retire": (("tool",), ADMIN, ADMIN),
    "policy": ((), ALL, None),
    "policy_edit": ((), ADMIN, ADMIN),
    "policy_activate": ((), None, ADMIN),
    "policy_explain": ((), ALL, ALL),
    "policy_version": (("number",), ALL, None),
    "people": ((), WATCH, None),
    "person_add": ((), ADMIN, ADMIN),
    "person": (("person",), WATCH, None),
    "person_change": (("person",), None, ADMIN),
    "person_off": (("person",), ADMIN, ADMIN),
    "person_on": (("person",), ADMIN, ADMIN),
    "person_key_add": (("person",), None, ADMIN),
    "login_reset": (("person",), ADMIN, ADMIN),
    "vouch": (("person",), ANSWER, ANSWER),
    "vouch_sign": (("person",), None, ANSWER),
    "vouch_ssh": (("person",), None, ANSWER),
    "keys": ((), ALL, None),
    "keys_again": ((), ALL, None),
    "key_revoke": ((), ALL, ALL),
    "key_revoke_sign": ((), None, ALL),
    "passkey_begin": ((), None, ALL),
    "passkey_created": ((), None, ALL),
    "passkey_enrol": ((), None, ALL),
    "keys_ssh": ((), ALL, ALL),
    "keys_ssh_statement": (("ceremony",), ALL, None),
    "changes": ((), ALL, None),
    "change_propose": ((), None, ADMIN),
    "change_propose_sign": ((), None, ADMIN),
    "change": (("change",), ALL, None),
    "change_second": (("change",), ANSWER, ANSWER),
    "change_second_sign": (("change",), None, ANSWER),
    "change_withdraw": (("change",), ANSWER, ANSWER),
    "change_force": (("change",), ADMIN, ADMIN),
    "away": ((), ALL, ALL),
    "canaries": ((), WATCH, None),
    "runtime": ((), WATCH, None),
    "launch": (("launch",), WATCH, None),
    "services": ((), WATCH, None),
    "service_register": ((), ADMIN, ADMIN),
    "service_retire": (("service",), ADMIN, ADMIN),
    "pauses": ((), ALL, ADMIN),
    "pauses_standing": ((), ALL, None),
    "pause_sign": ((), None, ADMIN),
    "pause_lift": ((), ADMIN, ADMIN),
    "pause_lift_sign": ((), None, ADMIN),
    "log": ((), ALL, None),
    "log_integrity": ((), ALL, None),
    "log_checkpoint": ((), ALL, None),
    "log_export": (("format",), None, WATCH),
    "view_save": ((), None, ALL),
    "view_rename": (("view",), None, ALL),
    "view_delete": (("view",), None, ALL),
    "log_charts": ((), ALL, None),
    "log_sample": ((), WATCH, None),
    "log_sample_export": (("format",), None, WATCH),
    "check": ((), ANYBODY, None),
    "grant_history": ((), WATCH, None),
    "entry": (("index",), ALL, None),
    "entry_envelope": (("index",), ALL, None),
    "entry_proof": (("index",), ALL, None),
    "claims": ((), WATCH, None),
    "controls": ((), WATCH, None),
    "control": (("control",), WATCH, None),
    "evidence": ((), WATCH, None),
    "bundle_ask": ((), None, WATCH),
    "evidence_summary": ((), WATCH, None),
    "evidence_compare": ((), WATCH, None),
    "evidence_compare_export": ((), None, WATCH),
    "trust": ((), WATCH, None),
    "bundle_progress": (("bundle",), WATCH, None),
    "bundle_download": (("bundle",), WATCH, WATCH),
    "bundle_proof": (("bundle",), WATCH, None),
    "bundle_entry": (("bundle",), WATCH, None),
    "retention": ((), WATCH, None),
    "hold_place": ((), None, ADMIN),
    "hold_lift": (("hold",), ADMIN, ADMIN),
    "retention_erase": ((), None, ADMIN),
}
# The signature is the authority, or a one-time code with one: tests/pages/test_signed.py, test_key_pages.py; mirrors
# bring a token: tests/audit/test_witnesses.py
WITHOUT_SESSION = {"delegation_signed", "terminal_key", "terminal_key_enrol", "log_tile"}


def test_every_address_of_these_rooms_stands_in_the_table():
    names = {pattern.name for pattern in [*governance.urls.urlpatterns, *audit.urls.urlpatterns]}
    assert names == set(TABLE) | WITHOUT_SESSION


@pytest.mark.parametrize("name", TABLE)
def test_only_the_roles_of_the_table_get_in(desk, world, name):
    places: dict[str, Any] = {
        "agent": world.robo.id,
        "key": world.keys["robo"].thumbprint,
        "delegation": world.delegation.id,
        "tool": "write_file",
        "control": "AC-6(10)",
        "number": 1,
        "person": world.rui.id,
        "format": "csv",
        "index": 0,
        "view": 0,
        "bundle": "bdl_00000000000000000000000000",
        "hold": "hld_00000000000000000000000000",
        "change": "chg_00000000000000000000000000",
        "ceremony": "cer_00000000000000000000000000",
        "launch": "lau_00000000000000000000000000",
        "service": "sv_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    }
    arguments, readers, senders = TABLE[name]
    address = reverse(name, args=[places[argument] for argument in arguments])
    for login in EVERYBODY:
        for method, allowed in (("get", readers), ("post", senders)):
            before = Entry.objects.count()
            answer = getattr(desk.browser(login), method)(address)
            told = f"{method} {address} as {login}: {answer.status_code}"
            if allowed is None:
                assert answer.status_code == 405, told
            elif login == "nobody":
                assert answer.status_code == 302 and "/accounts/login/" in answer["Location"], told
            elif login in allowed:
                assert answer.status_code not in (403, 405, 500), told
                assert "/accounts/" not in answer.get("Location", ""), told
            else:
                assert answer.status_code == 403, told
                assert any(words in answer.content.decode() for words in ("You have", "Only an admin")), told
            # Nothing was filled in, so nothing may have happened, whoever came.
            if name != "bundle_ask":
                assert Entry.objects.count() == before, told


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[2] is not None])
def test_a_page_of_another_site_cannot_send_forms_in_somebodys_name(desk, world, name):
    places = {"agent": world.robo.id, "key": "k", "delegation": world.delegation.id, "tool": "t", "person": "p"}
    places |= {"format": "csv", "view": 0}
    places["change"] = "chg_00000000000000000000000000"
    places["hold"] = "hld_00000000000000000000000000"
    places["service"] = "sv_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    places["bundle"] = "bdl_00000000000000000000000000"
    address = reverse(name, args=[places[argument] for argument in TABLE[name][0]])
    client = desk.browser("ada", enforce_csrf_checks=True)
    assert client.post(address, {"reason": "because"}).status_code == 403


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[1] is not None])
def test_invariant_10_a_get_never_changes_anything(desk, world, name):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    places = {
        "agent": world.robo.id,
        "key": world.keys["robo"].thumbprint,
        "delegation": world.delegation.id,
        "tool": "write_file",
        "control": "AC-6(10)",
        "number": 1,
        "person": world.rui.id,
        "format": "jsonl",
        "index": 0,
        "bundle": "bdl_00000000000000000000000000",
        "hold": "hld_00000000000000000000000000",
        "change": "chg_00000000000000000000000000",
        "ceremony": "cer_00000000000000000000000000",
        "launch": "lau_00000000000000000000000000",
        "service": "sv_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    }
    address = reverse(name, args=[places[argument] for argument in TABLE[name][0]])
    client = desk.browser("ada")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = client.get(address, {"reason": "because", "scope": "everything"})
        if answer.streaming:
            b"".join(answer.streaming_content)
    written = [query["sql"] for query in queries if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
    assert written == []


def test_who_was_switched_off_is_out_at_once(desk, world):
    client: Client = desk.browser("audra")
    assert client.get(reverse("log")).status_code == 200
    desk.post("ada", "person_off", world.people["audra"].id, data={"reason": "left"})
    assert client.get(reverse("log")).status_code == 302


def test_the_owner_of_an_agent_may_stop_it_without_being_an_admin(desk, world):
    world.enrol("clerk", owner="rui")
    clerk = world.agents["clerk"]
    assert desk.post("rosa", "agent_suspend", clerk.id, data={"reason": "odd"}).status_code == 403
    assert desk.post("rui", "agent_suspend", clerk.id, data={"reason": "odd"}).status_code == 302
    assert desk.last["kind"] == "agent.suspended"
    assert desk.post("rui", "agent_resume", clerk.id, data={"reason": "fine"}).status_code == 403
