"""The one way to change state: lock the head of the log, apply commands, sign and insert their entries, commit.

Order of locks, everywhere: the head row first, then whatever a command needs (spend rows sorted). No command opens a
transaction of its own, none locks a row before the head, and nothing slow (crypto of others, CEL, rendering, network)
happens in here. Effects run after the commit. This order rules out deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction

from audit import keyring
from audit.errors import ClockBehind, LogError, LogFrozen, LogNotBegun, SignerUnavailable
from audit.models import Entry, LogHead, Opening, Outbox
from imprimatur.formats import dsse, entries, merkle
from imprimatur.formats.timestamps import format_time

if TYPE_CHECKING:
    from audit.signer import Signer

C = TypeVar("C")
R = TypeVar("R")

# A clock may be stepped back a little by its synchronisation; more than this is wrong, and no expiry could be trusted.
MOST_BEHIND = timedelta(seconds=60)

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
CONSOLE = Actor("system", "console")  # the operator of the machine; verifiers count what it did


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
        if head.last_time and head.last_time - now > MOST_BEHIND:
            raise ClockBehind(int((head.last_time - now).total_seconds()))
        self.now = max(now, head.last_time) if head.last_time else now
        self.size = head.size
        self._last_leaf = head.last_leaf
        self._signer: Signer | None = None
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
        """Sign one entry and give it the next index.

        Raises EntryError when the body is not of the kind's shape, SignerUnavailable when the decision key is away.
        """
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
        key = self.signer
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

    @property
    def signer(self) -> Signer:
        """The decision key in force, looked up under the lock of the head."""
        if self._signer is None:
            self._signer = keyring.in_force()
        return self._signer

    def sign_with(self, signer: Signer) -> None:
        """From the next entry on another decision key signs. Only for what has just introduced it."""
        self._signer = signer

    def publish(self, topic: str, payload: dict[str, Any], *, not_before: datetime | None = None) -> None:
        """Put a notification in the outbox of this transaction."""
        row = Outbox(topic=topic, payload=payload, created_at=self.now, not_before=not_before or self.now)
        self._outbox.append(row)

    def keep_opening(self, opening: Opening) -> None:
        """Store what opens a commitment, beside the log."""
        self._openings.append(opening)

    def is_kept(self, commitments: Collection[str]) -> bool:
        """Whether one of these commitments has an opening already, be it an erased one, or gets one in this batch."""
        if any(opening.commitment in commitments for opening in self._openings):
            return True
        return Opening.objects.filter(pk__in=commitments).exists()

    def after_commit(self, effect: Callable[[], object]) -> None:
        """Run something once the transaction is durable: wake a waiting agent, tell the sockets."""
        self._effects.append(effect)

    def finish(self, head: LogHead) -> None:
        """Insert what was gathered, move the head, queue the after-effects. Called once, at the transaction's end."""
        if self._openings:
            Opening.objects.bulk_create(self._openings, ignore_conflicts=True)
        if self._outbox:
            Outbox.objects.bulk_create(self._outbox)
        if self._entries:
            Entry.objects.bulk_create(self._entries)
            LogHead.objects.filter(pk=head.pk).update(size=self.size, last_leaf=self._last_leaf, last_time=self.now)
            transaction.on_commit(_kick_publisher, robust=True)
        for effect in self._effects:
            transaction.on_commit(effect, robust=True)


def _kick_publisher() -> None:
    from audit import publisher

    publisher.kick()


@contextmanager
def writing() -> Iterator[Writer]:
    """Open the one kind of transaction that changes state: head row locked first, entries inserted on exit.

    Raises LogNotBegun before ``manage.py begin``, LogFrozen while the log is frozen, ClockBehind when time ran
    backwards, RuntimeError when nested or when called inside another transaction (whose locks would come first).
    """
    if getattr(_inside, "writing", False):
        raise RuntimeError("writing() does not nest: a command must never open a transaction of its own")
    _inside.writing = True
    try:
        with transaction.atomic(durable=True):
            head = LogHead.objects.select_for_update().first() if _locks_rows() else LogHead.objects.first()
            if head is None:
                raise LogNotBegun
            if head.state != LogHead.OPEN:
                raise LogFrozen(head.frozen_reason)
            writer = Writer(head)
            yield writer
            writer.finish(head)
    finally:
        _inside.writing = False


def _locks_rows() -> bool:
    # SQLite has no row locks and needs none: BEGIN IMMEDIATE already is the lock on the head.
    return bool(connection.features.has_select_for_update)


def freeze(reason: str) -> None:
    """Stop the log: nothing is decided until an operator recovers it. A first reason is never overwritten."""
    LogHead.objects.filter(state=LogHead.OPEN).update(state=LogHead.FROZEN, frozen_reason=reason)


def run_batch(commands: Sequence[tuple[Callable[[Writer, Any], Any], Any]]) -> list[Any | BaseException]:
    """Apply many commands in one transaction, and return their results in order; an error stands in its place.

    If a command raises, everything is rolled back and the halves are replayed, down to single commands: only the
    poisonous one fails. If the transaction cannot be opened, nothing can sign, or the database goes away, every
    command gets that error: nothing is replayed whose outcome is not known, and asking again is safe.
    """
    applying = False
    try:
        with writing() as writer:
            applying = True
            results = [apply(writer, command) for apply, command in commands]
            applying = False
        return results
    except SignerUnavailable as error:
        # It would be asked again for each half, with all the patience it takes, and everybody waits meanwhile.
        return [error] * len(commands)
    except (OperationalError, InterfaceError, LogError) as error:
        if not applying or len(commands) == 1:
            return [error] * len(commands)
    except Exception as error:
        if len(commands) == 1:
            return [error]
    middle = len(commands) // 2
    return [*run_batch(commands[:middle]), *run_batch(commands[middle:])]


def commit(apply: Callable[[Writer, C], R], command: C) -> R:
    """Apply one command and return its result once it is durable. Goes through this process's writer when one runs."""
    from audit.writer import running

    thread = running()
    if thread is not None and threading.current_thread() is not thread:
        if connection.in_atomic_block:
            # The writer would wait for this transaction's locks, and this transaction for the writer.
            raise RuntimeError("commit() was called inside a transaction: call it outside")
        return thread.submit(apply, command).result()
    [result] = run_batch([(apply, command)])
    if isinstance(result, BaseException):
        raise result
    return result  # type: ignore[no-any-return]  # run_batch is untyped by nature: it mixes commands


def commit_each(commands: Sequence[tuple[Callable[[Writer, Any], Any], Any]]) -> list[Any | BaseException]:
    """Apply several commands, in one transaction as far as they go together, and return what became of each.

    Like :func:`commit` for each of them, but none waits for the one before; an error stands in its place.
    """
    from audit.writer import running

    thread = running()
    if thread is None or threading.current_thread() is thread:
        return run_batch(commands) if commands else []
    if connection.in_atomic_block:
        raise RuntimeError("commit_each() was called inside a transaction: call it outside")
    futures = [thread.submit(apply, command) for apply, command in commands]
    return [future.exception() or future.result() for future in futures]


__all__ = [
    "CONSOLE",
    "SYSTEM",
    "Actor",
    "Appended",
    "Writer",
    "commit",
    "commit_each",
    "freeze",
    "run_batch",
    "utc_now",
    "writing",
]
