"""Which keys of a log sign what, and from where to where, as its own entries say.

Nothing is judged here: `imprimatur.verify.log_keys` holds the rules of these entries, and only a reader who applied
them may believe what this gathers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imprimatur.formats import note
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.trust import DecisionKey

KINDS = ("log.genesis", "log.decision_key_changed", "log.key_added", "log.key_retired")


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key that signs checkpoints: named by entry ``since``, and until entry ``until`` (None while it is in use)."""

    vkey: note.Vkey
    since: int
    until: int | None = None

    def signs(self, size: int) -> bool:
        """Whether it must sign the checkpoint of this many entries."""
        return self.since < size and (self.until is None or size <= self.until)


@dataclass
class Keyring:
    """The keys of one log. Show it the entries of `KINDS` in order; others are ignored.

    ``decision`` follow each other without a gap: each has the first and the last entry that it signs, and the last
    one of a key is the entry that introduces the next.
    """

    decision: list[DecisionKey] = field(default_factory=list)
    log: list[LogKey] = field(default_factory=list)

    def see(self, entry: Mapping[str, Any]) -> None:
        """Take an entry into account. Raises NoteError or ValueError for a key that cannot be read."""
        kind, index, body = entry["kind"], entry["index"], entry["body"]
        if kind == "log.genesis":
            self.decision.append(DecisionKey(un_b64u(body["decision_key"]["public"]), index, None))
            self.log.append(LogKey(note.Vkey.parse(body["log_vkey"]), index))
        elif kind == "log.decision_key_changed":
            self.decision[-1] = replace(self.decision[-1], last=index)
            self.decision.append(DecisionKey(un_b64u(body["decision_key"]["public"]), index + 1, None))
        elif kind == "log.key_added":
            self.log.append(LogKey(note.Vkey.parse(body["log_vkey"]), index))
        elif kind == "log.key_retired":
            ended = note.Vkey.parse(body["log_vkey"])
            self.log = [replace(key, until=index) if key.vkey == ended else key for key in self.log]

    def decision_at(self, index: int) -> bytes:
        """The key that signs the entry with this index. Raises LookupError when nothing is known of it."""
        for key in self.decision:
            if key.covers(index):
                return key.public_key
        raise LookupError(f"no decision key is known for entry {index}")

    def log_at(self, size: int) -> list[note.Vkey]:
        """The keys that must sign the checkpoint of this many entries, oldest first."""
        return [key.vkey for key in self.log if key.signs(size)]

    def trusted(self) -> dict[str, Any]:
        """The keys as `trust.json` names them: log keys in use, and each decision key with what it signed."""
        decision = []
        for key in self.decision:
            ended = {} if key.last is None else {"to": key.last}
            decision.append({"key": b64u(key.public_key), "from": key.first, **ended})
        return {"log": [key.vkey.format() for key in self.log if key.until is None], "decision": decision}

    def not_anchored(self, trusted: Sequence[DecisionKey], size: int) -> str:
        """Why the first ``size`` entries do not all rest on a trusted decision key; empty when they do.

        A key rests on itself when it is trusted for every entry that it signed. One that is not named rests on the key
        before it, which signed its introduction, unless another key was trusted to sign there: one that is over does
        not sign in a successor where it still signed.
        """
        before: set[bytes] = set()
        for place, key in enumerate(self.decision):
            last = size - 1 if key.last is None else min(key.last, size - 1)
            if key.first > last:
                break
            named = [known for known in trusted if known.public_key == key.public_key]
            if named and not any(known.covers(key.first) and known.covers(last) for known in named):
                return (
                    f"the decision key of the entries {key.first} to {last} signed entries before the first or after "
                    "the last that trust.json lets it sign"
                )
            if not named and place == 0:
                return "trust.json does not name the decision key with which the log began"
            for known in trusted if not named else ():
                over = known.last is not None
                there = known.first <= last and (known.last is None or known.last >= key.first)
                if there and (over or known.public_key not in before):
                    return (
                        f"a decision key that trust.json does not name signed the entries {key.first} to {last}, and "
                        "trust.json has another key sign there"
                    )
            before.add(key.public_key)
        return "" if self.decision else "no entry names a decision key"
