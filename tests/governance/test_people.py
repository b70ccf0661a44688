from __future__ import annotations

import pytest
from django.contrib.auth.hashers import check_password
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session

from audit import log
from governance.actions import add_person, add_person_key, change_person
from governance.actors import roles_of
from governance.models import Person, PersonKey
from tests.governance.cast import SshKey, seeded


def test_a_new_person_gets_roles_and_a_password_that_is_stored_only_as_a_hash(cast, bodies):
    command, password = add_person.new("nina", ("reviewer", "auditor"), email="nina@example.com", by=cast.ada)
    nina = log.commit(add_person.apply, command).person
    assert roles_of(nina) == {"reviewer", "auditor"}
    assert nina.must_change_password
    assert check_password(password, nina.user.password)
    assert bodies("person.added")[-1] == {"person": nina.id, "name": "Nina", "roles": ["auditor", "reviewer"]}
    assert password not in repr(bodies("person.added"))


def test_one_time_passwords_differ_and_are_long():
    drawn = {add_person.one_time_password() for _ in range(50)}
    assert len(drawn) == 50
    assert all(len(password) == 24 for password in drawn)


@pytest.mark.parametrize("who", ["rui", "audra", "mallory"])
def test_only_an_admin_adds_people(cast, refused, who):
    command, _ = add_person.new("eve", ("admin",), by=cast.people[who])
    with refused("not-allowed"):
        log.commit(add_person.apply, command)
    assert not Person.objects.filter(user__username="eve").exists()


@pytest.mark.parametrize(
    ("login", "roles", "code"), [("ada", (), "conflict"), ("Not A Login", (), "invalid"), ("eve", ("king",), "invalid")]
)
def test_a_login_that_is_taken_or_malformed_and_unknown_roles_are_refused(cast, refused, login, roles, code):
    command, _ = add_person.new(login, roles, by=cast.ada)
    with refused(code):
        log.commit(add_person.apply, command)


def test_roles_change_and_the_entry_names_only_what_changed(cast, bodies):
    rui = cast.people["rui"]
    log.commit(change_person.apply, change_person.Command(rui, roles=("auditor",), reason="new desk", by=cast.ada))
    assert roles_of(rui) == {"auditor"}
    assert bodies("person.changed") == [{"person": rui.id, "roles": ["auditor"], "reason": "new desk"}]


def test_the_last_admin_can_neither_be_switched_off_nor_lose_the_role(cast, refused):
    for change in ({"active": False}, {"roles": ("reviewer",)}):
        with refused("conflict"):
            log.commit(change_person.apply, change_person.Command(cast.ada, by=cast.ada, **change))
    cast.person("boss", "admin")
    log.commit(change_person.apply, change_person.Command(cast.ada, active=False, by=cast.ada))
    assert roles_of(Person.objects.get(pk=cast.ada.pk)) == frozenset()


def test_switching_a_person_off_ends_their_sessions_and_nobody_elses(cast):
    for name in ("rui", "rosa"):
        session = SessionStore()
        session["_auth_user_id"] = str(cast.people[name].user_id)
        session.create()
    log.commit(change_person.apply, change_person.Command(cast.people["rui"], active=False, by=cast.ada))
    left = [session.get_decoded()["_auth_user_id"] for session in Session.objects.all()]
    assert left == [str(cast.people["rosa"].user_id)]


def test_a_key_is_registered_once_for_ever_and_only_for_admins(cast, refused):
    with refused("not-allowed"):
        cast.ssh_key("rui")
    cast.person("boss", "admin")
    with refused("conflict"):
        cast.ssh_key("boss", seed="ada")
    for line in ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==", "nonsense"):
        with refused("invalid"):
            log.commit(add_person_key.apply, add_person_key.Command(cast.ada, line, by=cast.ada))
    assert PersonKey.objects.count() == 1


def test_somebody_else_registers_no_key_for_an_admin(cast, refused):
    key = SshKey(seeded("theirs"))
    with refused("not-allowed"):
        log.commit(add_person_key.apply, add_person_key.Command(cast.ada, key.line, by=cast.people["rui"]))


def test_a_new_one_time_password_is_written_down_and_never_shown_there(cast) -> None:
    from governance.actions import login_reset

    rui = cast.people["rui"]
    command, password = login_reset.new_password(rui)
    entry = log.commit(login_reset.apply, command)
    rui.refresh_from_db()
    assert rui.must_change_password and rui.user.check_password(password)
    assert entry.body == {"person": rui.id, "what": "password"}
    assert password.encode() not in entry.envelope
