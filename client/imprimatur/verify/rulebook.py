"""The rules of a history, numbered and named, in words for people. `history` applies them; reports quote them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `number` and `name` are stable: reports, runbooks and tests refer to them."""

    number: int
    name: str
    words: str

    def __str__(self) -> str:
        return f"rule {self.number} ({self.name})"


class BrokenRule(ValueError):
    """An entry that cannot stand in a good history. `index` is the entry's, `message` says what is wrong with it."""

    def __init__(self, rule: Rule, index: int, message: str) -> None:
        super().__init__(f"entry {index} breaks {rule}: {message}")
        self.rule = rule
        self.index = index
        self.message = message


ENVELOPE = Rule(1, "envelope", "An entry is a DSSE envelope in its one exact byte form, small enough for a tile.")
SIGNATURE = Rule(2, "signature", "The decision key in force signed the entry.")
ENTRY = Rule(3, "entry", "The payload is canonical JSON and has exactly the fields of its kind.")
ORDER = Rule(4, "order", "Indexes count up from 0 without a gap.")
CHAIN = Rule(5, "chain", "Each entry names the leaf hash of the one before.")
REALM = Rule(6, "realm", "Everything signed names this realm and no other.")
TIME = Rule(7, "time", "Time never runs backwards.")
GENESIS = Rule(8, "genesis", "Entry 0, and only it, begins the log; its keys are the pinned ones.")
ACTOR = Rule(9, "actor", "Who acts exists, is active, and may do this. Agents never widen authority.")
FOUNDING = Rule(10, "founding", "The first people and the first policy are those that entry 0 commits to.")
PEOPLE = Rule(
    11, "people", "A person is added once; an admin changes people and roles, single sign-on nothing but roles."
)
PERSON_KEY = Rule(
    12, "person-key", "A person's key proves its possession, belongs to one person and no agent, and stays revoked."
)
ENROLMENT = Rule(13, "enrolment", "An agent has an invitation used once and in time, and an id derived from its key.")
AGENT_KEY = Rule(14, "agent-key", "A key follows another only by the old key's signature, and is never taken up again.")
DELEGATION_SIGNATURE = Rule(
    15,
    "delegation-signature",
    "The issuer named in a delegation, a person or an agent, signed it with a key of its own.",
)
DELEGATION_ISSUER = Rule(16, "delegation-issuer", "Only an admin issues a root; only a subject of the parent a child.")
NARROWING = Rule(17, "narrowing", "A child delegation is within its live parent in every facet, 16 links at most.")
REVOCATION = Rule(18, "revocation", "What is revoked was there, is revoked once, and by someone who may.")
TOOL = Rule(19, "tool", "The registry changes by an admin's hand, each version under its own digest.")
POLICY = Rule(
    20,
    "policy",
    "A policy is active under its own digest, by an admin; a verdict names a fitting rule of its request's own.",
)
PAUSE = Rule(21, "pause", "A pause is set and lifted by an admin, and while it stands nothing it covers is redeemed.")
REQUEST = Rule(
    22, "request", "The agent signed its wish with its own key, over the commitments that the binding holds."
)
REPLAY = Rule(
    23, "replay", "A request id, an agent's signed request and a person's statement are each used once, at their time."
)
AUTHORITY = Rule(
    24, "authority", "Whatever is allowed or redeemed lies within a chain of live delegations at that moment."
)
RISK = Rule(
    25, "risk", "Nothing is below its rule or its floor: unknown or destructive is HIGH, irreversible asks a person."
)
STATE = Rule(26, "state", "A request moves only along the table of states, and never comes back from an end.")
SAME_ACTION = Rule(
    27, "same-action", "A decision, a vote, a redemption and a report name the action that was asked for."
)
STATEMENT = Rule(28, "statement", "A statement says what its entry says in every field, in its signer's name, in time.")
EVIDENCE = Rule(
    29, "evidence", "Evidence holds, by a key of the signer in force for that use, and gives the assurance it is given."
)
ELIGIBLE = Rule(
    30,
    "eligible",
    "Nobody votes who may not: owner, beneficiary, issuer, signer of the launch, twice by person or key.",
)
QUORUM = Rule(
    31,
    "quorum",
    "What needs people is approved by as many as its rule asks, all different, each with a key of their own.",
)
WINDOW = Rule(32, "window", "Nothing is approved, confirmed or redeemed after its time; silence never approves.")
REDEEM_ONCE = Rule(33, "redeem-once", "An approval is redeemed at most once.")
SPEND = Rule(34, "spend", "No reservation ever passes the limit of any delegation in the chain.")
OUTCOME = Rule(35, "outcome", "An outcome belongs to a redeemed action; a late one says so.")
CASCADE = Rule(36, "cascade", "A sweep names the revocation that caused it, and its total is what it swept.")
REFERENCE = Rule(37, "reference", "An index inside an entry points at the earlier entry it speaks of.")
VOUCHING = Rule(
    38, "vouching", "A signing key counts once a holder vouches for it who neither owns it nor introduced its owner."
)
TWO_PEOPLE = Rule(
    39, "two-people", "Once two people held signing keys, what widens authority is signed by two, as it is, used once."
)
GRANT = Rule(40, "grant", "A vote in advance is by somebody who may answer, and is used within all that it says.")
ASKING = Rule(41, "asking", "Nobody is asked about a request, or claims it, who may not answer it.")
HOLD = Rule(42, "hold", "What a legal hold covers is not erased; nothing is erased before its request has ended.")
LOG_KEY = Rule(
    43, "log-key", "A decision key is followed by one that it names and that proves itself; no key has two uses."
)
SERVICE = Rule(
    44,
    "service",
    "A service has a key of its own from an admin, keeps to its role, and numbers all that it signs in one tree.",
)
LAUNCH = Rule(
    45,
    "launch",
    "A launch is of a live agent under the grants and policy in force, from safe configuration that admins signed.",
)
OBSERVATION = Rule(46, "observation", "What was observed is entered with all in which it differs from its launch.")
CANARY = Rule(47, "canary", "A run of the canaries is entered with the result that its attempts give.")
RESPONSE = Rule(
    48, "response", "The server suspends or pauses by itself only over a finding, where the policy in force says so."
)

RULES: tuple[Rule, ...] = tuple(
    sorted((item for item in list(globals().values()) if isinstance(item, Rule)), key=lambda rule: rule.number)
)
