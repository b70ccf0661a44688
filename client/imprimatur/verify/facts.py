"""What a verifier remembers of a history: the live state, and nothing of what has ended but what could be replayed.

Times are canonical text (`formats.timestamps`), so text order is time order; "" means never.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from imprimatur.verify.rulebook import BrokenRule, Rule


@dataclass
class PersonKey:
    """A person's SSH key, in one line of an authorized_keys file."""

    line: str
    revoked_since: str = ""


@dataclass
class Person:
    """A human being as the log knows them."""

    name: str
    roles: list[str]
    active: bool = True
    keys: dict[str, PersonKey] = field(default_factory=dict)


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
    """One vote that stands: who, with which key, what they said, and for which stage."""

    index: int
    person: str
    key: str
    decision: str
    stage: int
    assurance: str
    digest: str


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
    display_digest: str = ""
    requested: int = -1
    expires_at: str = ""
    not_after: str = ""
    reported: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    ballots: list[Ballot] = field(default_factory=list)
    swept: bool = False


@dataclass
class Totals:
    """Counts for reports. They never decide anything."""

    kinds: dict[str, int] = field(default_factory=dict)
    allowed: int = 0
    denied: int = 0
    by_people: int = 0
    denials: int = 0
    assurance: dict[str, int] = field(default_factory=dict)
    redeemed: int = 0
    by_console: int = 0
    single_human: int = 0


@dataclass
class Facts:
    """Everything the rules look at. Changed only by the handlers of `history`, and only after their rules held."""

    realm: str
    index: int = 0
    now: str = ""
    kind: str = ""
    founding: bool = True
    roster: str = ""
    founding_policy: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    person_keys: dict[str, str] = field(default_factory=dict)
    invitations: dict[str, dict[str, str]] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    agent_keys: dict[str, str] = field(default_factory=dict)
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
    totals: Totals = field(default_factory=Totals)
    prepared: dict[str, Any] = field(default_factory=dict, compare=False)

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
        delegations = {name: Delegation(**item) for name, item in rest.pop("delegations").items()}
        requests = {
            name: Request(**{**item, "ballots": [Ballot(**ballot) for ballot in item["ballots"]]})
            for name, item in rest.pop("requests").items()
        }
        totals = Totals(**rest.pop("totals"))
        return cls(people=people, agents=agents, delegations=delegations, requests=requests, totals=totals, **rest)
