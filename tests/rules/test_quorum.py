from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from imprimatur.rules.quorum import (
    Candidate,
    CastVote,
    Circumstances,
    QuorumError,
    Stage,
    Tally,
    ineligible,
    satisfiable,
    stages_for,
    tally,
    vote_event,
)
from imprimatur.rules.risk import Risk
from imprimatur.rules.states import WrongState, next_state

HIGH = stages_for(Risk.HIGH)
CRITICAL = stages_for(Risk.CRITICAL)
ADA = Candidate("p_ada", {"reviewer"}, True, True, {"k_ada"}, name="Ada")
BO = Candidate("p_bo", {"reviewer"}, True, True, {"k_bo"}, name="Bo")
CLEA = Candidate("p_clea", {"reviewer", "admin"}, True, True, {"k_clea"}, name="Clea")
FREE = Circumstances(risk=Risk.CRITICAL, agent_name="robo")


def approve(person: str, key: str | None = None, stage: int = 0) -> CastVote:
    return CastVote(person, key, "approve", stage)


def confirm(person: str, key: str | None = None, stage: int = 1) -> CastVote:
    return CastVote(person, key, "confirm", stage)


def deny(person: str, key: str | None = None, stage: int = 0) -> CastVote:
    return CastVote(person, key, "deny", stage)


# --- stages


def test_high_is_one_approval_and_critical_one_approval_and_one_confirmation() -> None:
    assert [Stage("reviewer", 1, "approve")] == HIGH
    assert [Stage("reviewer", 1, "approve"), Stage("reviewer", 1, "confirm")] == CRITICAL
    assert stages_for(Risk.LOW) == stages_for(Risk.MEDIUM) == []


def test_a_policy_may_ask_for_more_and_never_for_less() -> None:
    two = [{"role": "admin", "count": 2}]
    assert stages_for(Risk.HIGH, two) == [Stage("admin", 2)]
    assert stages_for(Risk.CRITICAL, two) == [Stage("admin", 2), Stage("reviewer", 1, "confirm")]
    assert stages_for(Risk.HIGH, []) == HIGH
    assert stages_for(Risk.HIGH, [*CRITICAL]) == CRITICAL


@pytest.mark.parametrize(
    "stages",
    [
        [{"role": "reviewer", "count": 0}],
        [{"role": "reviewer", "count": -1}],
        [{"role": "reviewer", "count": True}],
        [{"role": "reviewer", "count": 1.0}],
        [{"role": "", "count": 1}],
        [{"count": 1}],
        [{"role": "reviewer", "count": 1, "optional": True}],
        [{"role": "reviewer", "count": 1, "kind": "timeout"}],
        [{"role": "reviewer", "count": 1, "kind": "confirm"}],
        [{"role": "a", "count": 1}, {"role": "b", "count": 1, "kind": "confirm"}, {"role": "c", "count": 1}],
        ["reviewer"],
    ],
)
def test_stages_that_would_approve_nothing_or_everything_are_refused(stages: list[object]) -> None:
    for risk in (Risk.HIGH, Risk.CRITICAL):
        with pytest.raises(QuorumError):
            stages_for(risk, stages)  # type: ignore[arg-type]  # what a document may hold


def test_stages_on_a_level_that_asks_nobody_are_refused() -> None:
    with pytest.raises(QuorumError, match="asks nobody"):
        stages_for(Risk.LOW, HIGH)


def test_invariant_3_no_stages_and_no_denials_needed_are_never_tallied() -> None:
    empty = object.__new__(Stage)
    for name, value in (("role", "reviewer"), ("count", 0), ("kind", "approve")):
        object.__setattr__(empty, name, value)
    for stages, denials in (([], 1), ([empty], 1), (list(reversed(CRITICAL)), 1), (HIGH, 0), (HIGH, True)):
        with pytest.raises(QuorumError):
            tally(stages, [approve("p_ada")], denials)


# --- tally


