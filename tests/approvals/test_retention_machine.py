"""Whatever is asked, answered, held, lifted and erased, in whatever order: rule 42 holds, and the notary takes the log.

The machine goes through the real actions and keeps a model of its own: which requests have ended, what is held, what
was erased. After each step the rows are held against it; at the end the verifier reads the whole history.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from approvals.actions import add_comment, cast_vote, redeem_approval, report_outcome
from approvals.models import ActionRequest
from audit import retention
from audit.actions import erase_openings, lift_hold, place_hold
from audit.admins import Admin
from audit.errors import Declined
from audit.log import commit, utc_now
from audit.models import Entry, Hold, Opening
from imprimatur.formats.entries import attempt_digest
from imprimatur.verify.history import History
from tests.conftest import World
from tests.desk.requests import ask

PICK = st.integers(0, 50)
SCOPES = st.sampled_from(["request", "agent", "everything"])


class Machine(RuleBasedStateMachine):
    """One installation; every run of it is rolled back."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic._from_testcase = True  # type: ignore[attr-defined]  # the writer's own transaction nests in it
        self.atomic.__enter__()
        self.admin = Admin(self.world.ada.user.pk, self.world.ada.id)
        self.requests: list[str] = []
        self.ended: set[str] = set()
        self.holds: dict[str, tuple[str, str]] = {}
        self.spoken: dict[str, datetime] = {}  # when each request was last spoken of
        self.erased: dict[str, set[str]] = {}  # commitments that must stay erased

    def teardown(self) -> None:
        try:
            history = History(self.world.realm)
            for row in Entry.objects.order_by("index"):
                history.feed(row.index, bytes(row.envelope))
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    def speak_of(self, request: str) -> None:
        newest = Entry.objects.order_by("-index")[0]
        assert newest.subject == request
        self.spoken[request] = newest.time

    def pick(self, number: int) -> ActionRequest:
        return ActionRequest.objects.get(pk=self.requests[number % len(self.requests)])

    def held(self, request: str) -> bool:
        covers = {("request", request), ("agent", self.world.robo.id), ("everything", "")}
        return bool(covers & set(self.holds.values()))

    def words(self, request: str) -> set[str]:
        return set(Opening.objects.filter(subject=request, value__isnull=False).values_list("commitment", flat=True))

    def expect(self, request: str, before: set[str], *, gone: bool) -> None:
        if gone:
            assert self.words(request) == set()
            self.erased.setdefault(request, set()).update(before)
        else:
            assert self.words(request) == before

    @precondition(lambda self: len(self.requests) < 5)
    @rule()
    def asks(self) -> None:
        row = ask(self.world)
        self.requests.append(row.id)
        self.speak_of(row.id)

    @precondition(lambda self: self.requests)
    @rule(number=PICK, decision=st.sampled_from(["deny", "approve"]))
    def answers(self, number: int, decision: str) -> None:
        row = self.pick(number)
        if row.state != "PENDING":
            return
        command = cast_vote.clicked(self.world.rui, row, version=row.version, decision=decision, reason="because")
        commit(cast_vote.apply, command)
        self.speak_of(row.id)
        if decision == "deny":
            self.ended.add(row.id)

    @precondition(lambda self: self.requests)
    @rule(number=PICK)
    def runs(self, number: int) -> None:
        row = self.pick(number)
        key = self.world.keys["robo"].thumbprint
        if row.state == "APPROVED":
            digest = attempt_digest("a" * 22)
            commit(
                redeem_approval.apply,
                redeem_approval.Command(row.id, self.world.robo.id, key, row.action_digest, digest),
            )
        elif row.state == "REDEEMED":
            commit(report_outcome.apply, report_outcome.Command(row.id, "SUCCEEDED", self.world.robo.id, key))
            self.ended.add(row.id)
        else:
            return
        self.speak_of(row.id)

    @precondition(lambda self: self.requests)
    @rule(number=PICK)
    def comments(self, number: int) -> None:
        row = self.pick(number)
        commit(add_comment.apply, add_comment.command(row.id, "a word", person=self.world.rui))
        self.speak_of(row.id)

    @precondition(lambda self: self.requests)
    @rule(scope=SCOPES, number=PICK)
    def holds_it(self, scope: str, number: int) -> None:
        target = {"request": self.pick(number).id, "agent": self.world.robo.id}.get(scope, "")
        command = place_hold.Command(self.admin, scope, target, "case")
        if (scope, target) in self.holds.values():
            with pytest.raises(Declined):
                commit(place_hold.apply, command)
            return
        self.holds[commit(place_hold.apply, command).id] = (scope, target)

    @precondition(lambda self: self.holds)
    @rule(number=PICK)
    def lifts(self, number: int) -> None:
        hold = sorted(self.holds)[number % len(self.holds)]
        commit(lift_hold.apply, lift_hold.Command(self.admin, hold, "closed"))
        del self.holds[hold]

    @precondition(lambda self: self.requests)
    @rule(number=PICK)
    def somebody_wishes(self, number: int) -> None:
        request = self.pick(number).id
        before = self.words(request)
        may = request in self.ended and not self.held(request) and bool(before)
        command = erase_openings.Command((request,), "asked", by=self.admin)
        if may:
            [erasure] = commit(erase_openings.apply, command)
            assert (erasure.count, erasure.subjects) == (len(before), {request})
        else:
            with pytest.raises(Declined):
                commit(erase_openings.apply, command)
        self.expect(request, before, gone=may)

    @precondition(lambda self: self.requests)
    @rule(number=PICK, later=st.integers(0, 1))
    def the_rule_is_carried_out(self, number: int, later: int) -> None:
        # At the very moment that something was last said, and a millisecond after it.
        moments = sorted(self.spoken.values())
        before = min(moments[number % len(moments)] + timedelta(milliseconds=later), utc_now())
        words = {request: self.words(request) for request in self.requests}
        gone = {
            request
            for request in self.requests
            if words[request] and request in self.ended and not self.held(request) and self.spoken[request] < before
        }
        done = commit(erase_openings.apply, erase_openings.Command(tuple(self.requests), "old", before=before))
        assert {name for erasure in done for name in erasure.subjects} == gone
        for request in self.requests:
            self.expect(request, words[request], gone=request in gone)

    @invariant()
    def what_is_erased_stays_erased(self) -> None:
        for commitments in self.erased.values():
            rows = Opening.objects.filter(pk__in=commitments)
            assert rows.count() == len(commitments)
            assert not rows.exclude(value=None, key=b"").exists()
        standing = {(hold.scope, hold.target) for hold in Hold.objects.filter(lifted_at=None)}
        assert standing == set(self.holds.values())
        told = sum(retention.read(row).count for row in Entry.objects.filter(kind=retention.ERASED))
        assert told == sum(len(commitments) for commitments in self.erased.values())


def test_in_any_order_nothing_held_or_alive_is_erased(world: World) -> None:
    class Here(Machine):
        pass

    Here.world = world
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
