"""Erase what opens the commitments of requests: by the retention rule, or because somebody must be forgotten.

The value goes, the key goes, and every copy outside goes; the row stays and says when. The commitment stays in the
log, so that no signature and no proof breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit import holds, retention
from audit.admins import Admin
from audit.errors import Declined
from audit.log import SYSTEM, Actor, Writer
from audit.models import Opening
from audit.retention import Erasure, Subject
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """At most 500 subjects. With ``before`` it is the retention rule, else the wish of ``by`` about one request."""

    subjects: tuple[str, ...]
    reason: str
    before: datetime | None = None
    by: Admin | None = None


def apply(writer: Writer, command: Command) -> list[Erasure]:
    """Erase, with one ``openings.erased`` entry for each agent. Holds, ends and ages are read again here.

    The rule passes by what is held, has not ended, or was spoken of since ``before``. A wish about such a request is
    refused: raises Declined, as it does for no admin, no reason, an unknown request, or one with nothing left.
    """
    if not 0 < len(set(command.subjects)) <= retention.MOST_SUBJECTS:
        raise ValueError("one entry names 1 to 500 subjects")
    if (command.before is None) == (command.by is None):
        raise ValueError("openings are erased by the rule or by the wish of an admin")
    if command.by is not None:
        return [_wish(writer, command, command.by)]
    return _rule(writer, command)


def _rule(writer: Writer, command: Command) -> list[Erasure]:
    known = retention.find(command.subjects)
    standing = holds.standing()
    last = retention.last_entries(command.subjects)
    assert command.before is not None
    if command.before > writer.now:
        raise ValueError("nothing is older than a time to come")
    free: dict[str, list[str]] = {}
    for name in sorted(set(command.subjects)):
        subject = known.get(name)
        if subject is None or not subject.ended or standing.over(name, subject.agent) is not None:
            continue
        if name in last and last[name] < command.before:
            free.setdefault(subject.agent, []).append(name)
    done = [_erase(writer, command, agent, names, SYSTEM) for agent, names in sorted(free.items())]
    return [erasure for erasure in done if erasure is not None]


def _wish(writer: Writer, command: Command, by: Admin) -> Erasure:
    actor = by.actor()
    if not command.reason.strip():
        raise Declined("Say why: the log keeps the reason, and auditors read it.")
    [name] = command.subjects
    subject = retention.find([name]).get(name)
    if subject is None:
        raise Declined(f"There is no request {name}. Copy its id from its page or from the log.")
    _must_be_free(subject)
    erasure = _erase(writer, command, subject.agent, [name], actor)
    if erasure is None:
        raise Declined("Nothing is left to erase: this server holds no opening of this request.")
    return erasure


def _must_be_free(subject: Subject) -> None:
    hold = holds.standing().over(subject.id, subject.agent)
    if hold is not None:
        raise Declined(
            f"A legal hold on {holds.what(hold)} covers it (entry {hold.placed_index}): {hold.reason}. "
            "Lift that hold first, if it may be lifted."
        )
    if not subject.ended:
        raise Declined(
            f"It has not ended: it is {subject.state}. People and programs still need its words. Cancel or deny it, "
            "or wait for its outcome, then erase it."
        )


def _erase(writer: Writer, command: Command, agent: str, names: Sequence[str], actor: Actor) -> Erasure | None:
    held = Opening.objects.filter(subject__in=names, value__isnull=False)
    # Sorted, and only those with anything left: the entry says no more than what happened.
    subjects = sorted(set(held.values_list("subject", flat=True)))
    if not subjects:
        return None
    count = held.update(value=None, key=b"", erased_at=writer.now)
    rule = retention.RETENTION if command.before is not None else retention.REQUEST
    body: dict[str, Any] = {
        "rule": rule,
        "agent": agent,
        "subjects": subjects,
        "count": count,
        "reason": command.reason.strip(),
    }
    if command.before is not None:
        body["before"] = format_time(command.before)
    entry = writer.append(retention.ERASED, subject=agent or "requests", actor=actor, body=body, agent=agent)
    erasure = Erasure(entry.index, writer.now, rule, body["reason"], agent, frozenset(subjects), count)
    retention.forget(writer, erasure)
    return erasure