@pytest.mark.parametrize(
    ("stages", "votes", "outcome"),
    [
        (HIGH, [], "pending"),
        (HIGH, [approve("a", "k1")], "approved"),
        (HIGH, [approve("a")], "approved"),
        (HIGH, [confirm("a", stage=0)], "pending"),
        (HIGH, [approve("a", stage=1)], "pending"),
        (HIGH, [approve("a", stage=-1)], "pending"),
        (HIGH, [approve("")], "pending"),
        (HIGH, [approve("a", "")], "pending"),
        (HIGH, [approve("a"), deny("a", "")], "denied"),
        (HIGH, [CastVote("a", None, "APPROVE", 0)], "pending"),
        (HIGH, [CastVote("a", None, "yes", 0)], "pending"),
        (HIGH, [CastVote("a", None, "approve", False)], "pending"),
        (HIGH, [deny("a")], "denied"),
        (HIGH, [deny("a", stage=7)], "denied"),
        (HIGH, [deny("a"), approve("b")], "denied"),
        (HIGH, [approve("b"), deny("a")], "denied"),
        (CRITICAL, [approve("a", "k1")], "pending"),
        (CRITICAL, [approve("a", "k1"), confirm("b", "k2")], "approved"),
        (CRITICAL, [approve("a"), confirm("b")], "approved"),
        (CRITICAL, [approve("a"), confirm("b", "k2")], "approved"),
        (CRITICAL, [approve("a", "k1"), confirm("a", "k2")], "pending"),
        (CRITICAL, [approve("a"), confirm("a")], "pending"),
        (CRITICAL, [approve("a", "k1"), confirm("b", "k1")], "pending"),
        (CRITICAL, [approve("a", "k1"), approve("b", "k2", 1)], "pending"),
        (CRITICAL, [approve("a", "k1"), approve("b", "k2", 0)], "pending"),
        (CRITICAL, [confirm("b", "k2"), approve("a", "k1")], "pending"),
        (CRITICAL, [approve("a", "k1"), confirm("b", "k1"), confirm("b", "k2")], "approved"),
        ([Stage("r", 2)], [approve("a", "k1"), approve("a", "k2")], "pending"),
        ([Stage("r", 2)], [approve("a", "k1"), approve("b", "k1")], "pending"),
        ([Stage("r", 2)], [approve("a", "k1"), approve("b", "k2")], "approved"),
        ([Stage("r", 1), Stage("s", 1)], [approve("a"), approve("a", None, 1)], "pending"),
        ([Stage("r", 1), Stage("s", 1)], [approve("a"), approve("b", None, 1)], "approved"),
    ],
)
def test_votes_add_up(stages: list[Stage], votes: list[CastVote], outcome: str) -> None:
    assert tally(stages, votes).outcome == outcome


def test_a_tally_says_which_stage_is_open_and_what_it_needs() -> None:
    result = tally([Stage("r", 2), *CRITICAL[1:]], [approve("a", "k1")])
    assert (result.stage, result.needs) == (0, (Stage("r", 1), Stage("reviewer", 1, "confirm")))
    assert (result.people, result.keys) == ({"a"}, {"k1"})
    assert tally(HIGH, [approve("a")]) == Tally("approved", 1, (), (approve("a"),))


def test_more_denials_may_be_asked_for_and_each_person_has_one() -> None:
    assert tally(HIGH, [deny("a"), deny("a", "k2")], 2).outcome == "pending"
    assert tally(HIGH, [deny("a"), deny("b")], 2).outcome == "denied"


def test_a_single_human_counts_once_in_each_stage_and_no_more() -> None:
    assert tally(CRITICAL, [approve("a", "k1"), confirm("a", "k1")], single_human=True).outcome == "approved"
    assert tally([Stage("r", 2)], [approve("a", "k1"), approve("a", "k2")], single_human=True).outcome == "pending"


@pytest.mark.parametrize(
    ("state", "stages", "votes", "event"),
    [
        ("PENDING", HIGH, [], None),
        ("PENDING", HIGH, [approve("a")], "approve"),
        ("PENDING", HIGH, [deny("a")], "deny"),
        ("PENDING", CRITICAL, [], None),
        ("PENDING", CRITICAL, [approve("a")], "stage_met"),
        ("AWAITING_CONFIRMATION", CRITICAL, [approve("a")], None),
        ("AWAITING_CONFIRMATION", CRITICAL, [approve("a"), confirm("b")], "confirm"),
        ("AWAITING_CONFIRMATION", CRITICAL, [approve("a"), deny("b")], "deny"),
        ("PENDING", [Stage("r", 1), *CRITICAL], [approve("a")], None),
    ],
)
def test_a_tally_moves_the_state(state: str, stages: list[Stage], votes: list[CastVote], event: str | None) -> None:
    assert vote_event(state, tally(stages, votes)) == event
    if event is not None:
        next_state(state, event)


PEOPLE = st.sampled_from(["a", "b", "c", "d", ""])
KEYS = st.sampled_from([None, "k1", "k2", "k3", ""])
DECISIONS = st.sampled_from(["approve", "confirm", "deny", "abstain", "expire", "Approve", ""])
VOTES = st.builds(CastVote, PEOPLE, KEYS, DECISIONS, st.integers(-1, 3))
STAGES = st.tuples(
    st.lists(st.builds(Stage, st.sampled_from(["r", "s"]), st.integers(1, 2)), min_size=1, max_size=2),
    st.lists(st.builds(Stage, st.just("r"), st.integers(1, 2), st.just("confirm")), max_size=1),
).map(lambda parts: parts[0] + parts[1])


