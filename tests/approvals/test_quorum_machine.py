"""Whatever several people with several keys do, in whatever order: nothing is approved by too few of them.

The machine signs, keeps signatures for later, sends them twice, takes answers back, loses keys and roles, comes and
goes, and changes the policy, all through the real actions. It knows nothing of how the server counts: from the log it
reads who approved, and asks of each approval what an auditor would. At the end the verifier reads the whole history.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from approvals import statements
from approvals.actions import cast_vote, recall_vote
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from audit.models import Entry
from audit.selectors import payload_of
from governance.actions import change_person, revoke_person_key
from governance.errors import Refused
from governance.models import Person, PersonKey
from imprimatur.formats import statement
from imprimatur.rules.policy import DEFAULT_POLICY
from imprimatur.verify.history import History
from tests.conftest import World
from tests.desk.requests import DELETE, PAY, ask
from tests.governance import proposals

STAGES = {
    **DEFAULT_POLICY,
    "rules": [
        {
            "name": "three-for-deleting",
            "tool": "delete_file",
            "risk": "HIGH",
            "stages": [{"role": "reviewer", "count": 2}, {"role": "admin", "count": 1}],
        },
        *DEFAULT_POLICY["rules"],
    ],
}
STRICTER = {**STAGES, "device_bound": ["CRITICAL"]}
WISHES = {"delete": DELETE, "pay": PAY}
PEOPLE = ("ada", "rui", "rosa", "audra", "mallory")
ROLES: dict[str, tuple[str, ...]] = {
    "ada": ("admin", "reviewer"),  # and owns the agent
    "rui": ("reviewer",),
    "rosa": ("reviewer",),
    "audra": ("reviewer", "auditor"),
    "mallory": ("admin", "reviewer"),
}


ORDERS = st.permutations(PEOPLE)


@dataclass
class Kept:
    """Something that was signed, to be sent now, later, or twice."""

    who: str
    request: str
    decision: str
    said: statements.Said


class Quorum(RuleBasedStateMachine):
    """One installation; every run of it is rolled back."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic._from_testcase = True  # type: ignore[attr-defined]  # the writer's own transaction nests in it
        self.atomic.__enter__()
        self.requests: list[str] = []
        self.kept: list[Kept] = []
        self.approved: set[str] = set()

    def teardown(self) -> None:
        try:
            self.replay()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    def replay(self) -> None:
        history = History(self.world.realm)
        for entry in Entry.objects.order_by("index"):
            history.feed(entry.index, bytes(entry.envelope))

    # --- what people do -----------------------------------------------------------------------------------------------

    @initialize(orders=st.tuples(ORDERS, ORDERS), most=st.tuples(st.integers(0, 3), st.integers(0, 2)))
    def begin(self, orders: tuple[list[str], list[str]], most: tuple[int, int]) -> None:
        """One of each, with some answers already."""
        for at, wish in enumerate(WISHES.values()):
            self.requests.append(ask(self.world, *wish).id)
            self.press_on(orders[at], at, 0, most[at])

    @rule(wish=st.sampled_from(sorted(WISHES)))
    @precondition(lambda self: len(self.requests) < 4)
    def ask_again(self, wish: str) -> None:
        self.requests.append(ask(self.world, *WISHES[wish]).id)

    @rule(
        who=st.sampled_from(PEOPLE),
        at=st.integers(0, 3),
        decision=st.sampled_from(["approve", "approve", "approve", "confirm", "confirm", "deny"]),
        key=st.integers(0, 2),
        send=st.booleans(),
    )
    def sign(self, who: str, at: int, decision: str, key: int, send: bool) -> None:
        """Sign an answer with one of one's keys, and send it, or keep it."""
        made = self.signed(who, self.request(at), decision, key)
        if made is not None:
            self.kept.append(made)
            if send:
                self.send(made)

    @rule(order=ORDERS, at=st.integers(0, 3), key=st.integers(0, 2), most=st.integers(2, 5))
    def press_on(self, order: list[str], at: int, key: int, most: int) -> None:
        """Some answer what is asked, one after the other: without them hardly anything would ever be approved."""
        for who in order[:most]:
            request = self.request(at)
            decision = "confirm" if request.state == "AWAITING_CONFIRMATION" else "approve"
            made = self.signed(who, request, decision, key)
            if made is not None:
                self.send(made)

    @rule(which=st.integers(0, 30))
    @precondition(lambda self: self.kept)
    def send_what_was_kept(self, which: int) -> None:
        """Again, or at last."""
        self.send(self.kept[which % len(self.kept)])

    @rule(which=st.integers(0, 30), who=st.sampled_from(PEOPLE), at=st.integers(0, 3))
    @precondition(lambda self: self.kept)
    def send_as_something_else(self, which: int, who: str, at: int) -> None:
        """Another's signature in one's own name, or for another request."""
        made = self.kept[which % len(self.kept)]
        self.send(Kept(who, self.request(at).id, made.decision, made.said))

    @rule(who=st.sampled_from(PEOPLE), at=st.integers(0, 3), decision=st.sampled_from(["approve", "confirm", "deny"]))
    def click(self, who: str, at: int, decision: str) -> None:
        request = self.request(at)
        with contextlib.suppress(Refused):
            cast_vote.answer(
                self.person(who),
                request.id,
                version=request.version,
                decision=decision,
                reason="because" if decision == "deny" else "",
                typed=request.target,
            )
            assert decision == "deny", "a click approved something"

    @rule(who=st.sampled_from(PEOPLE), at=st.integers(0, 3))
    def take_back(self, who: str, at: int) -> None:
        with contextlib.suppress(Refused):
            commit(recall_vote.apply, recall_vote.command(self.person(who), self.request(at).id))

    # --- what happens to them -----------------------------------------------------------------------------------------

    @rule(who=st.sampled_from(PEOPLE[1:]), role=st.sampled_from(["reviewer", "admin"]))
    def lose_a_role(self, who: str, role: str) -> None:
        left = tuple(name for name in self.roles(who) if name != role)
        with contextlib.suppress(Refused):
            commit(change_person.apply, change_person.Command(self.person(who), roles=left, by=self.person("ada")))

    @rule(who=st.sampled_from(PEOPLE[1:]))
    def leave(self, who: str) -> None:
        with contextlib.suppress(Refused):
            commit(change_person.apply, change_person.Command(self.person(who), active=False, by=self.person("ada")))

    @rule(who=st.sampled_from(PEOPLE[1:]), second=st.sampled_from(PEOPLE[1:]))
    def come_back(self, who: str, second: str) -> None:
        """With the roles they began with, if two people sign that."""
        with contextlib.suppress(Refused, IndexError):
            change = proposals.person(self.person(who), roles=ROLES[who], active=True)
            proposals.second(self.world, second, proposals.propose(self.world, "ada", change))

    @rule(who=st.sampled_from(PEOPLE[1:]), key=st.integers(0, 2), ago=st.sampled_from([0, 0, 1, 3600]))
    def lose_a_key(self, who: str, key: int, ago: int) -> None:
        held = self.keys(who)
        if held:
            chosen, since = held[key % len(held)], utc_now() - timedelta(seconds=ago)
            by = self.person("ada")
            with contextlib.suppress(Refused):
                commit(
                    revoke_person_key.apply,
                    revoke_person_key.Command(chosen.fingerprint, "lost", since=since, by=by, stolen=ago > 0),
                )

    @rule(who=st.sampled_from(PEOPLE[1:]), bound=st.booleans())
    def get_a_key(self, who: str, bound: bool) -> None:
        if len(self.keys(who)) < 3:
            with contextlib.suppress(Refused, StopIteration):
                self.world.vouch(self.world.enrolled(who, "EdDSA", bound))

    @rule(document=st.sampled_from([STAGES, STRICTER, DEFAULT_POLICY]), second=st.sampled_from(PEOPLE[1:]))
    def change_the_policy(self, document: dict[str, Any], second: str) -> None:
        with contextlib.suppress(Refused, IndexError):
            proposals.second(self.world, second, proposals.propose(self.world, "ada", proposals.policy(document)))

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_approved_by_too_few(self) -> None:
        for row in ActionRequest.objects.filter(pk__in=self.requests, state="APPROVED"):
            if row.id in self.approved:
                continue
            self.approved.add(row.id)
            event(f"approved: {row.tool}")
            self.audit(row)

    def audit(self, row: ActionRequest) -> None:
        """An approval just happened: look at it with the log and the people as they are at this moment."""
        decision = payload_of(Entry.objects.get(index=row.decided_index or 0))
        votes = [payload_of(Entry.objects.get(pk=index)) for index in decision["body"]["votes"]]
        needed = [(number, one) for number, one in enumerate(row.stages) for _ in range(one["count"])]
        people = [vote["actor"]["id"] for vote in votes]
        keys = [vote["actor"]["key"] for vote in votes]
        assert len(set(people)) == len(people) == len(needed), "as many people as were needed, each once"
        assert len(set(keys)) == len(keys), "and each with a key of their own"
        assert self.world.ada.id not in people, "the agent's owner is none of them"
        given = sorted(statement.parse(vote["body"]["statement"].encode())["stage"] for vote in votes)
        assert given == [number for number, _ in needed]
        for vote in votes:
            stated = statement.parse(vote["body"]["statement"].encode())
            stage = row.stages[stated["stage"]]
            person = Person.objects.get(pk=vote["actor"]["id"])
            key = PersonKey.objects.get(pk=vote["actor"]["key"])
            assert person.user.is_active
            assert stage["role"] in set(person.user.groups.values_list("name", flat=True))
            assert (stated["decision"], stated["request"]) == (stage["kind"], row.id)
            assert key.person_id == person.pk
            assert key.signs_decisions
            assert vote["actor"]["assurance"] >= "H2"
            assert key.device_bound or not row.device_bound

    # --- hands --------------------------------------------------------------------------------------------------------

    def request(self, at: int) -> ActionRequest:
        return ActionRequest.objects.get(pk=self.requests[at % len(self.requests)])

    def person(self, who: str) -> Person:
        return Person.objects.select_related("user").get(pk=self.world.people[who].pk)

    def roles(self, who: str) -> list[str]:
        return list(self.person(who).user.groups.values_list("name", flat=True))

    def keys(self, who: str) -> list[PersonKey]:
        return [key for key in self.person(who).keys.order_by("added_at", "pk") if key.signs_decisions]

    def signed(self, who: str, request: ActionRequest, decision: str, key: int) -> Kept | None:
        held, person = self.keys(who), self.person(who)
        if not held:
            return None
        chosen = held[key % len(held)]
        draft = statements.draft(request, person, decision, reason="because", credential=chosen.fingerprint)
        ceremony = statements.open_ceremony(person, draft)
        if chosen.kind == PersonKey.SSH:
            said = statements.by_ssh(person, ceremony.id, self.world.sign_ssh(who, ceremony))
        else:
            said = statements.by_passkey(person, ceremony.id, json.dumps(self.world.sign(who, ceremony)))
        return Kept(who, request.id, decision, said)

    def send(self, made: Kept) -> None:
        request = ActionRequest.objects.get(pk=made.request)
        person = self.person(made.who)
        with contextlib.suppress(Refused):
            commit(
                cast_vote.apply,
                cast_vote.Command(person.id, request.id, made.decision, made.said, typed=request.target),
            )


