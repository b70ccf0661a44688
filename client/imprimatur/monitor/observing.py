"""One round of a monitor: look at the processes, sign what changed (or is due again), send it.

Invariants: what was seen is signed and on the disk before it is sent; while the server is away it piles up in order and
is sent later. Nothing a process does to its own name, environment or files ends a round.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imprimatur.errors import APIError
from imprimatur.formats import attestation, canonical, ids
from imprimatur.monitor.following import Follower, LogProblem
from imprimatur.monitor.own_log import OwnLog
from imprimatur.monitor.processes import Proc, Seen, shorten
from imprimatur.service.service import Told, Voice

MOST_PROCESSES = 64
MOST_LAUNCHES = 200
_OF_EACH = ("pid", "parent", "started", "command", "cgroup", "limits")
"""What differs between processes that are alike, or that any of them can change of itself without being another."""
"""In one round, live ones first. More than these are made up: their processes are counted and not shown."""


@dataclass
class Round:
    """What a round did."""

    told: list[Told] = field(default_factory=list)
    signed: int = 0
    waiting: int = 0
    problems: list[str] = field(default_factory=list)
    unread: int = 0


@dataclass
class _Last:
    """What was said last of one launch."""

    said: bytes
    at: float


def one_of_each_first(processes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The processes, those that are like none before them first, each part in its order.

    Whoever runs many alike must not be able to crowd out the one that differs from what was launched. What makes two
    alike is what they are and what holds them, not what they call themselves or how many there are.
    """
    kinds: set[bytes] = set()
    first: list[Mapping[str, Any]] = []
    rest: list[Mapping[str, Any]] = []
    for each in processes:
        kind = canonical.dumps({name: value for name, value in each.items() if name not in _OF_EACH})
        (rest if kind in kinds else first).append(each)
        kinds.add(kind)
    return [*first, *rest]


class Monitor:
    """Looks, signs and sends. ``interval``, ``heartbeat`` and ``grace`` are seconds."""

    def __init__(
        self,
        voice: Voice,
        proc: Proc,
        follower: Follower,
        own_log: OwnLog,
        node: Mapping[str, str],
        *,
        heartbeat: float = 60.0,
        grace: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``grace``: how long a live launch may be without a process before that is said. Between the attestation
        and the start, and between the end and the word of it, there is none."""
        self._voice = voice
        self._proc = proc
        self._follower = follower
        self._own_log = own_log
        self._node = dict(node)
        self._heartbeat = heartbeat
        self._grace = grace
        self._monotonic = monotonic
        self._last: dict[str, _Last] = {}
        self._missing: dict[str, float] = {}
        self._live: list[str] = []

    def round(self) -> Round:
        """Once. Raises what stops a service for good: ForkError, StatementRefused, LedgerError, OSError of its disk."""
        done = Round()
        try:
            self._follower.follow()
        except LogProblem as problem:
            done.problems.append(str(problem))
        try:
            # Asked first: what is live by then and has no process afterwards is really without one.
            self._live = self._launches()
        except APIError as error:
            done.problems.append(f"The live launches could not be asked for: {error}")
        seen = self._proc.look()
        done.unread = seen.unread
        shown = self._shown(seen)
        unread = seen.unread + sum(len(each) for name, each in seen.launches.items() if name not in shown)
        for launch, processes in self._due(shown).items():
            self._sign(launch, processes, unread)
            done.signed += 1
        self._own_log.publish()
        try:
            done.told = self._voice.send()
        except APIError as error:
            done.problems.append(f"What was seen waits to be sent: {error}")
        done.waiting = self._voice.ledger.size - self._voice.sent
        return done

    def _shown(self, seen: Seen) -> dict[str, list[dict[str, Any]]]:
        """The launches to speak of. Made-up ones never keep a live one out."""
        live = set(self._live)
        names = sorted(seen.launches, key=lambda name: (name not in live, name))
        return {name: seen.launches[name] for name in names[:MOST_LAUNCHES]}

    def _due(self, found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        """What to say now, by launch: all that is new or changed, and what was said too long ago."""
        now = self._monotonic()
        self._missing = {name: at for name, at in self._missing.items() if name in self._live and name not in found}
        for launch in self._live:
            if launch not in found and now - self._missing.setdefault(launch, now) >= self._grace:
                found[launch] = []
        self._last = {name: last for name, last in self._last.items() if name in found}
        due = {}
        for launch, processes in found.items():
            last = self._last.get(launch)
            said = canonical.dumps(processes)
            if last is None or last.said != said or now - last.at >= self._heartbeat:
                due[launch] = processes
                self._last[launch] = _Last(said, now)
        return due

    def _sign(self, launch: str, processes: Sequence[Mapping[str, Any]], unread: int) -> None:
        """Sign what was seen of one launch. Whatever does not fit into a statement is shortened, and then counted."""
        shown = [dict(each) for each in one_of_each_first(processes)[:MOST_PROCESSES]]
        left_out = len(processes) - len(shown)
        while True:
            predicate: dict[str, Any] = {
                "node": self._node,
                "host": self._proc.host(),
                "log": self._follower.head,
                "processes": shown,
                "launch": launch,
            }
            if unread + left_out:
                predicate["unread"] = unread + left_out
            try:
                self._voice.say(attestation.OBSERVATION, self._subjects(launch), predicate)
                return
            except attestation.AttestationError:
                if not shorten(shown):
                    if not shown:
                        raise
                    shown.pop()
                    left_out += 1

    @staticmethod
    def _subjects(launch: str) -> dict[str, str]:
        return {"launch": hashlib.sha256(launch.encode("utf-8")).hexdigest()}

    def _launches(self) -> list[str]:
        """Ids of live launches that say they run on this machine."""
        found, after = [], ""
        while True:
            answer = self._voice.service.get(f"/launches?live=1{after}")
            rows = answer.get("launches")
            rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            for row in rows:
                predicate = row.get("predicate")
                node = predicate.get("node") if isinstance(predicate, dict) else None
                if isinstance(node, dict) and node.get("name") == self._node["name"]:
                    launch = row.get("launch")
                    if ids.is_id("lau", launch):
                        found.append(str(launch))
            if not answer.get("more") or not rows:
                return found[:MOST_LAUNCHES]
            after = f"&after={int(rows[-1]['index']):d}"
