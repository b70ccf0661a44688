"""The one way to change state: lock the head of the log, apply commands, sign and insert their entries, commit.

Order of locks, everywhere: the head row first, then whatever a command needs (spend rows sorted). No command opens a
transaction of its own, none locks a row before the head, and nothing slow (crypto of others, CEL, rendering, network)
happens in here. Effects run after the commit. This order rules out deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import connection, transaction
from imprimatur.formats import dsse, entries, merkle
from imprimatur.formats.timestamps import format_time, parse_time

from audit import signer
from audit.errors import LogFrozen, LogNotBegun
from audit.models import Entry, LogHead, Opening, Outbox

C = TypeVar("C")
R = TypeVar("R")

_inside = threading.local()


@dataclass(frozen=True)
class Actor:
    """Who did it, as the log says it."""

    type: str
    id: str
    key: str = ""
    assurance: str = ""

    def as_dict(self) -> dict[str, str]:
        parts = {"type": self.type, "id": self.id, "key": self.key, "assurance": self.assurance}
        return {name: value for name, value in parts.items() if value}


SYSTEM = Actor("system", "imprimatur")


@dataclass(frozen=True)
class Appended:
    """An entry that has its index, its bytes and its signature, and will be durable when the batch commits."""

    index: int
    leaf: str
    envelope: bytes
    time: datetime
    body: dict[str, Any]


def utc_now() -> datetime:
    """The time, in UTC, cut to milliseconds: the resolution of everything signed."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Writer:
    """Handed out by :func:`writing`, one per transaction. Appends entries, outbox rows, openings, and after-effects.

    Invariant: ``now`` is never earlier than the head's time, and indexes are contiguous from the head's size.
    """

    def __init__(self, head: LogHead) -> None:
        self.realm = head.realm
        self.epoch = head.epoch
        now = utc_now()
        self.now = max(now, head.last_time) if head.last_time else now
        self.size = head.size
        self._last_leaf = head.last_leaf
        self._entries: list[Entry] = []
        self._outbox: list[Outbox] = []
        self._openings: list[Opening] = []
        self._effects: list[Callable[[], object]] = []

    def append(
        self,
        kind: str,
        *,
        subject: str,
        actor: Actor,
        body: dict[str, Any],
        refs: Sequence[tuple[str, int]] = (),
        agent: str = "",
    ) -> Appended:
        """Sign one entry and give it the next index. Raises ShapeError when the body is not of the kind's shape."""
        index = self.size
        payload = entries.build(
            realm=self.realm,
            index=index,
            prev=self._last_leaf,
            time=format_time(self.now),
            kind=kind,
            subject=subject,
            actor=actor.as_dict(),
            refs=[{"rel": rel, "index": at} for rel, at in refs],
            body=body,
        )
        key = signer.decision_key()
        envelope = dsse.seal(payload, key.sign, key.keyid, dsse.PAYLOAD_TYPE)
        leaf = merkle.leaf_hash(envelope).hex()
        self._entries.append(
            Entry(
                index=index,
                leaf=leaf,
                envelope=envelope,
                time=self.now,
                kind=kind,
                subject=subject,
                actor_type=actor.type,
                actor_id=actor.id,
                agent=agent or (actor.id if actor.type == "agent" else ""),
                verdict=str(body.get("verdict", "")),
                risk=str(body.get("risk", "")),
            )
        )
        self.size, self._last_leaf = index + 1, leaf
        return Appended(index, leaf, envelope, self.now, body)

    def publish(self, topic: str, payload: dict[str, Any], *, not_before: datetime | None = None) -> None:
        """Put a notification in the outbox of this transaction."""
        row = Outbox(topic=topic, payload=payload, created_at=self.now, not_before=not_before or self.now)
        self._outbox.append(row)

    def keep_opening(self, opening: Opening) -> None:
        """Store what opens a commitment, beside the log."""
        self._openings.append(opening)

    def after_commit(self, effect: Callable[[], object]) -> None:
        """Run something once the transaction is durable: wake a waiting agent, tell the sockets."""
        self._effects.append(effect)

    def _finish(self, head: LogHead) -> None:
        if self._openings:
            Opening.objects.bulk_create(self._openings, ignore_conflicts=True)
        if self._outbox:
            Outbox.objects.bulk_create(self._outbox)
        if self._entries:
            Entry.objects.bulk_create(self._entries)
            LogHead.objects.filter(pk=head.pk).update(
                size=self.size, last_leaf=self._last_leaf, last_time=self.now
            )
        for effect in self._effects:
            transaction.on_commit(effect, robust=True)


@contextmanager
def writing() -> Iterator[Writer]:
    """Open the one kind of transaction that changes state: head row locked first, entries inserted on exit.

    Raises LogNotBegun before ``manage.py begin``, LogFrozen while the log is frozen, RuntimeError when nested.
    """
    if getattr(_inside, "writing", False):
        raise RuntimeError("writing() does not nest: a command must never open a transaction of its own")
    _inside.writing = True
    try:
        with transaction.atomic():
            head = LogHead.objects.select_for_update().first() if _locks_rows() else LogHead.objects.first()
            if head is None:
                raise LogNotBegun
            if head.state != LogHead.OPEN:
                raise LogFrozen(head.frozen_reason)
            writer = Writer(head)
            yield writer
            writer._finish(head)
    finally:
        _inside.writing = False


def _locks_rows() -> bool:
    # SQLite has no row locks and needs none: BEGIN IMMEDIATE already is the lock on the head.
    return bool(connection.features.has_select_for_update)


def run_batch(commands: Sequence[tuple[Callable[[Writer, Any], Any], Any]]) -> list[Any | BaseException]:
    """Apply many commands in one transaction. If any raises, replay them one by one: only the poisonous one fails."""
    try:
        with writing() as writer:
            return [apply(writer, command) for apply, command in commands]
    except Exception as error:
        if len(commands) == 1:
            return [error]
    results: list[Any | BaseException] = []
    for single in commands:
        results.extend(run_batch([single]))
    return results


def commit(apply: Callable[[Writer, C], R], command: C) -> R:
    """Apply one command and return its result once it is durable. Goes through this process's writer when one runs."""
    from audit.writer import running

    thread = running()
    if thread is not None and threading.current_thread() is not thread:
        return thread.submit(apply, command).result()
    [result] = run_batch([(apply, command)])
    if isinstance(result, BaseException):
        raise result
    return result  # type: ignore[no-any-return]  # run_batch is untyped by nature: it mixes commands


__all__ = ["SYSTEM", "Actor", "Appended", "Writer", "commit", "parse_time", "run_batch", "utc_now", "writing"]
