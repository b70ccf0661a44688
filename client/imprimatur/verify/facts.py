"""What a verifier remembers of a history: the live state, and nothing of what has ended but what could be replayed.

Times are canonical text (`formats.timestamps`), so text order is time order; "" means never.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from imprimatur.verify.rulebook import BrokenRule, Rule

EXAMPLES = 50
"""How many of a sort are remembered one by one for reports; the rest are counted."""


@dataclass
class PersonKey:
    """A person's own key: SSH (`line`), or WebAuthn (`public_key` is the COSE key, like `credential` in base64url).

    `purpose` is `signing` for a key that was enrolled with a signed statement, which counts once it is `vouched`; it is
    `delegation` for one that the console registered, which signs root delegations and configuration alone. `enrolled`
    is the index of the entry, `enrolment` the digest of the statement, `vouched_by` a person, `first` or `console`.
    """

    kind: str
    purpose: str
    thumbprint: str
    line: str = ""
    public_key: str = ""
    credential: str = ""
    rp_id: str = ""
    device_bound: bool = False
    attested: bool = False
    enrolled: int = -1
    enrolment: str = ""
    vouched: str = ""
    vouched_by: str = ""
    vouched_with: str = ""
    lapsed: bool = False
    revoked_since: str = ""

    @property
    def in_force(self) -> bool:
        """Whether what it signs now counts, for what it is for."""
        return not self.revoked_since and not self.lapsed and (self.purpose == "delegation" or self.vouched != "")

    @property
    def signs_decisions(self) -> bool:
        """Whether it signs answers, grants, changes and vouches now."""
        return self.in_force and self.purpose == "signing"


@dataclass
class Person:
    """A human being as the log knows them."""

    name: str
    roles: list[str]
    active: bool = True
    keys: dict[str, PersonKey] = field(default_factory=dict)
    introducers: list[str] = field(default_factory=list)


@dataclass
class Change:
    """A change that two people sign: what was proposed, by whom and with which key, and whether it was seconded."""

    act: str
    subject: str
    document: dict[str, Any]
    hold: bool
    expires_at: str
    proposer: str
    key: str
    proposed: str
    seconder: str = ""
    second_key: str = ""
    seconded: str = ""


@dataclass
class Grant:
    """A vote in advance, and what was used of it. `role` is what its reviewer answered as; `total` is in millionths."""

    statement: dict[str, Any]
    reviewer: str
    role: str
    key: str
    assurance: str
    device_bound: bool
    issued: str
    index: int
    uses: int = 0
    total: int = 0
    revoked: bool = False


@dataclass
class AgentKey:
    """An agent's Ed25519 key, in base64url. Retired by rotation, or revoked since a time."""

    public_key: str
    retired: str = ""
    revoked_since: str = ""


@dataclass
class Agent:
    """A program as the log knows it, its keys by thumbprint."""

    owner: str
    enforcement: str
    suspended: bool = False
    keys: dict[str, AgentKey] = field(default_factory=dict)


@dataclass
class Delegation:
    """A grant of authority and the money under it, in millionths of its unit."""

    document: dict[str, Any]
    signed_with: str
    issued: str
    revoked_since: str = ""
    reserved: int = 0
    spent: int = 0


@dataclass
class Ballot:
    """One vote that stands: who, with which key, what they said, for which stage, and when."""

    index: int
    person: str
    key: str
    decision: str
    stage: int
    assurance: str
    digest: str
    cast: str
    suggestion: str = ""


@dataclass
class Request:
    """An action request that has not ended. Amounts are millionths; `wish` is the digest of what the agent signed."""

    state: str
    agent: str
    delegation: str
    wish: str
    action_digest: str
    tool: str
    tool_digest: str
    risk: str
    reversibility: str
    effects: list[dict[str, str]]
    amount: int
    unit: str
    key: str
    settles: bool
    executor: str
    policy: str
    parameters: list[str] = field(default_factory=list)
    display_digest: str = ""
    requested: int = -1
    expires_at: str = ""
    not_after: str = ""
    reported: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    ballots: list[Ballot] = field(default_factory=list)
    rests_on: list[int] = field(default_factory=list)
    grant: str = ""
    swept: bool = False
    launch_signers: list[str] = field(default_factory=list)


@dataclass
class Service:
    """A service with its one key; ``size`` and ``hashes`` are the tree of all that it signed."""

    role: str
    public_key: str
    thumbprint: str
    retired: str = ""
    size: int = 0
    hashes: list[str] = field(default_factory=list)


@dataclass
class Launch:
    """A launch that was attested and has not ended. `predicate` is what the orchestrator signed, without its layers;
    `signers` are the people who signed those. `observed` is the time of the newest observation of it."""

    service: str
    agent: str
    index: int
    attested: str
    signers: list[str]
    predicate: dict[str, Any]
    observed: str = ""
    observations: int = 0
    drifted: int = 0


