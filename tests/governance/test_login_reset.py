"""A reset lets somebody in again, and gives whoever did it no way to a key."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import call_command
from django.test import Client

from audit import log
from governance import ceremonies, enrolment
from governance.actions import enrol_key, login_reset
from governance.models import Ceremony
from imprimatur.formats import signing


@pytest.fixture
def rui(cast):
    return cast.people["rui"]


def reset(person, what: str = login_reset.PASSWORD, by=None):
    command = login_reset.Command(person, what, by=by)
    if what == login_reset.PASSWORD:
        command, _ = login_reset.new_password(person, by)
    return log.commit(login_reset.apply, command)


@pytest.mark.parametrize("what", [login_reset.PASSWORD, login_reset.SECOND_FACTOR])
def test_a_reset_stands_in_the_log_ends_sessions_and_keeps_keys_in_force(cast, rui, what):
    key = cast.signing("rui")
    browser = Client()
    browser.force_login(rui.user)
    entry = reset(rui, what, by=cast.ada)

    assert entry.body == {"person": rui.id, "what": what}
    assert browser.get("/keys/").status_code == 302
    key.refresh_from_db()
    assert key.in_force


def test_a_lost_second_factor_is_forgotten_and_the_password_stays(cast, rui):
    rui.user.set_password("what rui knows")
    rui.user.save()
    Authenticator.objects.create(user=rui.user, type=Authenticator.Type.TOTP, data={"secret": "x"})
    call_command("reset_second_factor", "rui")

    rui.user.refresh_from_db()
    assert rui.user.check_password("what rui knows")
    assert not Authenticator.objects.filter(user=rui.user).exists()


def test_what_had_begun_in_their_name_lapses(cast, rui, refused):
    cast.signing("ada")
    key = cast.enrolled("rui")
    line = cast.ssh["ada"].line
    code = enrolment.new_code(rui)
    enrolment.begin_passkey(rui, "half way")
    reset(rui, by=cast.ada)

    key.refresh_from_db()
    assert key.revoked_at is not None and not key.in_force
    assert not Ceremony.objects.filter(person=rui, used_at__isnull=True).exists()
    with refused("not-allowed"):
        enrolment.take_code(rui.id, code)
    with refused("wrong-state"):
        cast.vouch(key, by="ada")
    assert line  # the admin's own key is untouched
    assert cast.key_of("ada").in_force


def test_an_enrolment_that_was_signed_before_the_reset_is_not_written_after_it(cast, rui, refused):
    from imprimatur.formats.encoding import b64u, un_b64u
    from tests.formats.soft_authenticator import SoftAuthenticator

    key = SoftAuthenticator()
    begun = enrolment.begin_passkey(rui, "a key")
    made = key.register(un_b64u(begun["options"]["challenge"]))
    ceremony = enrolment.passkey_created(rui, begun["ceremony"], made)
    cast.passkeys[b64u(key.credential)] = key
    signed = ceremonies.finish(rui, ceremony.id, cast.sign("rui", ceremony), typ=signing.ENROLMENT)
    reset(rui, by=cast.ada)
    with refused("wrong-state"):
        log.commit(enrol_key.apply, enrol_key.Command(signed, rui))


def test_a_lapsed_key_does_not_come_back(cast, rui, refused):
    from tests.governance.cast import seeded

    pair = seeded("lapsed")
    cast.enrolled_ssh("rui", pair)
    reset(rui)
    with refused("conflict"):
        cast.enrolled_ssh("rui", pair)


def test_admins_reset_others_once_each_counts_as_introducer(cast, rui):
    reset(rui, by=cast.ada)
    reset(rui, login_reset.SECOND_FACTOR, by=cast.ada)
    rui.refresh_from_db()

    assert rui.introducers == [cast.ada.id]


@pytest.mark.parametrize("who", ["ada", "rosa", "audra", "mallory"])
def test_only_another_admin_or_the_console_resets(cast, who, refused):
    with refused("not-allowed"):
        reset(cast.ada, by=cast.people[who])


def test_a_reset_is_of_one_thing(cast, rui, refused):
    for command in (
        login_reset.Command(rui, "everything"),
        login_reset.Command(rui, login_reset.PASSWORD),
        login_reset.Command(rui, login_reset.SECOND_FACTOR, password="hash"),
    ):
        with refused("invalid"):
            log.commit(login_reset.apply, command)
