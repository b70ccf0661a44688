"""Who puts somebody's key in force: never its owner, never whoever made or reset the login, as soon as others can."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from audit import log
from governance import ceremonies, changes
from governance.actions import add_person, change_person, login_reset, revoke_person_key, vouch_key
from governance.errors import Refused
from governance.models import PersonKey
from imprimatur.formats import signing
from imprimatur.formats.timestamps import parse_time


def vouched(key: PersonKey) -> bool:
    key.refresh_from_db()
    return key.in_force


def refused_vouch(cast, key: PersonKey, by: str) -> str:
    """Why this person may not vouch, in words; they do hold a key and sign."""
    signed = cast.signed(by, cast.voucher(cast.people[by], key))
    with pytest.raises(Refused) as caught:
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.people[by], signed))
    assert caught.value.code == "not-allowed"
    assert not vouched(key)
    return caught.value.message


def test_the_first_key_is_the_first_admins_own_word_and_flagged(cast, bodies):
    key = cast.signing("ada")

    assert key.first and key.vouched_by == "first" and changes.holders() == {cast.ada.id}
    assert bodies("person.key_vouched") == [{"person": cast.ada.id, "fingerprint": key.fingerprint, "first": True}]
    assert not changes.two_person()


def test_nobody_but_an_admin_begins(cast):
    key = cast.enrolled("rui")
    with pytest.raises(Refused, match="of their own"):
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.people["rui"]))

    assert not vouched(key)


def test_nobody_vouches_for_a_key_of_their_own(cast):
    cast.signing("ada")
    second = cast.enrolled("ada")

    assert "of their own" in refused_vouch(cast, second, "ada")
    with pytest.raises(Refused, match="of their own"):
        log.commit(vouch_key.apply, vouch_key.Command(second.fingerprint, cast.ada))
    cast.signing("rui")
    assert cast.vouch(second, by="rui").in_force


def test_while_only_two_could_take_part_the_inviter_vouches_and_it_is_flagged(cast, bodies):
    cast.signing("ada")
    key = cast.vouch(cast.enrolled("rui"), by="ada")

    assert key.first and bodies("person.key_vouched")[-1]["first"] is True
    assert changes.two_person()


def test_invariant_3_one_admin_makes_no_second_person_of_a_newcomer(cast):
    """The sock puppet: an admin adds somebody, logs in as them, enrols a key and vouches for it."""
    cast.signing("ada")
    cast.signing("rui")
    puppet = cast.people["rosa"]
    assert puppet.introducers == [cast.ada.id]
    key = cast.enrolled("rosa")

    assert "somebody else has to vouch" in refused_vouch(cast, key, "ada")
    assert cast.vouch(key, by="rui").vouched_by == cast.people["rui"].id
    assert not key.first


def test_a_reset_makes_an_introducer_of_the_admin(cast):
    cast.signing("ada")
    cast.signing("rui")
    cast.signing("rosa")
    command, _ = login_reset.new_password(cast.people["rosa"], cast.ada)
    log.commit(login_reset.apply, command)
    key = cast.enrolled("rosa")

    assert "reset their login" in refused_vouch(cast, key, "ada")
    assert cast.vouch(key, by="rui").in_force


def test_without_a_role_or_a_key_nobody_vouches(cast):
    ada = cast.signing("ada")
    key = cast.enrolled("rosa")
    for who in ("audra", "mallory", "rui"):
        with pytest.raises(Refused) as caught:
            log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.people[who]))
        assert caught.value.code == "not-allowed"
    signed = cast.signed("ada", cast.voucher(cast.ada, key))
    log.commit(revoke_person_key.apply, revoke_person_key.Command(ada.fingerprint, "lost", by=cast.ada))
    with pytest.raises(Refused, match="revoked"):
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.ada, signed))

    assert not vouched(key)


def test_a_vouch_is_for_one_key_and_these_bytes(cast):
    cast.signing("ada")
    one, other = cast.enrolled("rui"), cast.enrolled("rui")
    said = cast.voucher(cast.ada, one)
    wrong = {
        "another key": cast.signed("ada", {**said, "key": other.fingerprint}),
        "another enrolment": cast.signed("ada", {**said, "enrolment": vouch_key.enrolment_digest(other)}),
        "another person": cast.signed("ada", {**said, "for": cast.people["rosa"].id}),
        "another realm": cast.signed("ada", {**said, "realm": "staging.imprimatur"}),
    }
    for signed in wrong.values():
        with pytest.raises(Refused) as caught:
            log.commit(vouch_key.apply, vouch_key.Command(one.fingerprint, cast.ada, signed))
        assert caught.value.code == "wrong-state"
    for_other_use = ceremonies.common(cast.ada, credential=cast.key_of("ada").fingerprint)
    read = cast.signed("ada", {"typ": signing.READ, **for_other_use, "request": "act_" + "0" * 26})
    with pytest.raises(Refused):
        log.commit(vouch_key.apply, vouch_key.Command(one.fingerprint, cast.ada, read))

    assert not vouched(one)


def test_nobody_vouches_with_somebody_elses_signature(cast):
    cast.signing("ada")
    cast.signing("rui")
    key = cast.enrolled("rosa")
    signed = cast.signed("rui", cast.voucher(cast.people["rui"], key))
    with pytest.raises(Refused, match="somebody else"):
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.ada, signed))
    with pytest.raises(Refused):
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.people["rosa"], signed))

    assert not vouched(key)


def test_a_key_is_vouched_for_once_and_never_after_its_revocation(cast, refused):
    cast.signing("ada")
    key = cast.vouch(cast.enrolled("rui"), by="ada")
    with refused("wrong-state"):
        cast.vouch(key, by="ada")
    other = cast.enrolled("rosa")
    log.commit(revoke_person_key.apply, revoke_person_key.Command(other.fingerprint, "typo", by=cast.people["rosa"]))
    with refused("wrong-state"):
        cast.vouch(other, by="rui")


def test_a_key_of_somebody_who_is_switched_off_stays_out_of_force(cast, refused):
    cast.signing("ada")
    key = cast.enrolled("rui")
    log.commit(change_person.apply, change_person.Command(cast.people["rui"], active=False, by=cast.ada, reason="left"))
    with refused("not-allowed"):
        cast.vouch(key, by="ada")


def test_the_console_vouches_where_nobody_can_and_is_named(cast, bodies, capsys):
    key = cast.enrolled("rui")
    with pytest.raises(CommandError, match="not one of Rosa"):
        call_command("vouch_key", "rosa", key.fingerprint)
    call_command("vouch_key", "rui", key.fingerprint)

    key.refresh_from_db()
    assert key.in_force and key.vouched_by == "console" and not key.first
    assert bodies("person.key_vouched") == [{"person": cast.people["rui"].id, "fingerprint": key.fingerprint}]
    assert "in force" in capsys.readouterr().out
    with pytest.raises(CommandError, match="already"):
        call_command("vouch_key", "rui", key.fingerprint)


def test_what_a_stolen_key_vouched_for_lapses_with_all_below_it(cast, bodies):
    ada = cast.signing("ada")
    rui = cast.signing("rui")
    rosa = cast.vouch(cast.enrolled("rosa"), by="rui")
    audra = cast.vouch(cast.enrolled("audra"), by="rosa")
    log.commit(
        revoke_person_key.apply,
        revoke_person_key.Command(rui.fingerprint, "taken", since=rui.vouched_at, by=cast.people["rui"], stolen=True),
    )

    assert [vouched(key) for key in (ada, rui, rosa, audra)] == [True, False, False, False]
    [first, *lapsed] = bodies("person.key_revoked")
    assert first["stolen"] is True and first["fingerprint"] == rui.fingerprint
    assert [body["fingerprint"] for body in lapsed] == [rosa.fingerprint, audra.fingerprint]
    assert all("vouched for with a key that was revoked: taken" in body["reason"] for body in lapsed)


def test_what_a_key_vouched_for_before_it_was_lost_stays(cast):
    cast.signing("ada")
    rui = cast.signing("rui")
    rosa = cast.vouch(cast.enrolled("rosa"), by="rui")
    since = rosa.vouched_at + timedelta(milliseconds=1)
    while log.utc_now() < since:
        pass
    log.commit(revoke_person_key.apply, revoke_person_key.Command(rui.fingerprint, "lost", since=since, by=cast.ada))

    assert vouched(rosa) and not vouched(rui)


def test_a_revocation_may_be_signed_with_another_key_of_ones_own(cast, refused, bodies):
    cast.signing("ada")
    rui = cast.signing("rui")
    spare = cast.vouch(cast.enrolled_ssh("rui"), by="ada")
    content = revoke_person_key.chosen(rui, "lost", log.utc_now(), True)

    def statement(key: PersonKey, **changes):
        return {
            "typ": signing.ACT,
            **ceremonies.common(cast.people["rui"], credential=key.fingerprint),
            "act": "person.key_revoked",
            "subject": cast.people["rui"].id,
            "content": content,
            **changes,
        }

    def command(signed, **changes):
        found = {"since": parse_time(content["since"]), "stolen": True, **changes}
        return revoke_person_key.Command(rui.fingerprint, "lost", by=cast.people["rui"], signed=signed, **found)

    with refused("wrong-state"):
        log.commit(revoke_person_key.apply, command(cast.signed("rui", statement(spare)), stolen=False))
    with refused("invalid"):
        log.commit(revoke_person_key.apply, command(cast.signed("rui", statement(rui))))
    log.commit(revoke_person_key.apply, command(cast.signed("rui", statement(spare))))

    assert bodies("person.key_revoked")[-1]["signed"]["evidence"]["kind"] == "ssh"


def test_newcomers_know_who_added_them(cast):
    command, _ = add_person.new("nina")
    log.commit(add_person.apply, command)
    command, _ = add_person.new("otto", by=cast.ada)
    otto = log.commit(add_person.apply, command).person

    assert otto.introducers == [cast.ada.id]
    assert add_person.Person.objects.get(user__username="nina").introducers == []