@given(STAGES, st.lists(VOTES, max_size=12))
def test_invariant_3_no_votes_approve_with_fewer_people_or_keys_than_required(
    stages: list[Stage], votes: list[CastVote]
) -> None:
    result = tally(stages, votes)
    if result.outcome != "approved":
        return
    required = sum(stage.count for stage in stages)
    positive = [vote for vote in votes if vote.decision in ("approve", "confirm") and vote.person]
    assert len({vote.person for vote in positive}) >= required
    assert (
        len({vote.key for vote in positive if vote.key} | {vote.person for vote in positive if vote.key is None})
        >= required
    )
    assert len(result.people) == len(result.counted) == required
    signed = [vote.key for vote in result.counted if vote.key is not None]
    assert len(signed) == len(set(signed))
    assert not any(vote.decision == "deny" and vote.person for vote in votes)
    for index, stage in enumerate(stages):
        counted = [vote for vote in result.counted if vote.stage == index]
        assert [vote.decision for vote in counted] == [stage.kind] * stage.count


@given(STAGES, st.lists(VOTES, max_size=8), VOTES)
def test_invariant_3_a_denial_ends_it_whatever_follows(
    stages: list[Stage], votes: list[CastVote], more: CastVote
) -> None:
    if tally(stages, votes).outcome == "denied":
        assert tally(stages, [*votes, more]).outcome == "denied"


class Desk(RuleBasedStateMachine):
    """A request under votes, time and revocations, decided through eligibility, tally and the state table."""

    @initialize(stages=STAGES, owner=st.sampled_from(["a", "b", "x"]), shared=st.booleans())
    def submit(self, stages: list[Stage], owner: str, shared: bool) -> None:
        self.stages = stages
        self.state = "PENDING"
        self.votes: list[CastVote] = []
        self.circumstances = Circumstances(agent_owner=owner, risk=Risk.CRITICAL)
        self.people = [
            Candidate("a", {"r", "s"}, True, True, {"k1"}),
            Candidate("b", {"r", "s"}, True, True, {"k1" if shared else "k2"}),
            Candidate("c", {"r"}, True, True, {"k3"}),
            Candidate("d", {"r", "s"}, True, True, {"k4"}),
            Candidate("bot", {"r", "s"}, False, True, {"k5"}),
            Candidate("gone", {"r", "s"}, True, False, {"k6"}),
        ]

    @rule(
        who=st.integers(0, 5),
        signed=st.booleans(),
        decision=st.sampled_from(["approve", "confirm", "deny", "abstain"]),
        stage=st.integers(0, 2),
    )
    def vote(self, who: int, signed: bool, decision: str, stage: int) -> None:
        candidate = self.people[who]
        key = next(iter(candidate.keys)) if signed else None
        so_far = tally(self.stages, self.votes)
        around = replace(self.circumstances, counted_people=so_far.people, counted_keys=so_far.keys)
        seat = self.stages[stage] if stage < len(self.stages) else None
        if decision != "deny" and ineligible(candidate, around, key, seat):
            return
        cast = CastVote(candidate.person, key, decision, stage)
        event = vote_event(self.state, tally(self.stages, [*self.votes, cast]))
        if event is None:
            self.votes.append(cast)
            return
        try:
            self.state = next_state(self.state, event)
        except WrongState:
            return
        self.votes.append(cast)

    @rule(event=st.sampled_from(["expire", "cancel", "invalidate", "supersede"]), now=st.integers(0, 9))
    def end(self, event: str, now: int) -> None:
        if now == 0 and self.state in ("PENDING", "AWAITING_CONFIRMATION"):
            self.state = next_state(self.state, event)

    @invariant()
    def approved_means_enough_distinct_people_and_keys(self) -> None:
        if getattr(self, "state", None) != "APPROVED":
            return
        counted = tally(self.stages, self.votes).counted
        required = sum(stage.count for stage in self.stages)
        people = {vote.person for vote in counted}
        assert len(people) >= required
        assert not people & {"bot", "gone", self.circumstances.agent_owner}
        keys = [key for candidate in self.people if candidate.person in people for key in candidate.keys]
        assert len(keys) == len(set(keys))


def test_invariant_3_no_sequence_of_votes_and_time_approves_with_too_few() -> None:
    run_state_machine_as_test(Desk)


