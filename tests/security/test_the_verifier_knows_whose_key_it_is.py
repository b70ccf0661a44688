"""Whoever registers a key can sign with it, so the verifier asks who did, whatever the server let through."""

from __future__ import annotations

import pytest

from imprimatur.verify import rulebook
from imprimatur.verify.history import BrokenRule, History
from tests.verify import builder
from tests.verify.builder import ADA, CONSOLE, DECISION_KEY, REALM, RUI, Log, by, key, standing


def read(log: Log) -> History:
    history = History(realm=REALM, decision_keys=[DECISION_KEY.public_key])
    for index, envelope in enumerate(log.envelopes):
        history.feed(index, envelope)
    return history


def test_invariant_4_the_verifier_refuses_a_key_that_one_admin_registered_for_another() -> None:
    log, _ = standing()
    assert {"admin"} <= set(next(one["roles"] for one in builder.PEOPLE if one["person"] == RUI))
    log.person_key(RUI, key("planted"), by(ADA))
    with pytest.raises(BrokenRule) as broken:
        read(log)
    assert broken.value.rule == rulebook.ACTOR


@pytest.mark.parametrize("actor", [by(RUI), CONSOLE])
def test_while_few_hold_keys_the_verifier_takes_one_from_its_owner_and_from_the_console(actor: dict[str, str]) -> None:
    log = Log().begun()
    log.person_key(RUI, key("planted"), actor)
    assert read(log).size == len(log.envelopes)


def test_once_two_people_hold_signing_keys_only_the_console_registers_one_without_enrolment() -> None:
    log, _ = standing()
    log.person_key(RUI, key("planted"), CONSOLE)
    assert read(log).size == len(log.envelopes)
    log.person_key(RUI, key("another"), by(RUI))
    with pytest.raises(BrokenRule) as broken:
        read(log)
    assert broken.value.rule == rulebook.ACTOR
