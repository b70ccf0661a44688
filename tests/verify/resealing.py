"""An operator who has all of the server's keys, and writes a log anew so that only what others signed speaks against it.

The entries get new numbers, name each other by them, follow one another in the chain and in time, are signed with the
decision key that was in force at their place, and are published under a checkpoint of the log key. What was clicked in a
session, and nobody signed, names the log as it is now. What people, agents and services signed stands as they signed it:
of those keys the operator has none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from imprimatur.formats import canonical, merkle
from imprimatur.formats.commitments import Opening
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.verify import copies, log_keys
from tests.verify import builder
from tests.verify.builder import Log

Entry = dict[str, Any]
T = TypeVar("T")


@dataclass
class Operator:
    """Whoever has these keys: ``decision_keys`` by key id. ``openings`` are what the server keeps beside the log."""

    realm: str = builder.REALM
    log_key: KeyPair = builder.LOG_KEY
    decision_keys: Mapping[str, KeyPair] = field(
        default_factory=lambda: {builder.DECISION_KEY.keyid: builder.DECISION_KEY}
    )
    openings: Sequence[Opening] = ()

    def reseal(self, entries: Sequence[Entry]) -> Log:
        """The log of these entries, in this order: each keeps what it says, and ``index`` says where it stood."""
        made = self.begun()
        for _ in self.go_on(made, entries, {entry["index"]: place for place, entry in enumerate(entries)}):
            pass
        return made

    def begun(self) -> Log:
        """A log of this realm without any entry."""
        made = Log(self.realm)
        made.log_key, made.openings = self.log_key, list(self.openings)
        return made

    def go_on(self, made: Log, entries: Sequence[Entry], moved: Mapping[int, int]) -> Iterator[Entry]:
        """Write these behind what is there, one after the other; ``moved`` has the place of each entry by its number.

        Times stay with places: what was moved forward happened then.
        """
        times = sorted(entry["time"] for entry in entries)
        for entry, time in zip(entries, times, strict=True):
            place = len(made.envelopes)
            fresh = {**renumbered(entry, moved), "index": place, "prev": made.last_leaf, "time": time}
            _seen_anew(fresh["body"], made, moved)
            after = None
            if fresh["kind"] == "log.genesis":
                made.decision_key = self.decision_keys[fresh["body"]["decision_key"]["keyid"]]
            elif fresh["kind"] == "log.decision_key_changed":
                after = self.decision_keys[fresh["body"]["decision_key"]["keyid"]]
                said = log_keys.possession(self.realm, place, made.decision_key.keyid, after.keyid)
                fresh["body"]["signature"] = b64u(after.sign(said))
            made.envelopes.append(made.seal(canonical.dumps(fresh)))
            made.entries.append(fresh)
            made.decision_key = after or made.decision_key
            yield fresh

    def bundle(self, log: Log) -> dict[str, bytes]:
        """A bundle of a log, with a checkpoint and a list of files under these keys."""
        files = builder.bundle_files(log)
        files["trust/decision.pub.pem"] = copies._pem(log.decision_key.public_key)
        return builder.finished(files, log, log.decision_key)


def _seen_anew(body: dict[str, Any], made: Log, moved: Mapping[int, int]) -> None:
    """A statement that nobody signed names the head that the log of the operator had then."""
    if body.get("evidence", {}).get("kind") != "session":
        return
    said = canonical.loads(body["statement"].encode())
    size = sum(at in moved for at in range(said["log_size"]))
    root = merkle.root_of(map(merkle.leaf_hash, made.envelopes[:size]))
    body["statement"] = canonical.dumps({**said, "log_size": size, "log_root": f"sha256:{root.hex()}"}).decode()


def renumbered(entry: Entry, moved: Mapping[int, int]) -> Entry:
    """The entry with new numbers wherever it names others. What is there no more it does not name any more, where it
    can do without."""
    fresh = copy.deepcopy(entry)
    body = fresh["body"]
    fresh["refs"] = [{**ref, "index": moved[ref["index"]]} for ref in entry["refs"] if ref["index"] in moved]
    if "votes" in body:
        body["votes"] = [moved[vote] for vote in body["votes"] if vote in moved]
    for name in ("vote", "cause"):
        if name in body:
            body[name] = moved.get(body[name], body[name])
    if fresh["subject"].startswith("entry:"):
        fresh["subject"] = f"entry:{body['cause']}"
    return fresh


def without(entries: Sequence[Entry], *gone: int) -> list[Entry]:
    """All but these."""
    return [entry for entry in entries if entry["index"] not in gone]


def swapped(entries: Sequence[T], one: int, other: int) -> list[T]:
    """These two at each other's place."""
    places = {one: other, other: one}
    return [entries[places.get(place, place)] for place in range(len(entries))]
