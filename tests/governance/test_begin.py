from __future__ import annotations

import json
import re
from io import StringIO

import pytest
from django.contrib.auth.hashers import check_password
from django.core.management import CommandError, call_command

from audit import publisher, signer
from audit.models import Entry, LogHead
from governance import access, begin
from governance.errors import Refused
from governance.models import Agent, Delegation, Person, Policy, Tool
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY, digest
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.verify.history import History
from tests.governance.cast import REALM, SshKey, seeded


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_begin_makes_keys_log_admin_tools_and_policy_and_a_verifier_accepts_it(db, folders):
    said = run("begin", "--realm", REALM, "--admin", "ada")
    password = re.search(r"One-time password: (\S+)", said)
    ada = Person.objects.get()
    assert password is not None
    assert check_password(password[1], ada.user.password)
    assert Policy.objects.get().digest == digest(DEFAULT_POLICY)
    assert Tool.objects.filter(current=True).count() == len(DEFAULT_TOOLS)
    assert [path.stat().st_mode & 0o777 for path in sorted(folders.joinpath("keys").iterdir())] == [0o600, 0o600]
    history = History(REALM, [signer.decision_key().public_key])
    for row in Entry.objects.order_by("index"):
        history.feed(row.index, bytes(row.envelope))


def test_begin_a_second_time_changes_nothing_and_prints_no_password(db, folders):
    run("begin", "--realm", REALM, "--demo-policy")
    assert Policy.objects.get().digest == digest(DEMO_POLICY)
    size = LogHead.objects.get().size
    assert "password" not in run("begin", "--realm", REALM)
    assert json.loads(run("begin", "--realm", REALM, "--json")) == {"fresh": False, "realm": REALM, "passwords": {}}
    assert LogHead.objects.get().size == size
    with pytest.raises(CommandError, match="never changes"):
        run("begin", "--realm", "another.imprimatur")


def test_a_beginning_that_fails_leaves_nothing_and_may_be_repeated(db, folders):
    everything = list(DEFAULT_TOOLS.values())
    with pytest.raises(Refused):
        begin.begin_installation(
            [begin.Newcomer("ada", ("admin",))], REALM, DEMO_POLICY, [*everything, {"name": "broken"}]
        )
    with pytest.raises(Refused):
        begin.begin_installation([begin.Newcomer("rui", ("reviewer",))], REALM, DEMO_POLICY, everything)
    assert begin.begin_installation([begin.Newcomer("ada", ("admin",))], REALM, DEMO_POLICY, everything).fresh


def test_nothing_begins_over_the_published_files_of_a_log_whose_database_is_gone(db, folders):
    publisher.mark_path().write_bytes(b'{"origin":"test.imprimatur","root":"00","size":9}')
    with pytest.raises(CommandError, match="log_recover"):
        run("begin", "--realm", REALM)
    assert not LogHead.objects.exists()
    publisher.mark_path().unlink()
    run("begin", "--realm", REALM)


def test_one_key_without_the_other_is_not_replaced_quietly(db, folders):
    run("begin", "--realm", REALM)
    (folders / "keys" / f"{signer.LOG}.key").unlink()
    with pytest.raises(Refused, match="backup"):
        begin.make_keys()


def test_the_console_adds_people_and_registers_keys(cast, tmp_path):
    key = SshKey(seeded("boss"))
    file = tmp_path / "boss.pub"
    file.write_text(key.line + " boss@laptop\n")
    assert "One-time password" in run("add_person", "boss", "admin", "--ssh-key", str(file), "--by", "ada")
    boss = Person.objects.get(user__username="boss")
    assert boss.keys.get().fingerprint == key.fingerprint
    file.write_text(SshKey(seeded("second")).line)
    assert SshKey(seeded("second")).fingerprint in run("add_person_key", "boss", str(file))
    for wrong in (("add_person", "boss"), ("add_person", "x", "king"), ("add_person", "x", "--by", "nobody")):
        with pytest.raises(CommandError):
            run(*wrong)


def test_the_console_suspends_resumes_and_revokes(cast):
    held = cast.delegate("ada", "robo")
    run("suspend_agent", "robo", "--reason", "odd")
    assert Agent.objects.get(name="robo").state == Agent.SUSPENDED
    run("suspend_agent", "robo", "--reason", "fine", "--resume", "--by", "ada")
    assert Agent.objects.get(name="robo").state == Agent.ACTIVE
    run("revoke", held.id, "--reason", "over")
    assert Delegation.objects.get().revoked_at is not None
    assert "before" in run("revoke", held.id, "--reason", "over")
    run("revoke", cast.keys["robo"].thumbprint, "--reason", "lost", "--since", "2026-01-01T00:00:00.000Z")
    with pytest.raises(Refused, match="revoked"):
        access.key_of(cast.keys["robo"].thumbprint)
    run("revoke", cast.ssh["ada"].fingerprint, "--reason", "lost", "--by", "ada")
    assert cast.ada.keys.get().revoked_at is not None
    for wrong in (("no-such-key",), (held.id, "--since", "2026-01-01T00:00:00.000Z"), ("x", "--since", "yesterday")):
        with pytest.raises(CommandError):
            run("revoke", *wrong, "--reason", "x")
