"""Reads a log from entry 0 on and refuses the first entry that could not stand in a good history.

The same code is the publisher's notary (it freezes the log rather than sign what breaks a rule) and the auditor's
verifier. It trusts the bytes alone: what a signature, a hash or an earlier entry does not show, it does not believe.
Rules are numbered in `rulebook`; memory is bounded by what is live, plus a few hours of request ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import canonical, dsse, encoding, entries, keys, merkle, shapes
from imprimatur.verify import (
    actions,
    agents,
    authority,
    canaries,
    changes,
    grants,
    launches,
    log_keys,
    observations,
    people,
    person_keys,
    responses,
    reviews,
    rulebook,
    services,
    signatures,
    sweeps,
    votes,
)
from imprimatur.verify.facts import Facts
from imprimatur.verify.rulebook import BrokenRule

__all__ = ["BrokenRule", "History"]

MAX_ENVELOPE = 65_535
SNAPSHOT = "imprimatur/history-snapshot/v5"
_HOUSEKEEPING = 512

Handler = Callable[[Facts, Mapping[str, Any]], None]

HANDLERS: dict[str, Handler] = {
    **people.HANDLERS,
    **person_keys.HANDLERS,
    **changes.HANDLERS,
    **agents.HANDLERS,
    **authority.HANDLERS,
    **actions.HANDLERS,
    **votes.HANDLERS,
    **reviews.HANDLERS,
    **grants.HANDLERS,
    **sweeps.HANDLERS,
    **log_keys.HANDLERS,
    **services.HANDLERS,
    **launches.HANDLERS,
    **observations.HANDLERS,
    **canaries.HANDLERS,
}


class History:
    """A history that is being read. Feed every entry in order; after a BrokenRule it takes no more.

    `decision_keys` are the pinned public keys (32 bytes each); without them entry 0 is believed about its own key, and
    a report must say so. `realm` is the pinned realm, if one is.
    """

    def __init__(self, realm: str | None = None, decision_keys: tuple[bytes, ...] | list[bytes] = ()) -> None:
        self._pinned_realm = realm
        self._pinned_keys = tuple(decision_keys)
        self._range = merkle.CompactRange()
        self._last_leaf = entries.FIRST_PREV
        self._broken = False
        self.facts = Facts(realm=realm or "")

    @property
    def size(self) -> int:
        """How many entries were accepted: the index of the next."""
        return self._range.size

    @property
    def decision_key(self) -> bytes:
        """The public key that signs the next entry; empty before entry 0."""
        return encoding.un_b64u(self.facts.decision_key)

    def root(self) -> bytes:
        """The root hash of the tree of the accepted entries."""
        return self._range.root()

    def feed(self, index: int, envelope_bytes: bytes) -> dict[str, Any]:
        """Accept the next entry and return it, or raise BrokenRule (and then take nothing more).

        Everything is checked: form, signature, order, chain, realm, time and the rules of the entry's kind.
        """
        if self._broken:
            raise RuntimeError("this history is broken already; start anew or restore a snapshot")
        self._broken = True
        raw = bytes(envelope_bytes)
        entry = self._open(index, raw)
        facts = self.facts
        facts.now, facts.kind = entry["time"], entry["kind"]
        people.end_founding(facts, entry)
        people.check_actor(facts, entry)
        self._judge(entry)
        kinds = facts.totals.kinds
        kinds[facts.kind] = kinds.get(facts.kind, 0) + 1
        self._append(merkle.leaf_hash(raw))
        self._broken = False
        return entry

    def skip(self, leaf: bytes) -> None:
        """Pass over the next entry, of which only the leaf hash is here: order, chain and tree go on, and no fact does.

        What comes after is held to all rules but what only the left-out entry could fill: money that was spent out of
        sight. It may say of nothing that it is so still: what was left out may have ended it. Entry 0 cannot be left
        out. Raises BrokenRule.
        """
        if self._broken:
            raise RuntimeError("this history is broken already; start anew or restore a snapshot")
        self._broken = True
        self.facts.index = self.size
        self.facts.hold(self.size, rulebook.GENESIS, "entry 0 cannot be left out")
        people.close_founding(self.facts)  # what founds the log is no request, and nothing else may be left out
        self.facts.left_out += 1
        self._append(leaf)
        self._broken = False

    def _append(self, leaf: bytes) -> None:
        facts = self.facts
        self._range.append(leaf)
        self._last_leaf = leaf.hex()
        if self.size % _HOUSEKEEPING == 0:
            actions.forget(facts)
            authority.forget(facts)
            grants.forget(facts)
            launches.forget(facts)
            responses.forget(facts)
            signatures.forget(facts)

    def _judge(self, entry: Mapping[str, Any]) -> None:
        try:
            HANDLERS[entry["kind"]](self.facts, entry)
        except BrokenRule:
            raise
        except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
            # Closed shapes should leave nothing to stumble over; what cannot be judged is refused all the same.
            message = f"it cannot be judged ({type(error).__name__}: {error})"
            raise BrokenRule(rulebook.ENTRY, self.facts.index, message) from error

    def _open(self, index: int, raw: bytes) -> dict[str, Any]:
        facts = self.facts
        facts.index = index
        facts.hold(index == self.size, rulebook.ORDER, f"entry {self.size} comes next, not {index}")
        facts.hold(len(raw) <= MAX_ENVELOPE, rulebook.ENVELOPE, f"{len(raw)} bytes are too many for a tile")
        try:
            envelope = dsse.open_envelope(raw)
        except dsse.DsseError as error:
            raise BrokenRule(rulebook.ENVELOPE, index, str(error)) from error
        facts.hold(envelope.payload_type == dsse.PAYLOAD_TYPE, rulebook.ENVELOPE, "the payload is not a log entry")
        if index:
            facts.hold(
                dsse.verify(envelope, self.decision_key), rulebook.SIGNATURE, "the decision key did not sign this"
            )
        try:
            entry = entries.parse(envelope.payload)
        except (canonical.CanonicalError, shapes.ShapeError) as error:
            raise BrokenRule(rulebook.ENTRY, index, str(error)) from error
        facts.hold(entry["index"] == index, rulebook.ORDER, f"it calls itself entry {entry['index']}")
        if not index:
            self._begin(entry, envelope)
        facts.hold(entry["realm"] == facts.realm, rulebook.REALM, f"it is of another realm, not of {facts.realm}")
        facts.hold(entry["prev"] == self._last_leaf, rulebook.CHAIN, "it does not follow the entry before it")
        facts.hold(entry["time"] >= facts.now, rulebook.TIME, f"its time is before {facts.now}")
        return entry

    def _begin(self, entry: Mapping[str, Any], envelope: dsse.Envelope) -> None:
        facts, rule = self.facts, rulebook.GENESIS
        facts.hold(entry["kind"] == entries.GENESIS, rule, "the first entry does not begin the log")
        if self._pinned_realm is not None:
            facts.hold(
                entry["realm"] == self._pinned_realm, rulebook.REALM, f"it is not of the realm {self._pinned_realm}"
            )
        facts.realm = entry["realm"]
        stated = entry["body"]["decision_key"]
        key = encoding.un_b64u(stated["public"])
        facts.hold(keys.dsse_keyid(key) == stated["keyid"], rule, "the decision key does not have the id it is given")
        if self._pinned_keys:
            facts.hold(key in self._pinned_keys, rule, "the decision key is not one that you trust")
        facts.hold(dsse.verify(envelope, key), rulebook.SIGNATURE, "the decision key did not sign this")
        log_keys.begin(facts, entry["body"])

    def snapshot(self) -> dict[str, Any]:
        """Everything needed to go on later, as JSON values. Keep it where only the notary writes."""
        if self._broken:
            raise RuntimeError("a broken history has no snapshot")
        if self.facts.left_out:
            raise RuntimeError("a history with entries left out has no snapshot")
        return {
            "typ": SNAPSHOT,
            "size": self.size,
            "hashes": [item.hex() for item in self._range.hashes],
            "last_leaf": self._last_leaf,
            "facts": self.facts.as_json(),
        }

    @classmethod
    def restore(
        cls,
        snapshot: Mapping[str, Any],
        realm: str | None = None,
        decision_keys: tuple[bytes, ...] | list[bytes] = (),
    ) -> History:
        """Go on from a snapshot. Raises ValueError when it is not one, or is of another realm or decision key."""
        history = cls(realm, decision_keys)
        try:
            if snapshot["typ"] != SNAPSHOT:
                raise ValueError("another version")
            history._range = merkle.CompactRange.from_hashes(
                snapshot["size"], [bytes.fromhex(item) for item in snapshot["hashes"]]
            )
            history._last_leaf = snapshot["last_leaf"]
            history.facts = Facts.from_json(snapshot["facts"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a snapshot of a history: {error}") from error
        if realm is not None and history.size and history.facts.realm != realm:
            raise ValueError("the snapshot is of another realm")
        if decision_keys and history.size and encoding.un_b64u(history.facts.decision_keys[0]) not in decision_keys:
            raise ValueError("the snapshot was made under another decision key")
        return history


def canonical_snapshot(history: History) -> bytes:
    """A snapshot as bytes, the same for the same history."""
    return canonical.dumps(history.snapshot())
