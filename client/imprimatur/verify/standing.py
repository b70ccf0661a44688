"""Whose key it is, as far as the trust anchors tell: pinned, vouched for up to a pinned key, or on the operator's word.

The log says which key is whose. It is the operator's log: a key counts as somebody's because `trust.json` pins it, or
because people whose keys are pinned vouched for it. What the console vouched for, or what came first, and is not
pinned, is the operator's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imprimatur.formats.trust import PersonKey
from imprimatur.verify import signatures
from imprimatur.verify.facts import Facts

PINNED, VOUCHED, UNKNOWN, WRONG = "pinned", "vouched", "unknown", "wrong"
_LONGEST = 64
_REVOKED = "was revoked from before that time, or lapsed with a voucher's: somebody else may have signed with it"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the anchors say of one use of a key, and why, in a sentence. `good` when it is a person's for certain."""

    state: str
    why: str

    @property
    def good(self) -> bool:
        """Whether the key is this person's, as far as the anchors are right."""
        return self.state in (PINNED, VOUCHED)


def of(facts: Facts, anchors: Sequence[PersonKey] | None, person: str, fingerprint: str, time: str) -> Standing:
    """How a key of this person stood at that time, by all that the facts say of it since.

    `anchors` None: `trust.json` says nothing about people.
    """
    if anchors is None:
        return Standing(UNKNOWN, "trust.json names no people's keys")
    return _of(facts, anchors, _Use(person, fingerprint, time))


@dataclass(frozen=True, slots=True)
class _Use:
    """One signature: whose, with which key, when. `depth` counts the vouchers above."""

    person: str
    key: str
    time: str
    depth: int = 0


def _of(facts: Facts, anchors: Sequence[PersonKey], use: _Use) -> Standing:
    pinned = [known for known in anchors if known.fingerprint == use.key]
    own = [known for known in pinned if known.person == use.person]
    own_then = any(known.covers(use.time) for known in own)
    counts = signatures.key_counts_then(facts, use.person, use.key, use.time)
    if own_then and counts:
        return Standing(PINNED, f"{use.key} is pinned for {use.person}")
    if own_then or (_ended_by(own, use.time) and _revoked_by(facts, use)):
        return Standing(UNKNOWN, f"{use.key} of {use.person} {_REVOKED}")
    if own:
        return Standing(WRONG, f"{use.key} is not a key that you trust for {use.person} at that time")
    if pinned:
        return Standing(WRONG, f"{use.key} is pinned for {pinned[0].person}, and {use.person} signed with it")
    if not anchors:
        return Standing(WRONG, f"{use.key} is not a key that you trust: trust.json names nobody")
    return _vouched(facts, anchors, use)


def _ended_by(own: Sequence[PersonKey], time: str) -> bool:
    """Whether the anchors knew the key for this person's once, and let it end before that time."""
    return any(known.until is not None and known.until < time for known in own)


def _revoked_by(facts: Facts, use: _Use) -> bool:
    """Whether the log says the same: somebody revoked the key later, from that time or before.

    A `trust.json` that was written after that ends the key as the log does. It accuses nobody of more than the log.
    """
    known = facts.people.get(use.person)
    key = known.keys.get(use.key) if known is not None else None
    return key is not None and "" < key.revoked_since <= use.time


def _vouched(facts: Facts, anchors: Sequence[PersonKey], use: _Use) -> Standing:
    known = facts.people.get(use.person)
    key = known.keys.get(use.key) if known is not None else None
    if key is None or use.depth > _LONGEST:
        return Standing(UNKNOWN, f"{use.key} is not pinned, and no entry says how it became {use.person}'s")
    if not signatures.key_counts_then(facts, use.person, use.key, use.time):
        return Standing(UNKNOWN, f"{use.key} of {use.person} {_REVOKED}")
    rests = f"{use.key} of {use.person} is not pinned"
    if key.purpose == "delegation":
        return Standing(UNKNOWN, f"{rests}: the operator's console registered it")
    if key.vouched_by == "console":
        return Standing(UNKNOWN, f"{rests}: the operator's console vouched for it")
    if not key.vouched_with:
        return Standing(UNKNOWN, f"{rests}: it was the first key, and nobody could vouch for it")
    voucher = _of(facts, anchors, _Use(key.vouched_by, key.vouched_with, key.vouched, use.depth + 1))
    if voucher.good:
        return Standing(VOUCHED, f"{rests}; {key.vouched_by} vouched for it with a key that stands")
    return Standing(voucher.state, f"{rests}; {key.vouched_by} vouched for it, and {voucher.why}")
