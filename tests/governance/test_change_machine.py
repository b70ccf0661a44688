"""However people come, go and sign: once two hold keys, nothing widens by fewer than two people and two keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from audit import signer
from audit.log import commit, utc_now
from audit.models import Entry
from audit.selectors import payload_of
from governance import signing_keys
from governance.actions import (
    activate_policy,
    add_person,
    change_person,
    put_in_force,
    register_tool,
    retire_tool,
    revoke_person_key,
    withdraw_change,
)
from governance.errors import Refused
from governance.models import Change, Person
from imprimatur.formats import signing
from imprimatur.rules.administration import takes_two
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.verify.history import History
from tests.conftest import REALM, World
from tests.governance import proposals

LOGINS = ("ada", "mallory", "rui", "rosa")
WHO = st.sampled_from(LOGINS)


class Administration(RuleBasedStateMachine):
    """People who propose, second, withdraw, leave and lose keys, in any order. The world is rolled back after each."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.point = transaction.savepoint()
        self.start = Entry.objects.count()
        self.made = 0
        self.roles = {person.pk: frozenset(_roles(person)) for person in Person.objects.all()}

    def teardown(self) -> None:
        try:
            # The verifier knows nothing of our tables: it counts people and keys from the entries alone.
            history = History(REALM, [signer.decision_key().public_key])
            for row in Entry.objects.order_by("index"):
                history.feed(row.index, bytes(row.envelope))
        finally:
            transaction.savepoint_rollback(self.point)

    @rule(who=WHO, subject=WHO, act=st.sampled_from(["policy", "tool", "roles", "on", "newcomer"]), hold=st.booleans())
    def propose(self, who: str, subject: str, act: str, hold: bool) -> None:
        person = self.world.people[subject]

        def wanted() -> object:
            if act == "policy":
                draft = proposals.policy(self._policy(), hold=hold)
            elif act == "tool":
                draft = proposals.tool(self._tool(), hold=hold)
            elif act == "newcomer":
                self.made += 1
                draft = proposals.newcomer(f"n{self.made}", "reviewer", hold=hold)
            else:
                fields = {"roles": ("admin", "reviewer")} if act == "roles" else {"active": True}
                draft = proposals.person(person, **fields)
            return proposals.propose(self.world, who, draft)

        self._try(who, wanted)

    @rule(who=WHO, which=st.integers(0, 5))
    def second(self, who: str, which: int) -> None:
        change = self._change(which)
        if change is not None:
            self._try(who, lambda: proposals.second(self.world, who, change))

    @rule(who=WHO, which=st.integers(0, 5), what=st.sampled_from(["force", "withdraw", "expire", "alone"]))
    def finish(self, who: str, which: int, what: str) -> None:
        change, person = self._change(which), self.world.people[who]
        if change is None:
            return
        tries: dict[str, Callable[[], object]] = {
            "force": lambda: commit(put_in_force.apply, put_in_force.Command(change.pk, person)),
            "withdraw": lambda: commit(withdraw_change.apply, withdraw_change.Command(change.pk, "no", person)),
            "expire": lambda: self._expire(change),
            "alone": lambda: commit(
                activate_policy.apply, activate_policy.Command(self._policy(), person, change=change.pk)
            ),
        }
        self._try(None, tries[what])

    @rule(who=WHO, subject=WHO, what=st.sampled_from(["policy", "tool", "roles", "on", "add", "name"]))
    def alone(self, who: str, subject: str, what: str) -> None:
        by, person = self.world.people[who], self.world.people[subject]
        tries: dict[str, Callable[[], object]] = {
            "policy": lambda: commit(activate_policy.apply, activate_policy.Command(self._policy(), by)),
            "roles": lambda: commit(
                change_person.apply, change_person.Command(person, roles=("admin", "auditor", "reviewer"), by=by)
            ),
            "tool": lambda: commit(register_tool.apply, register_tool.Command(self._tool(), by)),
            "on": lambda: commit(change_person.apply, change_person.Command(person, active=True, by=by)),
            "add": lambda: commit(add_person.apply, add_person.new("puppet", ("reviewer",), by=by)[0]),
            "name": lambda: commit(change_person.apply, change_person.Command(person, name="Ada Brandt ", by=by)),
        }
        self._try(None, tries[what])

    @rule(who=WHO, subject=WHO, what=st.sampled_from(["off", "roles", "key", "tool"]))
    def take_away(self, who: str, subject: str, what: str) -> None:
        by, person = self.world.people[who], self.world.people[subject]

        def key() -> object:
            held = signing_keys.keys_of(person)
            command = revoke_person_key.Command(held[0].fingerprint, "lost", None, by) if held else None
            return commit(revoke_person_key.apply, command) if command is not None else None

        tries: dict[str, Callable[[], object]] = {
            "off": lambda: commit(change_person.apply, change_person.Command(person, active=False, by=by)),
            "roles": lambda: commit(change_person.apply, change_person.Command(person, roles=(), by=by)),
            "key": key,
            "tool": lambda: commit(retire_tool.apply, retire_tool.Command("read_file", "unused", by)),
        }
        self._try(None, tries[what])

    @invariant()
    def nothing_widens_without_two_people_and_two_keys(self) -> None:
        for row in Entry.objects.filter(index__gte=self.start).order_by("index"):
            entry: dict[str, Any] = payload_of(row)
            body, kind = entry["body"], entry["kind"]
            if kind in signing.CHANGES:
                if takes_two(kind, body, self.roles.get(body.get("person", ""), frozenset())):
                    change = Change.objects.get(pk=body["change"])
                    keys = change.kept["keys"]
                    assert change.state == Change.DONE
                    assert change.seconded_by_id not in (None, change.proposed_by_id)
                    assert keys["propose"] != keys["second"]
                if "roles" in body:
                    self.roles[body["person"]] = frozenset(body["roles"])
            self.start = row.index + 1

    def _try(self, signer_login: str | None, attempt: Callable[[], object]) -> None:
        if signer_login is not None and not signing_keys.may_sign(self.world.people[signer_login]):
            return
        try:
            attempt()
        except Refused:
            return

    def _change(self, which: int) -> Change | None:
        rows = list(Change.objects.order_by("-proposed_at", "-pk")[: which + 1])
        return rows[-1] if rows else None

    def _policy(self) -> dict[str, Any]:
        self.made += 1
        return {**DEMO_POLICY, "name": f"Policy {self.made}"}

    def _tool(self) -> dict[str, Any]:
        self.made += 1
        return {**DEFAULT_TOOLS["read_file"], "title": f"Read {self.made}"}

    def _expire(self, change: Change) -> None:
        Change.objects.filter(pk=change.pk).update(expires_at=utc_now() - timedelta(seconds=1))
        withdraw_change.expire(utc_now())


def _roles(person: Person) -> list[str]:
    return list(person.user.groups.values_list("name", flat=True))


def test_invariant_3_no_sequence_of_changes_widens_with_too_few(world: World) -> None:
    commit(change_person.apply, change_person.Command(world.people["mallory"], roles=("admin",), by=world.ada))
    for login in LOGINS:
        world.signing(login)
    Administration.world = world
    slow = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Administration, settings=slow)