# --- eligibility


@pytest.mark.parametrize(
    ("change", "code", "you", "other"),
    [
        ({"agent_owner": "p_ada"}, "owner", "You own robo.", "Not Ada: owns robo."),
        ({"on_behalf_of": "p_ada"}, "on-behalf-of", "Robo acts on your behalf.", "Not Ada: robo acts on this person's behalf."),
        ({"launch_signers": frozenset({"p_ada", "p_eve"})}, "launch-signer", "You signed the launch of robo.", "Not Ada: signed the launch of robo."),
        ({"issuer": "p_ada"}, "issuer", "You issued the delegation, and this is critical.", "Not Ada: issued the delegation, and this is critical."),
        ({"counted_people": {"p_ada"}}, "already-counted", "Your answer counts already; this needs someone else.", "Not Ada: has answered already; this needs someone else."),
        ({"counted_keys": {"k_ada"}}, "key-already-counted", "A key of yours has answered already; this needs someone else with a key of their own.", "Not Ada: shares a key with someone who has answered already."),
    ],
)  # fmt: skip
def test_who_has_a_stake_is_not_eligible_unless_there_is_one_human(
    change: dict[str, object], code: str, you: str, other: str
) -> None:
    around = replace(FREE, **change)  # type: ignore[arg-type]  # one field each
    (reason,) = ineligible(ADA, around)
    assert (reason.code, reason.you, reason.other, reason.sentence) == (code, you, other, other)
    assert ineligible(BO, around) == []
    assert ineligible(ADA, replace(around, single_human=True)) == []


def test_the_issuer_may_answer_what_is_not_critical() -> None:
    assert ineligible(ADA, replace(FREE, issuer="p_ada", risk=Risk.HIGH)) == []


@pytest.mark.parametrize("single_human", [False, True])
@pytest.mark.parametrize(
    ("change", "code"),
    [({"human": False}, "not-human"), ({"active": False}, "inactive"), ({"roles": {"admin"}}, "role")],
)
def test_no_mode_lets_a_program_a_leaver_or_another_role_answer(
    change: dict[str, object], code: str, single_human: bool
) -> None:
    reasons = ineligible(replace(ADA, **change), replace(FREE, single_human=single_human), stage=HIGH[0])  # type: ignore[arg-type]  # one field each
    assert [reason.code for reason in reasons] == [code]


@pytest.mark.parametrize("single_human", [False, True])
def test_a_key_of_someone_else_is_not_accepted(single_human: bool) -> None:
    around = replace(FREE, single_human=single_human)
    assert [reason.code for reason in ineligible(ADA, around, "k_bo")] == ["key-not-theirs"]
    assert ineligible(ADA, around, "k_ada") == []


def test_every_reason_is_given() -> None:
    around = replace(FREE, agent_owner="p_ada", on_behalf_of="p_ada")
    assert [reason.code for reason in ineligible(ADA, around)] == ["owner", "on-behalf-of"]


# --- satisfiable


@pytest.mark.parametrize(
    ("stages", "candidates", "around", "possible"),
    [
        (HIGH, [ADA], FREE, True),
        (HIGH, [], FREE, False),
        (HIGH, [ADA], replace(FREE, agent_owner="p_ada"), False),
        (HIGH, [replace(ADA, roles={"admin"})], FREE, False),
        (CRITICAL, [ADA], FREE, False),
        (CRITICAL, [ADA, ADA], FREE, False),
        (CRITICAL, [ADA, BO], FREE, True),
        (CRITICAL, [ADA, replace(BO, keys={"k_ada"})], FREE, False),
        (CRITICAL, [ADA, BO], replace(FREE, issuer="p_bo"), False),
        (CRITICAL, [ADA, BO, CLEA], replace(FREE, issuer="p_bo"), True),
        (CRITICAL, [ADA], replace(FREE, single_human=True), True),
        ([Stage("reviewer", 2)], [ADA], replace(FREE, single_human=True), False),
        ([Stage("reviewer", 1), Stage("admin", 1)], [CLEA, ADA], FREE, True),
        ([Stage("reviewer", 1), Stage("admin", 1)], [ADA, BO], FREE, False),
        ([Stage("reviewer", 2), Stage("admin", 1)], [CLEA, ADA], FREE, False),
    ],
)
def test_whether_the_people_who_exist_can_complete_the_stages(
    stages: list[Stage], candidates: list[Candidate], around: Circumstances, possible: bool
) -> None:
    problem = satisfiable(stages, candidates, around)
    assert (problem is None) is possible
    if problem is not None:
        assert problem.code == "unsatisfiable" and "different person" in problem.message
