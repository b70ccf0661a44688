"""Every decision on its own: verified, invalid or cannot tell, how sure it is that people made it, and why.

Looks at entries that the history has accepted, so that votes, quorum, grants and time hold already. What is added here
are the anchors: whether the policy and the keys are those that `trust.json` names, by all that the log says of the keys
to its end: a key may turn out later to have been stolen before.
"""

from __future__ import annotations

import bisect
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats.keyring import Keyring
from imprimatur.formats.trust import Trust
from imprimatur.verify import standing
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VERIFIED
from imprimatur.verify.disclosed import Disclosed
from imprimatur.verify.facts import Facts

_CLICK = "a click in a session, for which the operator vouches (H0): it does not show who made it"
_ATTESTED = "H3 rests on its maker's attestation, and the makers' roots are not known here"
_LEFT_OUT = "entries were left out of this bundle, and one of them may say otherwise: a revocation, a recall, a denial"
_BY_RULE = ("REFUSED", "DENIED")


@dataclass(frozen=True, slots=True)
class _Vote:
    """A vote, or a vote in advance: `key` is empty for a click, `time` is when the entry was written."""

    index: int
    person: str
    decision: str
    assurance: str
    key: str
    time: str


@dataclass(slots=True)
class _Made:
    """A decision as the entries have it, to be weighed at the end."""

    told: dict[str, Any]
    rule: str
    policy: str
    votes: list[_Vote]
    faults: list[str]
    doubts: list[str]


