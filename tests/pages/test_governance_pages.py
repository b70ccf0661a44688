"""The admin's pages: each sends one command, leaves its entry, and says in words what was refused."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from audit.log import commit
from governance.models import Agent, Invitation, Person, Tool
from imprimatur.formats import canonical, sshsig
from imprimatur.formats import delegation as formats
from imprimatur.formats.keys import KeyPair
from imprimatur.rules.policy import DEMO_POLICY, to_toml
from imprimatur.rules.tools import DEFAULT_TOOLS
from tests.conftest import ssh_line
from tests.pages.conftest import PASSWORD


def _text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def test_inviting_shows_a_command_that_enrols_and_shows_the_token_never_again(desk, world):
    answer = desk.post("ada", "agent_invite", data={"name": "clerk", "owner": world.rui.id, "enforcement": "E1"})
    command = re.search(
        r"imprimatur enroll --url http://testserver --token (inv_\S+) --trust ([^<\s]+)<", answer.content.decode()
    )
    assert command is not None
    assert desk.last["kind"] == "agent.invited"
    assert "no-store" in answer["Cache-Control"]
    from imprimatur.cli import enrol

    pinned = enrol.parse(enrol.read_trust(command[2]))
    assert pinned.realm == world.realm
    assert command[1] not in desk.get("ada", "agents").content.decode()
    assert not Invitation.objects.filter(token=command[1]).exists()


def test_a_name_that_is_taken_is_refused_in_words_and_nothing_is_written(desk, world):
    size = desk.size
    answer = desk.post("ada", "agent_invite", data={"name": "robo", "owner": world.ada.id, "enforcement": "E0"})
    assert answer.status_code == 422
    assert "There is an agent called robo already." in _text(answer)
    assert desk.size == size


def test_suspending_and_resuming_an_agent_leave_their_entries_with_the_reason(desk, world):
    desk.post("ada", "agent_suspend", world.robo.id, data={"reason": "It loops"})
    assert (desk.last["kind"], desk.last["body"]["reason"]) == ("agent.suspended", "It loops")
    assert "Suspended" in _text(desk.get("rui", "agent", world.robo.id))
    desk.post("ada", "agent_resume", world.robo.id, data={"reason": "Fixed"})
    assert desk.last["kind"] == "agent.resumed"
    assert Agent.objects.get(pk=world.robo.id).state == Agent.ACTIVE


def test_a_reason_is_asked_for_beside_its_field(desk, world):
    size = desk.size
    answer = desk.post("ada", "agent_suspend", world.robo.id, data={"reason": "  "})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in page
    assert 'id="id_reason_error"' in page and "id_reason_error" in page.split('name="reason"')[1].split(">")[0]
    assert desk.size == size


def test_revoking_a_key_takes_a_time_in_the_past_and_refuses_one_in_the_future(desk, world):
    thumbprint = world.keys["robo"].thumbprint
    answer = desk.post(
        "ada", "agent_key_revoke", world.robo.id, thumbprint, data={"reason": "lost", "since": "2099-01-01T00:00"}
    )
    assert "not from a later one" in _text(answer)
    desk.post(
        "ada", "agent_key_revoke", world.robo.id, thumbprint, data={"reason": "lost", "since": "2020-01-01T00:00"}
    )
    assert (desk.last["kind"], desk.last["body"]["since"]) == ("agent.key_revoked", "2020-01-01T00:00:00.000Z")


DELEGATION = {"may": "WRITE_FILE:/project/src\nREADONLY", "hours": "8", "max_depth": "0", "unit": "USD", "limit": "25"}


def _bytes_to_sign(answer) -> str:
    import html

    return html.unescape(re.search(r'name="document" value="([^"]*)"', answer.content.decode())[1])


def test_a_new_delegation_is_written_in_words_signed_by_ssh_keygen_and_issued(desk, world, tmp_path):
    written = desk.post(
        "ada", "delegation_new", data={**DELEGATION, "subject": world.robo.id, "purpose": "Ada's <b>it's</b>"}
    )
    raw = _bytes_to_sign(written)
    document = formats.parse(raw.encode())
    assert document["scope"] == ["file:write:/project/src", "file:read", "db:read"]
    assert document["spend"] == {"unit": "USD", "limit": "25.00"}
    assert formats.delegation_id(document) in _text(written)
    # The commands on the page, exactly as they are printed.
    import html

    shown = html.unescape(re.search(r'id="with-ssh"[^>]*>(.*?)</pre>', written.content.decode(), re.S)[1])
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    line = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    desk.post("ada", "person_key_add", world.ada.id, data={"line": line, "step": "register", "password": PASSWORD})
    script = shown.replace("~/.ssh/id_ed25519", str(tmp_path / "key"))
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "delegation.json").read_bytes() == raw.encode()
    signature = (tmp_path / "delegation.json.sig").read_text().replace("\n", "\r\n")
    issued = desk.post("ada", "delegation_sign", data={"document": raw, "signature": signature})
    assert issued.status_code == 302
    assert (desk.last["kind"], desk.last["body"]["document"]) == ("delegation.issued", document)
    page = desk.get("rui", "delegation", formats.delegation_id(document)).content.decode()
    assert "BEGIN SSH SIGNATURE" in page
    assert "<b>it" not in page


def test_a_signature_by_another_key_or_over_other_bytes_is_refused_in_words(desk, world):
    raw = _bytes_to_sign(desk.post("ada", "delegation_new", data={**DELEGATION, "subject": world.robo.id}))
    size = desk.size
    stranger = sshsig.sign(KeyPair.generate(), raw.encode(), formats.SSH_NAMESPACE)
    assert "not registered to you" in _text(
        desk.post("ada", "delegation_sign", data={"document": raw, "signature": stranger})
    )
    good = sshsig.sign(world.ssh["ada"], raw.encode(), formats.SSH_NAMESPACE)
    wider = canonical.dumps({**json.loads(raw), "scope": ["*"]}).decode()
    tampered = desk.post("ada", "delegation_sign", data={"document": wider, "signature": good})
    assert "does not verify with this key over this statement" in _text(tampered)
    assert "Paste the signature" in _text(desk.post("ada", "delegation_sign", data={"document": raw, "signature": ""}))
    assert "not a signature" in _text(desk.post("ada", "delegation_sign", data={"document": raw, "signature": "abc"}))
    assert desk.size == size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"may": "nonsense"}, "scope"),
        ({"may": "file:write:/project/../etc"}, "May"),
        ({"limit": "1e3"}, "amount"),
        ({"limit": "", "per_action": "5"}, "Name the total as well"),
        ({"unit": "dollars"}, "A unit is a code"),
        ({"paths": "../up"}, "path"),
    ],
)
def test_what_cannot_be_a_delegation_is_said_beside_its_field(desk, world, change, words):
    answer = desk.post("ada", "delegation_new", data={**DELEGATION, "subject": world.robo.id, **change})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.content.decode()
    assert words in _text(answer)


def test_revoking_a_delegation_says_what_falls_and_ends_it(desk, world):
    parent = world.delegate(max_depth=2)
    world.pass_on(
        parent,
        "robo",
        "twin",
        scope=["file:read:/project"],
        spend=None,
        max_depth=0,
        not_after=json.loads(bytes(parent.document))["not_after"],
        not_before=json.loads(bytes(parent.document))["not_before"],
    )
    assert "1 passed on, to twin" in _text(desk.get("ada", "delegation_revoke", parent.id))
    desk.post("ada", "delegation_revoke", parent.id, data={"reason": "Project ended"})
    assert [desk.last["kind"], desk.last["body"]["reason"]] == ["delegation.revoked", "Project ended"]
    assert "Project ended" in _text(desk.browser("rui").get("/delegations/?show=ended"))


def test_a_tool_is_read_back_before_it_is_registered_as_a_grant(desk, world):
    tool = {**DEFAULT_TOOLS["read_file"], "title": "Read one file"}
    size = desk.size
    checked = desk.post("ada", "tool_register", data={"document": json.dumps(tool), "step": "check"})
    assert "New version of" in _text(checked) and "Register as a grant" in _text(checked)
    assert desk.size == size
    desk.post("ada", "tool_register", data={"document": json.dumps(tool), "step": "register"})
    assert (desk.last["kind"], desk.last["body"]["document"]["title"]) == ("tool.registered", "Read one file")
    assert Tool.objects.filter(name="read_file").count() == 2
    desk.post("ada", "tool_retire", "read_file", data={"reason": "Unused"})
    assert desk.last["kind"] == "tool.retired"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "This is not the JSON we sign"),
        ('{"name": "a", "name": "b"}', "This is not the JSON we sign"),
        ("{}", "tool"),
        (json.dumps({**DEFAULT_TOOLS["read_file"], "schema": {"type": "object", "properties": {}}}), "closed"),
    ],
)
def test_a_tool_that_cannot_be_held_to_a_scope_is_refused(desk, text, words):
    size = desk.size
    answer = desk.post("ada", "tool_register", data={"document": text, "step": "register"})
    assert answer.status_code == 422
    assert words in _text(answer)
    assert desk.size == size


def test_a_policy_goes_from_text_to_diff_to_activation(desk, world):
    stricter = {**DEMO_POLICY, "deny": [{"name": "no-mail", "tool": "send_email", "reason": "Not from here"}]}
    text = to_toml(stricter)
    size = desk.size
    compared = desk.post("ada", "policy_edit", data={"toml": text})
    assert "Not from here" in _text(compared) and 'class="add"' in compared.content.decode()
    unsure = desk.post("ada", "policy_activate", data={"toml": text})
    assert "Tick this" in _text(unsure)
    assert desk.size == size
    assert desk.post("ada", "policy_activate", data={"toml": text, "sure": "on"}).status_code == 302
    assert (desk.last["kind"], desk.last["body"]["number"]) == ("policy.activated", 2)
    assert "no-mail" in _text(desk.get("rui", "policy"))
    assert "not in force" in _text(desk.get("rui", "policy_version", 1))


def test_a_policy_with_faults_says_where_they_are(desk, world):
    broken = {**DEMO_POLICY, "rules": [{"name": "a", "risk": "LOW", "tool": "x", "when": "cost.amount > '5'"}]}
    answer = desk.post("ada", "policy_edit", data={"toml": to_toml(broken)})
    assert answer.status_code == 422
    assert "rules[0].when" in _text(answer)
    assert "not valid TOML" in _text(desk.post("ada", "policy_edit", data={"toml": "= ="}))


@pytest.mark.parametrize(
    ("tool", "parameters", "words"),
    [
        ("read_file", {"path": "/project/a"}, "Approved by policy"),
        ("delete_file", {"path": "/project/a"}, "Waits for people"),
        ("write_file", {"path": "/etc/passwd", "content": "x"}, "Refused: outside its authority"),
        ("write_file", {"nonsense": 1}, "do not fit the tool"),
        ("never_heard_of", {}, "Refused"),
    ],
)
def test_explaining_says_the_verdict_the_rule_and_why_and_stores_nothing(desk, world, tool, parameters, words):
    size = desk.size
    data = {"delegation": world.delegation.id, "tool": tool, "parameters": json.dumps(parameters)}
    assert words in _text(desk.post("rui", "policy_explain", data=data))
    assert desk.size == size


def test_adding_somebody_shows_a_password_once_that_lets_them_in(desk, world):
    from django.test import Client

    data = {"username": "nell", "name": "Nell Otto", "roles": ["reviewer"]}
    answer = desk.post("ada", "person_add", data=data)
    password = re.search(r'id="password">([^<]+)<', answer.content.decode())[1]
    assert (desk.last["kind"], desk.last["body"]["roles"]) == ("person.added", ["reviewer"])
    assert "no-store" in answer["Cache-Control"]
    assert Client().login(username="nell", password=password)
    nell = Person.objects.get(user__username="nell")
    assert password not in desk.get("ada", "person", nell.id).content.decode()


def test_roles_keys_and_switching_off_leave_their_entries(desk, world):
    rui = world.rui.id
    desk.post("ada", "person_change", rui, data={"name": "Rui Falk", "roles": ["reviewer", "admin"]})
    assert (desk.last["kind"], desk.last["body"]["roles"]) == ("person.changed", ["admin", "reviewer"])
    line = ssh_line(KeyPair.generate())
    fingerprint = sshsig.parse_public_key(line).fingerprint
    size = desk.size
    ada = world.ada.id
    assert fingerprint in _text(desk.post("ada", "person_key_add", ada, data={"line": line, "step": "check"}))
    assert desk.size == size
    desk.post("ada", "person_key_add", ada, data={"line": line, "step": "register", "password": PASSWORD})
    assert (desk.last["kind"], desk.last["body"]["fingerprint"]) == ("person.key_added", fingerprint)
    desk.post("ada", "key_revoke", data={"key": fingerprint, "reason": "Old laptop"})
    assert desk.last["kind"] == "person.key_revoked"
    desk.post("ada", "person_off", rui, data={"reason": "Left"})
    assert desk.last["body"]["active"] is False
    desk.post("ada", "person_on", rui, data={"reason": "Back"})
    assert desk.last["body"]["active"] is True


def test_the_last_admin_stays(desk, world):
    size = desk.size
    assert "only active admin" in _text(desk.post("ada", "person_off", world.ada.id, data={"reason": "Bye"}))
    data = {"name": "Ada Brandt", "roles": ["auditor"]}
    assert "only active admin" in _text(desk.post("ada", "person_change", world.ada.id, data=data))
    assert desk.size == size


@pytest.mark.parametrize("what", ["everything:", "agent:{robo}", "tool:write_file"])
def test_stopping_and_lifting(desk, world, what):
    what = what.format(robo=world.robo.id)
    scope, _, target = what.partition(":")
    desk.post("ada", "pauses", data={"what": what, "reason": "Odd payments"})
    assert (desk.last["kind"], desk.last["body"]["scope"]) == ("pause.set", scope)
    assert "Odd payments" in _text(desk.get("rui", "pauses"))
    desk.post("ada", "pause_lift", data={"scope": scope, "target": target, "reason": "Explained"})
    assert desk.last["kind"] == "pause.lifted"
    assert "No such pause stands" in _text(desk.post("ada", "pause_lift", data={"scope": scope, "target": target}))


def test_while_the_log_is_frozen_a_form_says_that_nothing_changed(desk, world):
    from audit.log import freeze

    freeze("a disk was swapped")
    answer = desk.post("ada", "agent_suspend", world.robo.id, data={"reason": "stop"})
    assert "Nothing was changed. The log is frozen: a disk was swapped" in _text(answer)
    assert Agent.objects.get(pk=world.robo.id).state == Agent.ACTIVE


def test_invariant_9_what_an_agent_is_called_and_says_stays_inert(desk, world):
    from governance.actions import suspend_agent

    reason = 'see <a href="//evil">here</a> \u202egnp.exe'
    commit(suspend_agent.apply, suspend_agent.Command(world.robo, reason, world.ada))
    for page in (desk.get("ada", "agent", world.robo.id), desk.get("audra", "log")):
        shown = page.content.decode()
        assert '<a href="//evil"' not in shown and "\u202e" not in shown
        assert "⟦U+202E⟧" in shown