@pytest.fixture
def world(make_world: Callable[..., World]) -> Iterator[World]:
    """Four who may answer, one who owns the agent; two keys each for two of them."""
    world = make_world(STAGES)
    for who in ("ada", "audra", "mallory"):
        roles = ROLES[who]
        commit(change_person.apply, change_person.Command(world.people[who], roles=roles, by=world.ada))
    for who in PEOPLE:
        world.signing(who, "EdDSA", who != "rosa")
    world.vouch(world.enrolled_ssh("rui"))
    world.vouch(world.enrolled("mallory", "EdDSA"))
    yield world


def test_invariant_3_nobody_reaches_an_approval_with_too_few_people_or_keys(world: World) -> None:
    class Here(Quorum):
        pass

    Here.world = world
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def answer(world: World, machine: Quorum, who: str, request: ActionRequest, decision: str = "approve") -> str:
    request.refresh_from_db()
    made = machine.signed(who, request, decision, 0)
    assert made is not None
    done = commit(
        cast_vote.apply,
        cast_vote.Command(world.people[who].id, request.id, decision, made.said, typed=request.target),
    )
    return done.request.state


@pytest.fixture
def machine(world: World) -> Iterator[Quorum]:
    class Here(Quorum):
        pass

    Here.world = world
    here = Here()
    yield here
    here.teardown()


def test_invariant_3_two_reviewers_and_an_admin_approve_and_the_order_is_theirs(world: World, machine: Quorum) -> None:
    request = ask(world, *DELETE)
    assert [(stage["role"], stage["count"]) for stage in request.stages] == [("reviewer", 2), ("admin", 1)]
    assert answer(world, machine, "rui", request) == "PENDING"
    with pytest.raises(Refused, match="counts already"):
        answer(world, machine, "rui", request)
    assert answer(world, machine, "rosa", request) == "PENDING"
    with pytest.raises(Refused, match="role admin"):
        answer(world, machine, "audra", request)
    with pytest.raises(Refused, match="You own robo"):
        answer(world, machine, "ada", request)
    assert answer(world, machine, "mallory", request) == "APPROVED"
    request.refresh_from_db()
    machine.audit(request)


def test_invariant_3_an_admin_who_answered_as_a_reviewer_is_not_counted_as_the_admin(
    world: World, machine: Quorum
) -> None:
    request = ask(world, *DELETE)
    assert answer(world, machine, "mallory", request) == "PENDING"
    assert answer(world, machine, "rui", request) == "PENDING"
    with pytest.raises(Refused, match="counts already"):
        answer(world, machine, "mallory", request)