@dataclass
class Totals:
    """Counts for reports. They never decide anything."""

    kinds: dict[str, int] = field(default_factory=dict)
    allowed: int = 0
    denied: int = 0
    by_people: int = 0
    by_grants: int = 0
    grants: int = 0
    by_two: int = 0
    tools_alone: int = 0
    first_keys: int = 0
    vouched_by_console: int = 0
    denials: int = 0
    assurance: dict[str, int] = field(default_factory=dict)
    redeemed: int = 0
    by_console: int = 0
    single_human: int = 0
    launches: int = 0
    declared: int = 0
    launches_refused: int = 0
    judged_elsewhere: int = 0
    refused_unshown: int = 0
    launches_ended: int = 0
    launches_lost: int = 0
    never_observed: int = 0
    observations: int = 0
    drifted: int = 0
    unmatched: int = 0
    after_end: int = 0
    unread: int = 0
    suspended_by_drift: int = 0
    canary_runs: int = 0
    got_through: int = 0
    runs_out_of_order: int = 0
    runs_out_of_time: int = 0
    paused_by_canary: int = 0
    starts: int = 0
    starts_wrong: int = 0


@dataclass
class Facts:
    """Everything the rules look at. Changed only by the handlers of `history`, and only after their rules held."""

    realm: str
    decision_key: str = ""
    decision_keys: list[str] = field(default_factory=list)
    log_vkeys: list[str] = field(default_factory=list)
    retired_log_vkeys: list[str] = field(default_factory=list)
    index: int = 0
    left_out: int = 0
    now: str = ""
    kind: str = ""
    founding: bool = True
    roster: str = ""
    founding_policy: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    person_keys: dict[str, str] = field(default_factory=dict)
    person_thumbprints: dict[str, str] = field(default_factory=dict)
    holders: list[str] = field(default_factory=list)
    changes: dict[str, Change] = field(default_factory=dict)
    ended_changes: dict[str, str] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    forgotten_grants: int = 0
    statements: dict[str, str] = field(default_factory=dict)
    invitations: dict[str, dict[str, str]] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    agent_keys: dict[str, str] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    launches: dict[str, Launch] = field(default_factory=dict)
    ended_launches: dict[str, str] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(default_factory=dict)
    red_runs: dict[str, str] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    delegations: dict[str, Delegation] = field(default_factory=dict)
    forgotten_delegations: int = 0
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    tool_digests: dict[str, str] = field(default_factory=dict)
    policy: str = ""
    policy_number: int = 0
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    pauses: dict[str, str] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    sweeps: dict[str, int] = field(default_factory=dict)
    revocations: dict[str, str] = field(default_factory=dict)
    legal_holds: dict[str, list[str]] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    prepared: dict[str, Any] = field(default_factory=dict, compare=False)

    def is_services(self, thumbprint: str) -> bool:
        """Whether this key is, or was, a service's."""
        return any(known.thumbprint == thumbprint for known in self.services.values())

    def example(self, of: str, **said: Any) -> None:
        """Keep the entry at hand as one of the first few examples that reports list."""
        known = self.examples.setdefault(of, [])
        if len(known) < EXAMPLES:
            known.append({"index": self.index, **said})

    def hold(self, condition: object, rule: Rule, message: str) -> None:
        """Raise BrokenRule for the entry at hand unless the condition holds."""
        if not condition:
            raise BrokenRule(rule, self.index, message)

    def as_json(self) -> dict[str, Any]:
        """The facts as JSON values, for `from_json`. What can be computed again (`prepared`) is left out."""
        return asdict(replace(self, prepared={}))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Facts:
        """The facts that `as_json` wrote. Raises TypeError or KeyError when they are something else."""
        rest = dict(value)
        people = {
            name: Person(**{**item, "keys": {key: PersonKey(**known) for key, known in item["keys"].items()}})
            for name, item in rest.pop("people").items()
        }
        agents = {
            name: Agent(**{**item, "keys": {key: AgentKey(**known) for key, known in item["keys"].items()}})
            for name, item in rest.pop("agents").items()
        }
        changes = {name: Change(**item) for name, item in rest.pop("changes").items()}
        grants = {name: Grant(**item) for name, item in rest.pop("grants").items()}
        delegations = {name: Delegation(**item) for name, item in rest.pop("delegations").items()}
        requests = {
            name: Request(**{**item, "ballots": [Ballot(**ballot) for ballot in item["ballots"]]})
            for name, item in rest.pop("requests").items()
        }
        services = {name: Service(**item) for name, item in rest.pop("services").items()}
        launches = {name: Launch(**item) for name, item in rest.pop("launches").items()}
        totals = Totals(**rest.pop("totals"))
        return cls(
            people=people,
            agents=agents,
            services=services,
            launches=launches,
            changes=changes,
            grants=grants,
            delegations=delegations,
            requests=requests,
            totals=totals,
            **rest,
        )
