"""The JSON of the agent API. Strict (nothing is coerced) and closed (nothing unknown is let through)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", description="sha256: and 64 lower-case hex digits")]
ActionId = Annotated[str, Field(pattern=r"^act_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
Attempt = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{22,86}$", description="128 random bits or more, base64url, one per execution")
]
Key32 = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", description="32 bytes, base64url without padding")]
Commitment = Annotated[str, Field(pattern=r"^c:[A-Za-z0-9_-]{43}$")]
Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?$", description="A decimal: 150.00")]
Label = Annotated[str, Field(min_length=1, max_length=128)]
Words = Annotated[str, Field(min_length=1, max_length=10_000)]
Risk = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]


class Closed(BaseModel):
    """What agents send."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Effect(Closed):
    action: Annotated[str, Field(min_length=1, max_length=128)]
    resource: Annotated[str, Field(min_length=1, max_length=4096)]


class Cost(Closed):
    amount: Amount
    unit: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,11}$")]


class Context(Closed):
    run: Label | None = None
    call: Label | None = None
    launch: Label | None = None


class Submit(Closed):
    """One wish. Effects, cost and risk are claims: they are compared, and never decide in the agent's favour."""

    delegation: Digest
    tool: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]{0,79}$")]
    parameters: Annotated[dict[Annotated[str, Field(min_length=1, max_length=256)], JsonValue], Field(max_length=128)]
    salt: Key32
    withheld: (
        Annotated[
            dict[Annotated[str, Field(min_length=1, max_length=256)], Commitment],
            Field(max_length=128, description="commitments of parameters whose values the server never sees"),
        ]
        | None
    ) = None
    effects: Annotated[list[Effect], Field(max_length=256)] | None = None
    cost: Cost | None = None
    risk: Risk | None = None
    justification: Words | None = None
    context: Context = Context()
    ttl: Annotated[int, Field(ge=60, le=14_400, description="seconds to wait for an answer")] | None = None
    attempt: Attempt | None = None
    supersedes: ActionId | None = None


class Redeem(Closed):
    action_digest: Digest
    attempt: Attempt


class Outcome(Closed):
    outcome: Literal["SUCCEEDED", "FAILED"]
    cost: Cost | None = None
    result: Words | None = None


class NamedOutcome(Outcome):
    action: ActionId


class Outcomes(Closed):
    outcomes: Annotated[list[NamedOutcome], Field(min_length=1, max_length=100)]


class Nothing(Closed):
    """An empty object: the call says everything."""


class Comment(Closed):
    text: Words


class Enrol(Closed):
    token: Annotated[str, Field(min_length=16, max_length=256)]
    public_key: Key32


class Rotate(Closed):
    public_key: Key32
    signature: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{86}$")]


class Delegate(Closed):
    document: dict[str, JsonValue]
    signature: dict[str, JsonValue]


class Revoke(Closed):
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class Seen(Closed):
    """An entry as the agent was handed it: the exact text of its envelope."""

    envelope: Annotated[str, Field(min_length=1, max_length=65_535)]


StatementText = Annotated[
    str,
    Field(min_length=1, max_length=33_000, description="the exact text of a DSSE envelope with an in-toto Statement"),
]


class Statement(Closed):
    """What one service signed."""

    statement: StatementText


class Statements(Closed):
    """What one service signed, in that order."""

    statements: Annotated[list[StatementText], Field(min_length=1, max_length=20)]


class Ended(Closed):
    how: Literal["exited", "killed", "lost"]
    code: Annotated[int, Field(ge=0, le=255, description="exit status")] | None = None


class Open(BaseModel):
    """What the server answers. Clients ignore members they do not know."""

    model_config = ConfigDict(extra="allow")


class Leaf(Open):
    """A log entry as the exact text of its envelope."""

    index: int
    envelope: str


class Receipt(Leaf):
    """The decision, the votes behind it, the redemption, and the grant when it was approved in advance."""

    votes: list[str]
    redeemed: str | None = None
    grant: Leaf | None = None


class Suggestion(Open):
    """What a reviewer would rather see, with their no. Ask again with it (``supersedes``), or do not.

    Parameters that were withheld or erased are left out and stay as they were.
    """

    parameters: dict[str, JsonValue]


class ActionView(Open):
    """An action as its agent sees it."""

    id: str
    state: str
    verdict: Literal["allow", "deny", "pending"]
    code: str | None = None
    risk: str
    reversibility: str
    rule: str
    why: list[str]
    action_digest: str
    delegation: str
    version: int
    created_at: str
    expires_at: str
    not_after: str | None = None
    can_answer: int | None = None
    decided_by: str | None = None
    note: str | None = None
    suggestion: Suggestion | None = None
    receipt: Receipt | None = None
    execute_within: int | None = None
    url: str


class Problem(Open):
    """RFC 9457. With a receipt it is a decision; without one nothing was decided."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str
    verdict: str | None = None
    suggestion: Suggestion | None = None
    receipt: Receipt | None = None


class OutcomeResult(Open):
    action: str
    status: int
    state: str | None = None
    code: str | None = None
    detail: str | None = None


class OutcomesResult(Open):
    outcomes: list[OutcomeResult]


class CommentView(Open):
    action: str
    comment: str
    index: int


class Me(Open):
    agent: dict[str, Any]
    key: dict[str, Any]
    delegations: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    pending: int


class Enrolled(Open):
    agent: str
    name: str
    key: str
    fingerprint: str
    realm: str


class Rotated(Open):
    agent: str
    key: str


class DelegationView(Open):
    id: str
    document: dict[str, Any]
    signature: dict[str, Any]
    issued_at: str
    revoked_at: str | None = None
    left: dict[str, str] | None = None
    published: bool


class SeenView(Open):
    """The log has this entry, with exactly these bytes."""

    index: int
    published: bool


class OwnTree(Open):
    """The tree of all that a service signed for this log; its next statement says the same in ``own``."""

    size: int
    root: str


class ServiceView(Open):
    service: str
    name: str
    role: str
    key: str
    realm: str
    registered_at: str
    own: OwnTree
    newest: dict[str, Any] | None = None


class Terms(Open):
    """What a launch of this agent has to agree with at this moment."""

    agent: str
    name: str
    state: str
    realm: str
    delegations: list[str]
    policy: str
    merge: dict[str, str]
    own: OwnTree


class LaunchView(Open):
    launch: str
    agent: str
    state: str
    index: int
    envelope: str
    own: OwnTree


class LaunchRefusal(Problem):
    """``launch-refused``: do not start. The log has it with these reasons."""

    index: int | None = None
    envelope: str | None = None
    reasons: list[dict[str, str]] | None = None
    own: OwnTree | None = None


class LaunchItem(Open):
    """``predicate`` is what the orchestrator signed, without the text of the layers."""

    launch: str
    agent: str
    service: str
    index: int
    attested_at: str
    predicate: dict[str, Any]


class Launches(Open):
    launches: list[LaunchItem]
    more: bool


class EndedView(Open):
    launch: str
    state: str
    how: str
    code: int | None = None
    index: int
    envelope: str


class ObservationView(Open):
    index: int
    envelope: str
    launch: str | None = None
    matched: bool
    findings: list[dict[str, Any]]


class Observations(Open):
    observations: list[ObservationView]
    own: OwnTree


class CanaryView(Open):
    index: int
    envelope: str
    result: str
    own: OwnTree
