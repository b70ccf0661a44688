"""Who may answer, how many of them, and what their votes add up to.

Invariant: a tally says approved only when every stage has its votes from as many distinct people with as many distinct
keys; a vote without a key (a session) counts by person alone. Silence, unknown decisions and votes for another stage
add nothing; one denial ends it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imprimatur.rules.risk import Risk

KINDS = ("approve", "confirm")
REVIEWER = "reviewer"


class QuorumError(ValueError):
    """Stages that could approve nothing, or everything. Refused before any vote is read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """So many votes of one kind by holders of one role.

    Raises:
        QuorumError: for a count below 1, another kind, or no role.
    """

    role: str
    count: int
    kind: str = "approve"

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise QuorumError("A stage needs at least one vote.")
        if self.kind not in KINDS:
            raise QuorumError("A stage asks to approve or to confirm.")
        if not isinstance(self.role, str) or not self.role:
            raise QuorumError("A stage names the role that answers.")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A principal who might answer. `keys` are the ids of the keys they could sign with; `name` is for sentences.

    Of the keys, some are `device_bound` (they never leave their hardware), and of some a maker `attested` the model.
    """

    person: str
    roles: Collection[str]
    human: bool
    active: bool
    keys: Collection[str] = ()
    name: str = ""
    device_bound: Collection[str] = ()
    attested: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides who may not answer this request. `single_human` lifts the conflicts, and nothing else.

    `launch_signers` signed the configuration from which the agent that asks was launched.
    """

    agent_owner: str | None = None
    on_behalf_of: str | None = None
    issuer: str | None = None
    launch_signers: Collection[str] = ()
    counted_people: Collection[str] = ()
    counted_keys: Collection[str] = ()
    risk: Risk = Risk.CRITICAL
    single_human: bool = False
    agent_name: str = "this agent"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why someone may not answer: a code, the sentence for themselves, and the sentence about them."""

    code: str
    you: str
    other: str

    @property
    def sentence(self) -> str:
        """The sentence about them."""
        return self.other


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the people who exist can never complete the stages."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CastVote:
    """One signed answer: who, with which key (None for a session), what, and for which stage (from 0)."""

    person: str
    key: str | None
    decision: str
    stage: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes add up to: `pending`, `denied` or `approved`.

    `stage` is the index of the stage that is open (the number of stages once approved), `needs` what is still missing,
    the open stage first, `counted` the votes that count towards approval.
    """

    outcome: str
    stage: int
    needs: tuple[Stage, ...]
    counted: tuple[CastVote, ...]

    @property
    def people(self) -> frozenset[str]:
        """Whose votes count so far."""
        return frozenset(vote.person for vote in self.counted)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the votes that count so far."""
        return frozenset(vote.key for vote in self.counted if vote.key is not None)


def stages_for(risk: Risk, policy_stages: Sequence[Stage | Mapping[str, Any]] | None = None) -> list[Stage]:
    """The stages of a risk level: none for LOW and MEDIUM, one approval for HIGH, then one confirmation for CRITICAL.

    A policy may ask for more and never for less: what it leaves out of these is added.

    Raises:
        QuorumError: when a stage is not well-formed, a confirmation comes before an approval, or stages are given for a
            level that nobody is asked about.
    """
    risk = Risk(risk)
    stages = [_stage(stage) for stage in policy_stages or ()]
    if not risk.blocks:
        if stages:
            raise QuorumError(f"{risk} asks nobody, so it cannot have stages; raise the risk to HIGH.")
        return []
    if not stages:
        stages = [Stage(REVIEWER, 1)]
    if risk is Risk.CRITICAL and stages[-1].kind != "confirm":
        stages.append(Stage(REVIEWER, 1, "confirm"))
    _check_stages(stages)
    return stages


def ineligible(
    candidate: Candidate, circumstances: Circumstances, key: str | None = None, stage: Stage | None = None
) -> list[Reason]:
    """Every reason why this candidate may not answer; an empty list means they may.

    Ask without `key` when listing or notifying, with the key when a vote arrives. Sharing a key with someone who
    counted is a reason too: two accounts behind one authenticator are not two people.
    """
    found: list[Reason] = []
    name = candidate.name or candidate.person
    agent = circumstances.agent_name

    def add(holds: bool, code: str, you: str, other: str) -> None:
        if holds:
            found.append(Reason(code, you, f"Not {name}: {other}"))

    add(candidate.human is not True, "not-human", "Only people decide.", "only people decide.")
    add(candidate.active is not True, "inactive", "Your account is not active.", "the account is not active.")
    if stage is not None:
        add(
            stage.role not in candidate.roles,
            "role",
            f"This needs the role {stage.role}, which you do not have.",
            f"this needs the role {stage.role}.",
        )
    add(
        key is not None and key not in candidate.keys,
        "key-not-theirs",
        "That key is not registered to you, or no longer.",
        "that key is not registered to this person, or no longer.",
    )
    if circumstances.single_human:
        return found

    person = candidate.person
    add(person == circumstances.agent_owner, "owner", f"You own {agent}.", f"owns {agent}.")
    add(
        person == circumstances.on_behalf_of,
        "on-behalf-of",
        f"{_capital(agent)} acts on your behalf.",
        f"{agent} acts on this person's behalf.",
    )
    add(
        person in circumstances.launch_signers,
        "launch-signer",
        f"You signed the launch of {agent}.",
        f"signed the launch of {agent}.",
    )
    add(
        Risk(circumstances.risk) is Risk.CRITICAL and person == circumstances.issuer,
        "issuer",
        "You issued the delegation, and this is critical.",
        "issued the delegation, and this is critical.",
    )
    add(
        person in circumstances.counted_people,
        "already-counted",
        "Your answer counts already; this needs someone else.",
        "has answered already; this needs someone else.",
    )
    add(
        not frozenset(circumstances.counted_keys).isdisjoint({*candidate.keys, *([] if key is None else [key])}),
        "key-already-counted",
        "A key of yours has answered already; this needs someone else with a key of their own.",
        "shares a key with someone who has answered already.",
    )
    return found


def tally(stages: Sequence[Stage], votes: Iterable[CastVote], deny: int = 1, *, single_human: bool = False) -> Tally:
    """Add up votes in the order they were cast.

    A vote counts for the stage that is open when it comes, if it names that stage and is of its kind, and neither its
    person nor its key counted before. So a confirmation is always by someone who did not approve, with another key.
    `single_human` lets one person count once in each stage instead of once in all. Denials count whenever they come,
    one for each person, and win over everything.

    Eligibility is not looked at: pass the votes of those who are eligible.

    Raises:
        QuorumError: when there is no stage, one is not well-formed, a confirmation comes first, or `deny` is below 1.
    """
    _check_stages(stages)
    if isinstance(deny, bool) or not isinstance(deny, int) or deny < 1:
        raise QuorumError("At least one denial is needed to end it.")
    open_stage, missing = 0, stages[0].count
    counted: list[CastVote] = []
    deniers: set[str] = set()
    people: set[str] = set()
    keys: set[str] = set()
    for vote in votes:
        if not isinstance(vote.person, str) or not vote.person:
            continue
        if vote.decision == "deny":
            deniers.add(vote.person)  # whatever it was signed with: what says no never counts for less
        if not _has_key(vote) or open_stage == len(stages) or not _is_for(vote, open_stage, stages[open_stage]):
            continue
        if vote.person in people or (vote.key is not None and vote.key in keys):
            continue
        people.add(vote.person)
        if vote.key is not None:
            keys.add(vote.key)
        counted.append(vote)
        missing -= 1
        if missing == 0:
            open_stage += 1
            missing = stages[open_stage].count if open_stage < len(stages) else 0
            if single_human:
                people.clear()
                keys.clear()
    needs = (replace(stages[open_stage], count=missing), *stages[open_stage + 1 :]) if open_stage < len(stages) else ()
    outcome = "denied" if len(deniers) >= deny else "pending" if needs else "approved"
    return Tally(outcome, open_stage, needs, tuple(counted))


def vote_event(state: str, result: Tally) -> str | None:
    """The event of `imprimatur.rules.states` that a tally causes in this state, or None when nothing changes yet."""
    if result.outcome == "denied":
        return "deny"
    if result.outcome == "approved":
        return "confirm" if state == "AWAITING_CONFIRMATION" else "approve"
    if state == "PENDING" and all(stage.kind == "confirm" for stage in result.needs):
        return "stage_met"
    return None


def satisfiable(
    stages: Sequence[Stage], candidates: Iterable[Candidate], circumstances: Circumstances
) -> Problem | None:
    """Why these candidates can never complete the stages, or None when they can.

    People who share a key are taken for one, since only one of them can count.

    Raises:
        QuorumError: as `tally`.
    """
    _check_stages(stages)
    able = [candidate for candidate in candidates if not ineligible(candidate, circumstances)]
    seats = [stage for stage in stages for _ in range(stage.count)]
    for group in [[stage] * stage.count for stage in stages] if circumstances.single_human else [seats]:
        if not _can_seat(group, _by_key(able)):
            need = " and ".join(f"{stage.count} x {stage.role} to {stage.kind}" for stage in stages)
            return Problem(
                "unsatisfiable",
                f"This needs {need}, each a different person with a key of their own. Too few people are eligible.",
            )
    return None


def _can_seat(seats: Sequence[Stage], groups: Sequence[frozenset[str]]) -> bool:
    """Whether each seat gets a group of its own that has the role (a bipartite matching, by augmenting paths)."""
    seat_of: dict[int, int] = {}

    def place(seat: int, tried: set[int]) -> bool:
        for index, roles in enumerate(groups):
            if index in tried or seats[seat].role not in roles:
                continue
            tried.add(index)
            if index not in seat_of or place(seat_of[index], tried):
                seat_of[index] = seat
                return True
        return False

    return len(seats) <= len(groups) and all(place(seat, set()) for seat in range(len(seats)))


def _by_key(candidates: Iterable[Candidate]) -> list[frozenset[str]]:
    """The roles of each group of candidates who are the same person or share keys, directly or through others."""
    groups: list[tuple[set[str], set[str]]] = []
    for candidate in candidates:
        marks = {f"person {candidate.person}", *(f"key {key}" for key in candidate.keys)}
        roles = set(candidate.roles)
        apart = []
        for group_marks, group_roles in groups:
            if group_marks.isdisjoint(marks):
                apart.append((group_marks, group_roles))
            else:
                marks |= group_marks
                roles |= group_roles
        groups = [*apart, (marks, roles)]
    return [frozenset(roles) for _, roles in groups]


def _has_key(vote: CastVote) -> bool:
    return vote.key is None or (isinstance(vote.key, str) and vote.key != "")


def _is_for(vote: CastVote, index: int, stage: Stage) -> bool:
    return (
        not isinstance(vote.stage, bool)
        and isinstance(vote.stage, int)
        and vote.stage == index
        and vote.decision == stage.kind
    )


def _check_stages(stages: Sequence[Stage]) -> None:
    if not stages:
        raise QuorumError("Without a stage nobody would be asked.")
    for stage in stages:
        # A stage built around its constructor is checked here all the same.
        Stage(stage.role, stage.count, stage.kind)
    kinds = [stage.kind for stage in stages]
    if kinds[0] == "confirm" or kinds != sorted(kinds, key=KINDS.index):
        raise QuorumError("Approvals come first, confirmations after them.")


def _stage(stage: Stage | Mapping[str, Any]) -> Stage:
    if isinstance(stage, Stage):
        return stage
    if not isinstance(stage, Mapping) or set(stage) - {"role", "count", "kind"} or not {"role", "count"} <= set(stage):
        raise QuorumError("A stage is {role, count} and, if wanted, kind.")
    return Stage(stage["role"], stage["count"], stage.get("kind", "approve"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
