"""A key of one's own: how it comes in, what it may sign, and which signatures do not count."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from audit import log
from governance import ceremonies, enrolment, signing_keys
from governance.actions import (
    add_person_key,
    change_person,
    enrol_agent,
    enrol_key,
    invite_agent,
    issue_delegation,
    revoke_person_key,
    rotate_key,
    vouch_key,
)
from governance.errors import Refused
from governance.models import Ceremony, PersonKey
from imprimatur.formats import canonical, delegation, keys, signing, sshsig, statement
from imprimatur.formats.encoding import b64, b64u, un_b64u
from imprimatur.formats.keys import KeyPair
from tests.formats.soft_authenticator import UP, AttestationRoot, SoftAuthenticator, cbor
from tests.governance.cast import SshKey, seeded


def ssh_line(pair: KeyPair) -> str:
    return f"ssh-ed25519 {b64(sshsig.public_key_blob(pair.public_key))}"


def enrolment_of(cast, who: str, key: SoftAuthenticator) -> Ceremony:
    """The statement with which this person enrols this passkey, ready to be signed."""
    begun = enrolment.begin_passkey(cast.people[who], "a key")
    made = key.register(un_b64u(begun["options"]["challenge"]))
    ceremony = enrolment.passkey_created(cast.people[who], begun["ceremony"], made)
    cast.passkeys[b64u(key.credential)] = key
    return ceremony


def read_statement(cast, who: str = "ada", **changes: Any) -> dict[str, Any]:
    """A statement that has no effect of its own, to try ceremonies with."""
    found = {
        "typ": signing.READ,
        **ceremonies.common(cast.people[who], credential=cast.key_of(who).fingerprint),
        "request": "act_" + "0" * 26,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def use(writer, signed) -> None:
    ceremonies.use(writer, signed)


# --- enrolment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("device_bound", [True, False])
def test_a_passkey_of_every_kind_is_enrolled_vouched_for_and_in_force(cast, alg, device_bound):
    ada, rui = cast.signing("ada", alg, device_bound), cast.signing("rui", alg, device_bound)

    assert ada.signs_decisions and rui.signs_decisions
    assert (ada.first, rui.vouched_by, rui.device_bound) == (True, cast.ada.id, device_bound)


def test_an_ssh_key_is_enrolled_vouched_for_and_in_force(cast):
    key = cast.ssh_signing("rosa")

    assert key.signs_decisions
    assert key.vouched_by == cast.ada.id


def test_the_log_has_the_enrolment_with_the_new_keys_own_signature(cast, bodies):
    key = cast.enrolled("rui")
    [body] = bodies("person.key_enrolled")
    said = signing.parse(body["statement"].encode(), signing.ENROLMENT)

    assert (said["person"], said["key"], said["thumbprint"]) == (cast.people["rui"].id, key.fingerprint, key.thumbprint)
    assert body["evidence"]["kind"] == "webauthn" and "attestation" in body
    assert not key.in_force and signing_keys.keys_of(cast.people["rui"]) == []


def test_the_browser_is_asked_for_a_verified_user_and_shown_what_the_key_is_for(cast):
    known = cast.enrolled("rui")
    options = enrolment.begin_passkey(cast.people["rui"], "another")["options"]

    assert options["user"]["name"] == options["user"]["displayName"] == "Rui — signs decisions"
    assert options["rp"]["id"] == "localhost"
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-8, -7, -257]
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert [one["id"] for one in options["excludeCredentials"]] == [known.credential]


LIES = {
    "challenge": {"challenge": bytes(32)},
    "origin": {"origin": "https://evil.example"},
    "below our site": {"origin": "http://other.localhost:8000"},
    "frame": {"cross_origin": True},
    "type": {"type": "webauthn.get"},
    "site": {"rp_id": "evil.example"},
    "nobody verified": {"flags": UP},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_registration_that_lies_is_refused(cast, refused, lie):
    key, rui = SoftAuthenticator(), cast.people["rui"]
    begun = enrolment.begin_passkey(rui, "a key")
    told = {"challenge": un_b64u(begun["options"]["challenge"]), **lie}
    made = key.register(told.pop("challenge"), **told)

    with refused("signature"):
        enrolment.passkey_created(rui, begun["ceremony"], made)


@pytest.mark.parametrize(
    "answer", ["", "[]", "{", '{"response": 1}', {"response": {"clientDataJSON": "x", "attestationObject": "!"}}]
)
def test_an_answer_that_is_none_is_refused_in_words(cast, refused, answer):
    begun = enrolment.begin_passkey(cast.people["rui"], "a key")
    with refused("malformed"):
        enrolment.passkey_created(cast.people["rui"], begun["ceremony"], answer)


def test_an_attestation_that_is_garbage_is_refused_in_words(cast, refused):
    key = SoftAuthenticator()
    begun = enrolment.begin_passkey(cast.people["rui"], "a key")
    made = key.register(un_b64u(begun["options"]["challenge"]))
    data = un_b64u(made["response"]["authenticatorData"])
    statement = {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"x", "x5c": [b"no certificate"]}, "authData": data}
    made["response"]["attestationObject"] = b64u(cbor(statement))

    with refused("signature"):
        enrolment.passkey_created(cast.people["rui"], begun["ceremony"], made)


def test_a_creation_counts_once_and_for_whoever_began_it(cast, refused):
    key = SoftAuthenticator()
    begun = enrolment.begin_passkey(cast.people["rui"], "a key")
    made = key.register(un_b64u(begun["options"]["challenge"]))
    with refused("not-found"):
        enrolment.passkey_created(cast.people["rosa"], begun["ceremony"], made)
    enrolment.passkey_created(cast.people["rui"], begun["ceremony"], made)
    with refused("wrong-state"):
        enrolment.passkey_created(cast.people["rui"], begun["ceremony"], made)


def test_another_key_cannot_sign_the_enrolment(cast, refused):
    rui, key, other = cast.people["rui"], SoftAuthenticator(), SoftAuthenticator()
    ceremony = enrolment_of(cast, "rui", key)
    challenge = signing.challenge(signing.ENROLMENT, bytes(ceremony.statement))
    with refused("signature"):
        ceremonies.finish(rui, ceremony.id, other.sign(challenge), typ=signing.ENROLMENT)
    other.credential = key.credential  # it even claims to be the credential
    with refused("signature"):
        ceremonies.finish(rui, ceremony.id, other.sign(challenge), typ=signing.ENROLMENT)


def test_one_key_is_one_persons_in_whatever_form_it_comes(cast, refused):
    pair = seeded("the same key")
    cast.enrolled_ssh("rui", pair)

    class AsPasskey(SoftAuthenticator):
        def __init__(self) -> None:
            super().__init__("EdDSA")
            self.public_key = cbor({1: 1, 3: -8, -1: 6, -2: pair.public_key})
            self._sign = pair.sign

    for who in ("rosa", "rui"):
        with refused("conflict"):
            enrolment_of(cast, who, AsPasskey())
        with refused("conflict"):
            enrolment.begin_ssh(cast.people[who], ssh_line(pair), "again")
    with refused("conflict"):
        log.commit(add_person_key.apply, add_person_key.Command(cast.ada, ssh_line(pair)))


def test_of_two_who_enrol_one_key_at_once_one_gets_it(cast):
    pair = seeded("raced")
    commands = []
    for who in ("rui", "rosa"):
        ceremony = enrolment.begin_ssh(cast.people[who], ssh_line(pair), "mine")
        value = sshsig.sign(pair, bytes(ceremony.statement), signing.ssh_namespace(signing.ENROLMENT))
        signed = ceremonies.finish_ssh(cast.people[who], ceremony.id, value, typ=signing.ENROLMENT)
        commands.append((enrol_key.apply, enrol_key.Command(signed, cast.people[who])))
    first, second = log.run_batch(commands)

    assert first.key.person == cast.people["rui"]
    assert isinstance(second, Refused) and second.code == "conflict"


def test_no_key_is_both_a_persons_and_an_agents(cast, refused):
    pair = seeded("two-faced")
    cast.enrolled_ssh("rui", pair)
    command, token = invite_agent.new("newbot", cast.ada, cast.ada)
    log.commit(invite_agent.apply, command)
    with refused("conflict"):
        log.commit(enrol_agent.apply, enrol_agent.Command(token, pair.public_key))
    old = cast.keys["robo"]
    message = rotate_key.preimage(
        realm="test.imprimatur", agent=cast.robo.id, old=old.thumbprint, public_key=pair.public_key
    )
    with refused("conflict"):
        log.commit(
            rotate_key.apply,
            rotate_key.Command(cast.robo, old.thumbprint, pair.public_key, b64u(old.sign(message))),
        )
    with refused("conflict"):
        enrolment.begin_ssh(cast.people["rui"], ssh_line(old), "the agent's")
    with refused("conflict"):
        log.commit(add_person_key.apply, add_person_key.Command(cast.ada, ssh_line(old)))


def test_a_persons_keys_are_bounded(cast, refused):
    for number in range(enrol_key.MOST_KEYS):
        cast.enrolled_ssh("rui", seeded(f"many {number}"))
    with refused("invalid"):
        enrolment_of(cast, "rui", SoftAuthenticator())


# --- attestation ---------------------------------------------------------------------------------------------------


ATTESTED = {
    "a root of ours, bound to its device": (True, True, True),
    "a root of ours, but synced": (True, False, False),
    "a root of nobody's": (False, True, False),
}


@pytest.mark.parametrize(("trusted", "device_bound", "h3"), ATTESTED.values(), ids=ATTESTED)
def test_only_a_model_that_one_of_our_roots_attests_is_h3(cast, tmp_path, settings, trusted, device_bound, h3):
    cast.signing("ada")
    maker, stranger = AttestationRoot(), AttestationRoot()
    settings.ATTESTATION_ROOTS = str(tmp_path)
    (tmp_path / "maker.pem").write_bytes(maker.pem)
    begun = enrolment.begin_passkey(cast.people["rui"], "a key")
    assert begun["options"]["attestation"] == "direct"
    soft = SoftAuthenticator(device_bound=device_bound)
    made = soft.register(un_b64u(begun["options"]["challenge"]), attestation=maker if trusted else stranger)
    ceremony = enrolment.passkey_created(cast.people["rui"], begun["ceremony"], made)
    cast.passkeys[b64u(soft.credential)] = soft
    signed = ceremonies.finish(cast.people["rui"], ceremony.id, cast.sign("rui", ceremony), typ=signing.ENROLMENT)
    enrolled = log.commit(enrol_key.apply, enrol_key.Command(signed, cast.people["rui"]))
    key = cast.vouch(enrolled.key)

    assert (key.attested, signed.assurance) == ((True, "H3") if h3 else (False, "H2"))
    assert cast.signed("rui", read_statement(cast, "rui")).assurance == signed.assurance


def test_without_roots_no_attestation_is_asked_for_or_counts(cast):
    begun = enrolment.begin_passkey(cast.people["rui"], "a key")
    assert begun["options"]["attestation"] == "none"
    made = SoftAuthenticator().register(un_b64u(begun["options"]["challenge"]), attestation=AttestationRoot())
    ceremony = enrolment.passkey_created(cast.people["rui"], begun["ceremony"], made)

    assert ceremony.kept["attested"] is False


# --- ceremonies ----------------------------------------------------------------------------------------------------


def test_a_ceremony_asks_for_the_one_key_that_the_statement_names(cast):
    first = cast.signing("ada")
    cast.signing("rui")
    second = cast.vouch(cast.enrolled("ada"), by="rui")
    ceremony = ceremonies.open(cast.ada, read_statement(cast, credential=second.fingerprint))
    asked = ceremonies.for_browser(ceremony)

    assert [one["id"] for one in asked["options"]["allowCredentials"]] == [second.credential]
    assert asked["options"]["userVerification"] == "required" and asked["options"]["rpId"] == "localhost"
    assert asked["options"]["challenge"] == b64u(signing.challenge(signing.READ, asked["statement"].encode()))
    with pytest.raises(Refused, match="Another passkey"):
        soft = cast.passkeys[first.credential]
        ceremonies.finish(cast.ada, ceremony.id, soft.sign(un_b64u(asked["options"]["challenge"])), typ=signing.READ)


def test_a_statement_names_the_log_it_follows_and_the_realm(cast):
    cast.signing("ada")
    said = read_statement(cast)

    assert said["realm"] == "test.imprimatur" and said["log_size"] == 0
    assert said["person"] == cast.ada.id


CEREMONY_LIES = {
    "another origin": {"origin": "https://evil.example"},
    "our other origin": {"origin": "http://testserver"},  # not of the site that the keys belong to
    "a frame of another site": {"cross_origin": True},
    "a page around ours": {"top_origin": "https://evil.example"},
    "an empty name of a page around ours": {"top_origin": ""},
    "another site": {"rp_id": "evil.example"},
    "nobody verified": {"flags": UP},
    "another type": {"type": "webauthn.create"},
    "suddenly synced": {"flags": 0x1D},
}


@pytest.mark.parametrize("lie", CEREMONY_LIES.values(), ids=CEREMONY_LIES)
def test_invariant_12_a_signature_made_elsewhere_or_otherwise_does_not_count(cast, refused, lie):
    cast.signing("ada")
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    with refused("signature"):
        ceremonies.finish(cast.ada, ceremony.id, cast.sign("ada", ceremony, **lie), typ=signing.READ)

    assert ceremonies.finish(cast.ada, ceremony.id, cast.sign("ada", ceremony), typ=signing.READ).assurance == "H2"


def test_what_the_browser_wrote_is_never_written_anew(cast, refused):
    cast.signing("ada")
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    answer = cast.sign("ada", ceremony)
    raw = un_b64u(answer["response"]["clientDataJSON"])
    answer["response"]["clientDataJSON"] = b64u(raw.replace(b",", b", ", 1))
    with refused("signature"):
        ceremonies.finish(cast.ada, ceremony.id, answer, typ=signing.READ)


def test_invariant_12_a_ceremony_is_one_persons_and_for_one_purpose(cast, refused):
    cast.signing("ada")
    cast.signing("rui")
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    answer = cast.sign("ada", ceremony)
    with refused("not-found"):
        ceremonies.finish(cast.people["rui"], ceremony.id, answer, typ=signing.READ)
    with refused("not-found"):
        ceremonies.finish(cast.ada, "cer_" + "0" * 26, answer, typ=signing.READ)
    with refused("wrong-state"):
        ceremonies.finish(cast.ada, ceremony.id, answer, typ=signing.VOUCH)
    with refused("not-allowed"):
        ceremonies.open(cast.people["rui"], read_statement(cast))
    other = ceremonies.open(cast.ada, read_statement(cast))
    with refused("signature"):
        ceremonies.finish(cast.ada, other.id, answer, typ=signing.READ)


def test_a_statement_that_names_somebody_elses_key_is_signed_by_nobody(cast, refused):
    cast.signing("ada")
    rui = cast.signing("rui")
    ceremony = ceremonies.open(cast.ada, read_statement(cast, credential=rui.fingerprint))
    with refused("invalid"):
        ceremonies.for_browser(ceremony)
    challenge = signing.challenge(signing.READ, bytes(ceremony.statement))
    for key in cast.passkeys.values():
        with refused("signature"):
            ceremonies.finish(cast.ada, ceremony.id, key.sign(challenge), typ=signing.READ)


def test_a_ceremony_ends_with_its_time_before_and_under_the_lock(cast, refused):
    cast.signing("ada")
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    answer = cast.sign("ada", ceremony)
    signed = ceremonies.finish(cast.ada, ceremony.id, answer, typ=signing.READ)
    Ceremony.objects.filter(pk=ceremony.pk).update(expires_at=log.utc_now())
    with refused("wrong-state"):
        ceremonies.finish(cast.ada, ceremony.id, answer, typ=signing.READ)
    with refused("wrong-state"):
        log.commit(use, signed)


def test_of_two_who_use_one_ceremony_at_once_one_does(cast, refused):
    cast.signing("ada")
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    answer = cast.sign("ada", ceremony)
    both = [ceremonies.finish(cast.ada, ceremony.id, answer, typ=signing.READ) for _ in range(2)]
    used, late = log.run_batch([(use, signed) for signed in both])

    assert used is None and isinstance(late, Refused) and late.code == "wrong-state"
    with refused("wrong-state"):
        ceremonies.finish(cast.ada, ceremony.id, answer, typ=signing.READ)


def test_a_use_that_is_rolled_back_can_be_tried_again(cast):
    cast.signing("ada")
    signed = cast.signed("ada", read_statement(cast))

    def fails(writer, signed) -> None:
        ceremonies.use(writer, signed)
        raise Refused("conflict", "Something else was wrong.")

    with pytest.raises(Refused):
        log.commit(fails, signed)
    log.commit(use, signed)


def test_a_key_that_is_revoked_meanwhile_does_not_count(cast, refused):
    key = cast.signing("ada")
    signed = cast.signed("ada", read_statement(cast))
    open_one = ceremonies.open(cast.ada, read_statement(cast))
    log.commit(revoke_person_key.apply, revoke_person_key.Command(key.fingerprint, "lost", by=cast.ada))
    with refused("key-revoked"):
        log.commit(use, signed)
    with refused("invalid"):
        ceremonies.for_browser(open_one)


def test_whoever_was_switched_off_meanwhile_signs_nothing(bare_cast, refused):
    cast = bare_cast
    cast.signing("rui")
    signed = cast.signed("rui", read_statement(cast, "rui"))
    log.commit(change_person.apply, change_person.Command(cast.people["rui"], active=False, by=cast.ada, reason="x"))
    with refused("not-allowed"):
        log.commit(use, signed)


def test_a_key_that_nobody_vouched_for_signs_nothing(cast, refused):
    cast.signing("ada")
    key = cast.enrolled("rui")
    ceremony = ceremonies.open(
        cast.people["rui"],
        read_statement(cast, "ada") | {"person": cast.people["rui"].id, "credential": key.fingerprint},
    )
    answer = cast.passkeys[key.credential].sign(signing.challenge(signing.READ, bytes(ceremony.statement)))
    with refused("invalid"):
        ceremonies.for_browser(ceremony)
    with refused("not-allowed"):
        ceremonies.finish(cast.people["rui"], ceremony.id, answer, typ=signing.READ)


def test_a_passkey_for_signing_in_signs_no_decision(cast, refused):
    from allauth.mfa.models import Authenticator

    cast.signing("ada")
    login = SoftAuthenticator()
    Authenticator.objects.create(
        user=cast.ada.user,
        type=Authenticator.Type.WEBAUTHN,
        data={"name": "login", "credential": {"id": b64u(login.credential)}},
    )
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    challenge = signing.challenge(signing.READ, bytes(ceremony.statement))
    with refused("signature"):
        ceremonies.finish(cast.ada, ceremony.id, login.sign(challenge), typ=signing.READ)
    with pytest.raises(Refused, match="signing in signs nothing else"):
        signing_keys.prove(cast.ada, signing.READ, bytes(ceremony.statement), login.evidence(signing.READ, b""))


def test_an_ssh_signature_counts_for_its_purpose_alone(cast, refused):
    key = cast.ssh_signing("ada")
    ceremony = ceremonies.open(cast.ada, read_statement(cast, credential=key.fingerprint))
    raw, pair = bytes(ceremony.statement), cast.ssh_keys[key.fingerprint]
    with refused("invalid"):
        ceremonies.for_browser(ceremony)
    wrong = {
        "another purpose": sshsig.sign(pair, raw, "imprimatur-decision-v1"),
        "other bytes": sshsig.sign(pair, raw + b"\n", "imprimatur-read-v1"),
        "another key": sshsig.sign(cast.ssh["ada"].pair, raw, "imprimatur-read-v1"),
        "no signature": "BEGIN",
    }
    for armored in wrong.values():
        with refused("signature"):
            ceremonies.finish_ssh(cast.ada, ceremony.id, armored, typ=signing.READ)
    signed = ceremonies.finish_ssh(cast.ada, ceremony.id, cast.sign_ssh("ada", ceremony), typ=signing.READ)

    assert (signed.key, signed.assurance, signed.device_bound) == (key.fingerprint, "H2", False)
    assert signed.entry["evidence"]["kind"] == "ssh" and signed.entry["statement"].encode() == raw
    log.commit(use, signed)


def test_a_key_for_delegations_signs_nothing_else(cast, refused):
    key = PersonKey.objects.get(person=cast.ada)
    said = {
        "typ": signing.READ,
        **ceremonies.common(cast.ada, credential=key.fingerprint),
        "request": "act_" + "0" * 26,
    }
    ceremony = ceremonies.open(cast.ada, said)
    armored = sshsig.sign(cast.ssh["ada"].pair, bytes(ceremony.statement), "imprimatur-read-v1")
    with refused("not-allowed"):
        ceremonies.finish_ssh(cast.ada, ceremony.id, armored, typ=signing.READ)


def test_a_counter_that_runs_backwards_warns_and_locks_nobody_out(cast, caplog):
    key = cast.signing("ada")
    soft = cast.passkeys[key.credential]
    PersonKey.objects.filter(pk=key.pk).update(sign_count=1000)
    with caplog.at_level(logging.WARNING, logger="governance.ceremonies"):
        log.commit(use, cast.signed("ada", read_statement(cast)))

    key.refresh_from_db()
    assert "went from 1000 to" in caplog.text and soft.sign_count < 1000
    assert key.sign_count == 1000 and key.last_used_at is not None


def test_a_click_is_h0_and_has_no_ceremony(cast, refused):
    common = ceremonies.common(cast.ada, credential=None)
    digest = "sha256:" + "0" * 64
    said = {
        **{name: value for name, value in common.items() if name != "person"},
        "typ": statement.TYP,
        "reviewer": cast.ada.id,
        "request": "act_" + "0" * 26,
        "version": 1,
        "agent": cast.robo.id,
        "decision": "deny",
        "stage": 0,
        "role": "reviewer",
        "risk": "HIGH",
        "reversibility": "reversible",
        **dict.fromkeys(("action_digest", "display_digest", "delegation", "policy"), digest),
    }
    signed = ceremonies.session(cast.ada, said)

    assert (signed.assurance, signed.key, signed.ceremony) == ("H0", None, None)
    with refused("not-allowed"):
        ceremonies.session(cast.people["rui"], said)


def test_old_ceremonies_are_forgotten(cast):
    cast.signing("ada")
    ceremony = ceremonies.open(cast.ada, read_statement(cast))
    Ceremony.objects.filter(pk=ceremony.pk).update(expires_at=log.utc_now() - timedelta(hours=2))
    ceremonies.open(cast.ada, read_statement(cast))

    assert not Ceremony.objects.filter(pk=ceremony.pk).exists()


# --- root delegations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_a_root_delegation_signed_by_passkey_stands_until_its_key_is_revoked(cast, refused, alg):
    from governance import standing

    key = cast.signing("ada", alg)
    document = cast.document("ada", "robo")
    signed = cast.signed("ada", document, kept={"key": key.fingerprint})
    issued = log.commit(issue_delegation.apply, issue_delegation.signed_at_desk(signed, cast.ada))
    row = issued.delegation
    assert row.signature["kind"] == "webauthn" and standing.fault([row]) is None
    again = log.commit(issue_delegation.apply, issue_delegation.signed_at_desk(signed, cast.ada))
    assert again.entry is None  # the same delegation, issued once

    log.commit(
        revoke_person_key.apply,
        revoke_person_key.Command(key.fingerprint, "stolen", since=row.issued_at, by=cast.ada, stolen=True),
    )
    row.refresh_from_db()
    fault = standing.fault([row])
    assert fault is not None and fault.code == "delegation-revoked"
    with refused("key-revoked"):
        log.commit(issue_delegation.apply, _by_passkey(cast, key))


def _by_passkey(cast, key: PersonKey, **facets: Any) -> issue_delegation.Command:
    document = cast.document("ada", "robo", **{"purpose": "another", **facets})
    proof = cast.passkeys[key.credential].evidence(delegation.TYP, canonical.dumps(document))
    return issue_delegation.Command(document, {**proof, "key": key.fingerprint}, cast.ada)


def test_a_passkey_that_nobody_vouched_for_delegates_nothing(cast, refused):
    key = cast.enrolled("ada")
    with refused("not-allowed"):
        log.commit(issue_delegation.apply, _by_passkey(cast, key))


def test_a_changed_signature_of_a_passkey_delegates_nothing(cast, refused):
    key = cast.signing("ada")
    good = _by_passkey(cast, key)
    other = _by_passkey(cast, key, purpose="something else")
    with refused("signature"):
        log.commit(issue_delegation.apply, issue_delegation.Command(good.document, other.signature, cast.ada))


def test_a_signed_delegation_key_is_registered_by_the_console_alone_once_two_hold_keys(cast, refused):
    line = SshKey(seeded("late")).line
    cast.signing("rui")
    with refused("not-allowed"):
        log.commit(add_person_key.apply, add_person_key.Command(cast.ada, line, by=cast.ada))
    added = log.commit(add_person_key.apply, add_person_key.Command(cast.ada, line))

    assert added.key.in_force and not added.key.signs_decisions
    assert keys.thumbprint(seeded("late").public_key) == added.key.thumbprint


def test_vouching_takes_a_signature_and_the_command_alone_is_not_enough(cast, refused):
    cast.signing("ada")
    key = cast.enrolled("rui")
    with refused("not-allowed"):
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, cast.ada))