class Decisions:
    """Goes through the entries in step with the history. After `finish`, `found` has one object for each decision.

    `left_out` is how many entries are not there: then no decision is verified, whatever the others say.
    """

    def __init__(self, trust: Trust | None, ring: Keyring) -> None:
        """``ring`` has seen every entry up to the one that is shown here."""
        self._trust = trust
        self._ring = ring
        self.left_out = 0
        self._votes: dict[int, _Vote] = {}
        self._by_request: dict[str, list[int]] = {}
        self._made: deque[_Made] = deque()
        self._broken: dict[str, Any] | None = None
        self._anchored = 0
        self.found: list[dict[str, Any]] = []

    def voted(self, entry: Mapping[str, Any], decision: str) -> None:
        """Remember a vote until its request is decided."""
        actor = entry["actor"]
        vote = _Vote(
            index=entry["index"],
            person=actor["id"],
            decision=decision,
            assurance=actor.get("assurance", "H0"),
            key=actor.get("key", ""),
            time=entry["time"],
        )
        self._votes[vote.index] = vote
        self._by_request.setdefault(entry["body"]["request"], []).append(vote.index)

    def decided(self, facts: Facts, entry: Mapping[str, Any], disclosed: Disclosed) -> None:
        """Take a decision down. What is disclosed of its parameters says whether they are within a grant."""
        body, index = entry["body"], entry["index"]
        votes = [self._votes[at] for at in body["votes"] if at in self._votes]
        for at in self._by_request.pop(entry["subject"], ()):
            self._votes.pop(at, None)
        faults, doubts = self._anchors(entry)
        if body["verdict"] == "deny":
            denied = any(vote.decision == "deny" for vote in votes)
            by = "people" if denied else "policy" if body["state"] in _BY_RULE else "nobody"
        elif "grant" in body:
            by, votes = "grant", [_granted(facts, body["grant"])]
            if index in disclosed.beyond_grant:
                faults.append("its parameters are not within what was approved in advance")
            elif index not in disclosed.within_grant:
                doubts.append("its parameters are not disclosed, so that they are within the grant is not shown")
        else:
            by = "people" if votes else "policy"
        told = {**_begin(entry), "by": by}
        self._made.append(_Made(told, body["rule"], body["policy"], votes, faults, doubts))

    def broken(self, entry: Mapping[str, Any], said: str) -> None:
        """A decision that breaks a rule of the history, and so is the last."""
        self._broken = {**_begin(entry), "status": INVALID, "why": [said]}

    def finish(self, facts: Facts, odd: Mapping[int, str]) -> None:
        """Weigh every decision by what is known at the end. `odd` says what is wrong with statements, by entry."""
        self._anchored = self._anchored_entries()
        while self._made:  # one after the other goes: a long log has many
            self.found.append(self._weighed(facts, self._made.popleft(), odd))
        if self._broken is not None:
            self.found.append(self._broken)

    def _weighed(self, facts: Facts, made: _Made, odd: Mapping[int, str]) -> dict[str, Any]:
        told, faults, doubts = made.told, list(made.faults), list(made.doubts)
        if told["index"] >= self._anchored:
            doubts.insert(0, "trust.json does not name the key that signed the entry")
        allowed = told["verdict"] == "allow"
        votes = [self._vote(facts, vote) for vote in made.votes]
        faults += [odd[vote.index] for vote in made.votes if vote.index in odd]
        faults += [vote["why"] for vote in votes if vote["standing"] == standing.WRONG]
        if allowed:
            doubts += [vote["why"] for vote in votes if vote["standing"] == standing.UNKNOWN]
        if self.left_out:
            doubts.append(_LEFT_OUT)
        if votes:
            told["votes"] = votes
            told["assurance"] = min(vote["assurance"] for vote in votes)
            policy = facts.policies[made.policy]
            if allowed and policy["single_human"]:
                told["single_human"] = True
            if allowed and policy["assurance"] == "H3":
                doubts.append(_ATTESTED)
        told["status"] = INVALID if faults else CANNOT_TELL if doubts else VERIFIED
        told["why"] = faults + doubts or [sys.intern(_reason(told, made.rule))]  # few reasons serve many decisions
        return told

    def _anchors(self, entry: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        trust, body = self._trust, entry["body"]
        faults: list[str] = []
        doubts: list[str] = []
        if trust is None or trust.policy is None:
            doubts.append("trust.json names no policy to hold it against")
        elif body["policy"] not in trust.policy:
            faults.append("it was decided under a policy that you do not trust")
        return faults, doubts

    def _anchored_entries(self) -> int:
        """How many entries, from the first on, rest on a decision key of trust.json. What does not at one size does not
        at a later one, so halving finds it: going through the keys for each decision takes too long when both are many.
        """
        if not self._made or self._trust is None or self._trust.decision is None:
            return 0
        keys, size = self._trust.decision, int(self._made[-1].told["index"]) + 1
        return bisect.bisect_left(range(1, size + 1), True, key=lambda size: self._ring.not_anchored(keys, size) != "")

    def _vote(self, facts: Facts, vote: _Vote) -> dict[str, Any]:
        fields = {name: getattr(vote, name) for name in ("index", "person", "decision", "assurance")}
        if not vote.key:
            return {**fields, "standing": standing.UNKNOWN, "why": _CLICK}
        people = self._trust.people if self._trust is not None else None
        found = standing.of(facts, people, vote.person, vote.key, vote.time)
        return {**fields, "key": vote.key, "standing": found.state, "why": found.why}


def _begin(entry: Mapping[str, Any]) -> dict[str, Any]:
    body = entry["body"]
    fields = {name: body[name] for name in ("verdict", "state", "risk", "action_digest")}
    return {"index": entry["index"], "time": entry["time"], "request": entry["subject"], **fields}


def _granted(facts: Facts, name: str) -> _Vote:
    grant = facts.grants[name]
    return _Vote(grant.index, grant.reviewer, "grant", grant.assurance, grant.key, grant.issued)


def _reason(told: Mapping[str, Any], rule: str) -> str:
    if told["verdict"] == "deny":
        if told["by"] == "people":
            return "somebody who may answer denied it, as the log says; to deny takes no signature"
        if told["by"] == "policy":
            return "policy or a delegation refused it, as the log says; to refuse takes nobody"
        return f"nobody allowed it, and it ended ({told['state']})"
    if told["by"] == "policy":
        return (
            f"the rule {rule} of the policy that you trust lets this be {told['risk']}, which asks nobody; its floors "
            "hold, and conditions were not run again"
        )
    if told["by"] == "grant":
        found = "one person who may answer approved it in advance, with a key that stands"
    elif len(told["votes"]) == 1:
        found = "one person who may answer approved it, with a key that stands"
    else:
        found = f"{len(told['votes'])} votes as the policy asks, each with a key that stands"
    if told.get("single_human"):
        found += "; the policy lets one person answer alone (single_human)"
    return f"{found}; {_ATTESTED}" if told["assurance"] == "H3" else found
