"""Proposing, reading, signing and withdrawing a change, by HTTP, with keys as a browser would use them."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.urls import reverse

from audit.log import commit, utc_now
from governance.actions import revoke_person_key
from governance.actors import roles_of
from governance.models import Change, Person, Policy, Tool
from imprimatur.formats import sshsig
from imprimatur.rules.policy import DEMO_POLICY, to_toml
from imprimatur.rules.tools import DEFAULT_TOOLS
from tests.governance import proposals

NEWER = {**DEMO_POLICY, "name": "Newer"}


@pytest.fixture
def two(world: Any) -> Any:
    """Ada and Rui hold keys, so two people are asked."""
    world.signing("ada")
    world.signing("rui")
    return world


def fields(answer: Any) -> dict[str, str]:
    """The hidden fields of the form that is signed."""
    form = re.search(r'<form class="signing".*?</form>', answer.content.decode(), re.DOTALL)
    assert form is not None, answer.content.decode()
    found = re.findall(r'<input type="hidden" name="([^"]+)"(?: value="([^"]*)")?', form[0])
    return {name: html.unescape(value) for name, value in found}


def text(answer: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())))


def sign(world: Any, browser: Any, answer: Any, action: str, ceremony_url: str, who: str) -> Any:
    """What static/js/sign.js does: ask, compare with what the page says, have the key sign, send the form."""
    given = fields(answer)
    asked = browser.post(ceremony_url, given, headers={"accept": "application/json"})
    assert asked.status_code == 200, asked.content
    offer = asked.json()
    statement = json.loads(offer["statement"])
    says = re.findall(r'data-says="([^"]+)" value="([^"]*)"', answer.content.decode())
    assert dict(says)
    for name, value in says:
        assert html.unescape(value) == (json.dumps(statement[name]) if statement[name] is True else statement[name])
    signed = {"ceremony": offer["ceremony"], "response": json.dumps(world.sign(who, offer))}
    return browser.post(action, {**given, **signed})


def propose(desk: Any, two: Any, answer: Any) -> Change:
    """Ada signs the proposal that a page shows."""
    browser = desk.browser("ada")
    done = sign(two, browser, answer, reverse("change_propose"), reverse("change_propose_sign"), "ada")
    assert done.status_code == 302, text(done)
    return Change.objects.latest("proposed_at")


def second(desk: Any, two: Any, change: Change, who: str = "rui") -> Any:
    address = reverse("change_second", args=[change.pk])
    browser = desk.browser(who)
    return sign(two, browser, browser.get(address), address, reverse("change_second_sign", args=[change.pk]), who)


def test_a_policy_goes_from_its_text_through_two_signatures_into_force(desk, two):
    toml = to_toml(NEWER)
    shown = desk.post("ada", "policy_edit", data={"toml": toml})
    assert "Propose…" in text(shown) and "Newer" in text(shown)
    answer = desk.post("ada", "policy_activate", data={"toml": toml, "sure": "on"})
    assert "Can second it: Rui Falk" in text(answer)
    assert answer["Permissions-Policy"].count("publickey-credentials-get=(self)") == 1
    change = propose(desk, two, answer)
    assert "Rui Falk" in text(desk.get("ada", "change", change.pk))
    assert "Read and sign" in text(desk.get("rui", "change", change.pk))
    assert second(desk, two, change).status_code == 302
    assert Policy.objects.get(active=True).document["name"] == "Newer"
    assert "Rui Falk" in text(desk.get("audra", "changes"))


def test_a_tool_is_proposed_in_words_and_registered_when_somebody_else_has_signed_it(desk, two):
    schema = DEFAULT_TOOLS["read_file"]["schema"]
    riskier = {
        **DEFAULT_TOOLS["read_file"],
        "minimum_risk": "CRITICAL",
        "reversibility": "reversible",
        "effects": [{"action": "file:write", "resource": "{path}"}],
        "schema": {**schema, "properties": {**schema["properties"], "lines": {"type": "integer"}}},
    }
    data = {"document": json.dumps(riskier)}
    assert "Propose…" in text(desk.post("ada", "tool_register", data={**data, "step": "check"}))
    answer = desk.post("ada", "tool_register", data={**data, "step": "register"})
    assert "Can second it: Rui Falk" in text(answer)
    assert answer["Permissions-Policy"].count("publickey-credentials-get=(self)") == 1
    size = desk.size
    change = propose(desk, two, answer)
    assert desk.size == size + 1
    for who, name in (("rui", "change"), ("rui", "change_second"), ("audra", "change")):
        shown = text(desk.get(who, name, change.pk))
        assert "The tool read_file gets a new version." in shown
        for words in (
            "Risk, at least nothing of its own: policy says CRITICAL",
            "file:write:{path}",
            "Parameter “lines”",
        ):
            assert words in shown, (words, shown)
        assert "Can be undone read-only reversible" in shown
        assert "Title" not in shown.split("The text, line by line")[0]  # only what changes
    assert second(desk, two, change).status_code == 302
    assert Tool.objects.get(name="read_file", current=True).document == riskier
    assert desk.post("ada", "tool_retire", "read_file", data={"reason": "Unused"}).status_code == 302
    assert desk.last["kind"] == "tool.retired"


def test_a_tool_that_is_registered_in_this_version_is_not_proposed_again(desk, two):
    data = {"document": json.dumps(DEFAULT_TOOLS["read_file"]), "step": "register"}
    answer = desk.post("ada", "tool_register", data=data)
    assert answer.status_code == 422 and "exactly the current version" in text(answer)


def test_what_somebody_else_is_about_to_sign_is_read_by_nobody(desk, two):
    """The draft beside a ceremony names login and mail of a newcomer; whoever guesses its id learns nothing."""
    data = {"username": "nina", "name": "Nina Oz", "email": "nina@example.com", "roles": ["reviewer"]}
    given = fields(desk.post("ada", "person_add", data=data))
    credential = given.get("credential") or two.key_of("ada").fingerprint
    asked = desk.browser("ada").post(
        reverse("change_propose_sign"), {**given, "credential": credential}, headers={"accept": "application/json"}
    )
    boss = two.people["mallory"]
    boss.user.groups.set(two.ada.user.groups.all())
    answer = desk.post("mallory", "change_propose", data={"ceremony": asked.json()["ceremony"], "response": "{}"})
    assert answer.status_code == 404
    assert "nina" not in answer.content.decode().lower()


def test_a_newcomer_with_a_role_is_proposed_and_only_their_introducer_makes_the_password(desk, two):
    data = {"username": "nina", "name": "Nina Oz", "email": "", "roles": ["reviewer"]}
    change = propose(desk, two, desk.post("ada", "person_add", data=data))
    assert not Person.objects.filter(name="Nina Oz").exists()
    done = second(desk, two, change)
    nina = Person.objects.get(name="Nina Oz")
    assert roles_of(nina) == {"reviewer"}
    assert "one-time password" not in text(desk.browser("rui").get(done["Location"]))
    assert reverse("login_reset", args=[nina.pk]) in desk.get("ada", "change", change.pk).content.decode()
    assert reverse("login_reset", args=[nina.pk]) not in desk.get("rui", "change", change.pk).content.decode()


def test_somebody_without_a_role_and_fewer_roles_take_one_admin_as_ever(desk, two):
    assert (
        "one-time password" in text(desk.post("ada", "person_add", data={"username": "nina", "name": "Nina"})).lower()
    )
    answer = desk.post("ada", "person_change", two.rosa.pk, data={"name": "Rosa Imhof", "roles": []})
    assert answer.status_code == 302
    assert not Change.objects.exists()


def test_more_roles_and_switching_on_lead_to_a_proposal(desk, two):
    answer = desk.post("ada", "person_change", two.rosa.pk, data={"name": "Rosa Imhof", "roles": ["admin", "reviewer"]})
    assert second(desk, two, propose(desk, two, answer)).status_code == 302
    assert roles_of(Person.objects.get(pk=two.rosa.pk)) == {"admin", "reviewer"}
    desk.post("ada", "person_off", two.rosa.pk, data={"reason": "away"})
    answer = desk.post("ada", "person_on", two.rosa.pk, data={"reason": "back"})
    change = propose(desk, two, answer)
    assert change.document == {"person": two.rosa.pk, "active": True, "reason": "back"}


def test_an_emergency_is_signed_in_advance_and_put_in_force_by_a_click(desk, two):
    answer = desk.post("ada", "policy_activate", data={"toml": to_toml(NEWER), "sure": "on"})
    held = desk.post("ada", "change_propose", data={"draft": fields(answer)["draft"], "hold": "yes", "days": "90"})
    assert "held ready for 90 days" in text(held)
    change = propose(desk, two, held)
    assert second(desk, two, change).status_code == 302
    assert Policy.objects.get(active=True).number == 1
    assert "Two people signed it in advance" in text(desk.get("ada", "change_force", change.pk))
    assert desk.post("ada", "change_force", change.pk).status_code == 422
    assert desk.post("ada", "change_force", change.pk, data={"sure": "on"}).status_code == 302
    assert Policy.objects.get(active=True).number == 2


def test_its_author_is_told_why_they_cannot_second_it(desk, two):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    assert "You proposed this yourself" in text(desk.get("ada", "change_second", change.pk))
    key = two.key_of("ada").fingerprint
    answer = desk.post("ada", "change_second_sign", change.pk, data={"credential": key})
    assert answer.status_code == 403
    asked = desk.browser("rosa").post(
        reverse("change_second_sign", args=[change.pk]), {"credential": key}, headers={"accept": "application/json"}
    )
    assert (asked.status_code, asked.json()["code"]) == (403, "not-allowed")


def test_it_says_live_when_nobody_can_second_it(desk, two):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    assert "Nobody can second this" not in text(desk.get("ada", "change", change.pk))
    key = two.key_of("rui").fingerprint
    commit(revoke_person_key.apply, revoke_person_key.Command(key, "lost", None, two.rui))
    assert "Nobody can second this" in text(desk.get("ada", "change", change.pk))


def test_what_is_over_cannot_be_signed_or_withdrawn_and_says_so(desk, two):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    Change.objects.filter(pk=change.pk).update(expires_at=utc_now())
    assert "nobody seconded it in time" in text(desk.get("rui", "change_second", change.pk))
    assert desk.post("rui", "change_second_sign", change.pk).status_code == 409
    assert desk.get("ada", "change_force", change.pk).status_code == 409


def test_withdrawing_takes_a_reason_and_its_author_or_an_admin(desk, two):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    assert desk.post("rui", "change_withdraw", change.pk, data={"reason": "no"}).status_code == 403
    assert desk.post("ada", "change_withdraw", change.pk, data={"reason": "no"}).status_code == 302
    assert desk.last["kind"] == "change.withdrawn"


def test_an_ssh_key_signs_with_one_command(desk, two):
    two.ssh_signing("rosa")
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    assert "Sign with your SSH key" in text(desk.get("rosa", "change_second", change.pk))
    key = two.key_of("rosa").fingerprint
    shown = desk.post("rosa", "change_second_sign", change.pk, data={"credential": key})
    command = re.search(r"printf %s '(.*?)' \| ssh-keygen -Y sign -n (\S+)", html.unescape(shown.content.decode()))
    assert command is not None
    ceremony = fields_of(shown)["ceremony"]
    value = sshsig.sign(two.ssh_keys[key], command[1].encode(), command[2])
    done = desk.post("rosa", "change_second", change.pk, data={"ceremony": ceremony, "value": value})
    assert done.status_code == 302, text(done)
    assert Policy.objects.get(active=True).number == 2


def fields_of(answer: Any) -> dict[str, str]:
    return dict(re.findall(r'name="(ceremony)" value="([^"]*)"', answer.content.decode()))


@pytest.mark.parametrize("draft", ["", "{", "[]", "{}", "x" * 200_000, '{"id": 1}'])
def test_a_draft_that_cannot_be_read_is_refused_in_words(desk, two, draft):
    answer = desk.post("ada", "change_propose", data={"draft": draft})
    assert answer.status_code == 422 and "Begin again" in text(answer)


def test_a_signature_for_another_change_is_refused_and_nothing_written(desk, two):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    other = proposals.propose(two, "ada", proposals.policy({**NEWER, "name": "Other"}))
    size = desk.size
    browser = desk.browser("rui")
    address = reverse("change_second", args=[change.pk])
    wrong = reverse("change_second_sign", args=[other.pk])
    given = fields(browser.get(address))
    offer = browser.post(wrong, given, headers={"accept": "application/json"}).json()
    signed = {"ceremony": offer["ceremony"], "response": json.dumps(two.sign("rui", offer))}
    answer = browser.post(address, {**given, **signed})
    assert answer.status_code == 409 and "not what would be done" in text(answer)
    assert desk.size == size
