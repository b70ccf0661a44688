"""A policy that asks for keys is held against the keys that people have, when it is activated."""

from __future__ import annotations

from typing import Any

import pytest

from audit.log import commit
from governance import people, policies
from governance.actions import activate_policy, revoke_person_key
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY
from tests.governance import proposals

SIGNED = {**DEMO_POLICY, "name": "Signed", "assurance": "H2"}


def activate(world: Any, document: dict[str, Any]) -> activate_policy.Result:
    return commit(activate_policy.apply, activate_policy.Command(document, world.ada))


def test_asking_for_keys_that_nobody_holds_is_refused_while_people_can_still_answer(world, refused):
    with refused("invalid"):
        activate(world, SIGNED)
    assert policies.active().compiled.assurance == "H0"


def test_the_first_policy_may_ask_for_keys_that_come_later_and_so_may_the_next(make_world):
    world = make_world(DEFAULT_POLICY)
    done = activate(world, {**DEFAULT_POLICY, "name": "Next"})
    assert done.entry is not None
    assert any("signing key" in warning for warning in done.warnings)


def test_once_enough_people_hold_keys_it_comes_into_force_by_two(world):
    world.signing("rui")
    world.signing("rosa")
    proposals.second(world, "rui", proposals.propose(world, "ada", proposals.policy(SIGNED)))
    assert policies.active().compiled.assurance == "H2"


def test_a_key_that_may_be_copied_does_not_fill_a_seat_that_asks_for_one_that_may_not(world, refused):
    world.signing("rui")
    world.signing("rosa", "ES256", device_bound=False)
    bound = {**SIGNED, "device_bound": ["CRITICAL"]}
    with pytest.raises(Exception, match="device-bound"):
        proposals.propose(world, "ada", proposals.policy(bound))
    proposals.propose(world, "ada", proposals.policy({**SIGNED, "device_bound": []}))


def test_only_signing_keys_in_force_are_counted(world):
    def keys() -> dict[str, set[str]]:
        return {each.name: set(each.keys) for each in people.candidates()}

    assert keys()["Ada Brandt"] == set()  # the key that was registered for delegations signs no answers
    waiting = world.enrolled("ada")
    assert keys()["Ada Brandt"] == set()
    world.vouch(waiting)
    assert keys()["Ada Brandt"] == {waiting.fingerprint}
    commit(revoke_person_key.apply, revoke_person_key.Command(waiting.fingerprint, "lost", None, world.ada))
    assert keys()["Ada Brandt"] == set()
