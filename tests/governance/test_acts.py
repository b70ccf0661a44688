"""What takes authority away works by a click; whoever likes signs it, and then the log holds exactly what they signed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from audit import signer
from audit.log import commit, utc_now
from audit.models import Entry
from audit.selectors import payload_of
from governance import acts, ceremonies
from governance.actions import lift_pause, revoke_delegation, revoke_key, set_pause, suspend_agent
from governance.ceremonies import Signed
from governance.models import AgentKey, Pause
from imprimatur.verify.history import History
from tests.conftest import REALM, World


@pytest.fixture
def keyed(world: World) -> Iterator[World]:
    """Ada and Rui hold keys; afterwards the verifier goes through the whole log."""
    world.signing("ada")
    world.signing("rui")
    yield world
    history = History(REALM, [signer.decision_key().public_key])
    for row in Entry.objects.order_by("index"):
        history.feed(row.index, bytes(row.envelope))


def sign(world: World, who: str, act: str, subject: str, content: dict[str, Any]) -> Signed:
    key = world.key_of(who).fingerprint
    said = acts.fields(act, subject, content)
    return world.signed(who, {**said, **ceremonies.common(world.people[who], credential=key)})


def cases(world: World) -> dict[str, tuple[str, str, dict[str, Any], Callable[[Signed | None], object]]]:
    robo, tool = world.robo, {"scope": Pause.TOOL, "target": "read_file", "reason": "odd"}
    delegation, key = world.delegation, AgentKey.objects.get(agent=robo)
    assert delegation is not None
    since = utc_now()
    return {
        "pause": ("pause.set", "read_file", tool, lambda signed: commit(
            set_pause.apply, set_pause.Command(Pause.TOOL, "read_file", "odd", world.ada, signed))),
        "everything": ("pause.set", "everything", {"scope": "everything", "target": "", "reason": "odd"}, lambda signed: commit(
            set_pause.apply, set_pause.Command(Pause.EVERYTHING, "", "odd", world.ada, signed))),
        "suspend": ("agent.suspended", robo.id, {"agent": robo.id, "reason": "odd"}, lambda signed: commit(
            suspend_agent.apply, suspend_agent.Command(robo, "odd", world.ada, signed))),
        "delegation": ("delegation.revoked", delegation.id, {"delegation": delegation.id, "reason": "odd"}, lambda signed: commit(
            revoke_delegation.apply, revoke_delegation.Command(delegation.id, world.ada, "odd", signed))),
        "key": ("agent.key_revoked", robo.id, revoke_key.chosen(key, "odd", since), lambda signed: commit(
            revoke_key.apply, revoke_key.Command(key.thumbprint, "odd", since, world.ada, signed))),
    }  # fmt: skip


NAMES = ["pause", "everything", "suspend", "delegation", "key"]


@pytest.mark.parametrize("name", NAMES)
def test_a_signed_act_names_its_key_and_an_unsigned_one_works_as_well(keyed, name):
    act, subject, content, do = cases(keyed)[name]
    do(sign(keyed, "ada", act, subject, content))
    entry = payload_of(Entry.objects.filter(kind=act).latest("index"))
    assert entry["actor"]["key"] == keyed.key_of("ada").fingerprint
    assert entry["actor"]["assurance"] == "H2"
    assert "signed" in entry["body"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lie", ["content", "subject", "act"])
def test_invariant_12_a_signature_for_another_act_does_nothing_here(keyed, refused, name, lie):
    act, subject, content, do = cases(keyed)[name]
    said = {"act": act, "subject": subject, "content": content}
    said[lie] = {"content": {**content, "reason": "fine"}, "subject": "another", "act": "grant.revoked"}[lie]
    size = Entry.objects.count()
    with refused("wrong-state"):
        do(sign(keyed, "ada", **said))
    assert Entry.objects.count() == size


def test_a_pause_is_lifted_with_a_signature_that_counts_once(keyed, refused):
    said = {"scope": Pause.TOOL, "target": "read_file", "reason": "odd"}
    on = sign(keyed, "ada", "pause.set", "read_file", said)
    commit(set_pause.apply, set_pause.Command(Pause.TOOL, "read_file", "odd", keyed.ada, on))
    off = sign(keyed, "ada", "pause.lifted", "read_file", said)
    commit(lift_pause.apply, lift_pause.Command(Pause.TOOL, "read_file", "odd", keyed.ada, off))
    with refused("wrong-state"):
        commit(set_pause.apply, set_pause.Command(Pause.TOOL, "read_file", "odd", keyed.ada, on))


def test_nobody_acts_with_the_signature_of_somebody_else(keyed, refused):
    act, subject, content, _ = cases(keyed)["suspend"]
    with refused("wrong-state"):
        signed = sign(keyed, "rui", act, subject, content)
        commit(suspend_agent.apply, suspend_agent.Command(keyed.robo, "odd", keyed.ada, signed))
