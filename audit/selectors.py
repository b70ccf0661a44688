"""Reading the log: filters, and everything about one entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce

from audit import kinds
from audit.models import Bundle, Checkpoint, Entry, LogHead, Opening, SavedView
from audit.publisher import published_size
from imprimatur.formats import canonical, digests, dsse
from imprimatur.formats.entries import KINDS

FEW = 2000  # entries that are collected and sorted in no time
LEAST_OF_A_HASH = 6  # characters: fewer would match entries that nobody meant


@dataclass(frozen=True)
class EntryFilter:
    """What to look for; what is empty filters nothing. ``kind`` may be a family, such as ``delegation.``.

    ``below`` pins the log as it was with so many entries: what is found then never changes.
    """

    kind: str = ""
    agent: str = ""
    actor: str = ""
    subject: str = ""
    verdict: str = ""
    risk: str = ""
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    below: int | None = None


@dataclass(frozen=True)
class EntryDetail:
    """One entry with what surrounds it. ``payload`` is parsed from the signed bytes, never from the columns."""

    row: Entry
    payload: dict[str, Any]
    sentence: str
    keyid: str
    envelope_digest: str
    published: bool
    same_subject: list[Entry]
    openings: list[Opening] = field(default_factory=list)


def entries(filters: EntryFilter | None = None) -> QuerySet[Entry]:
    """The entries that match, newest first."""
    wanted = filters or EntryFilter()
    found = Entry.objects.order_by("-index").filter(**_indexed(wanted), **_unindexed(wanted))
    if wanted.below is not None:
        found = found.filter(index__lt=wanted.below)
    for word in wanted.text.split():
        found = found.filter(_says(word))
    return found


def finds_few(filters: EntryFilter) -> bool:
    """Whether an index alone leaves so few entries that the rest of the filter costs nothing."""
    found = Entry.objects.order_by()
    return any(found.filter(**{name: value})[:FEW].count() < FEW for name, value in _indexed(filters).items())


def between(filters: EntryFilter) -> tuple[int, int]:
    """The first index, and the one after the last, that the times of the filter and ``below`` allow.

    No entry is earlier than the one before it, so times bound indexes.
    """
    size = LogHead.objects.values_list("size", flat=True).first() or 0
    first, end = 0, size if filters.below is None else min(filters.below, size)
    timed = Entry.objects.values_list("index", flat=True)
    if filters.since is not None:
        found = timed.filter(time__gte=filters.since).order_by("time", "index").first()
        first = end if found is None else found
    if filters.until is not None:
        found = timed.filter(time__lt=filters.until).order_by("-time", "-index").first()
        end = min(end, -1 if found is None else found + 1)
    return first, max(end, first)


def looked_through(filters: EntryFilter, start: int) -> QuerySet[Entry]:
    """The entries from ``start`` on that match, newest first, read one after the other until enough are found.

    For filters that match many: an index would have to collect and sort them all before it gives the newest.
    """
    found = Entry.objects.order_by("-index").filter(index__gte=start, **_unindexed(filters))
    if filters.below is not None:
        found = found.filter(index__lt=filters.below)
    for name, value in _indexed(filters).items():
        column = name.removesuffix("__in")
        # As an expression, a column is compared without its index.
        found = found.alias(**{f"plain_{column}": Coalesce(column, Value(""))}).filter(**{f"plain_{name}": value})
    for word in filters.text.split():
        found = found.filter(_says(word))
    return found


def saved_views(user_id: int | None) -> list[SavedView]:
    """The saved views of a login, by name."""
    return list(SavedView.objects.filter(owner_id=user_id))


def entry_detail(index: int) -> EntryDetail:
    """Everything about one entry. Raises Entry.DoesNotExist."""
    row = Entry.objects.get(index=index)
    raw = bytes(row.envelope)
    envelope = dsse.open_envelope(raw)
    payload: dict[str, Any] = canonical.loads_canonical(envelope.payload)
    same = Entry.objects.filter(subject=row.subject).exclude(index=index).order_by("index")
    return EntryDetail(
        row=row,
        payload=payload,
        sentence=kinds.sentence(payload),
        keyid=envelope.keyid,
        envelope_digest=digests.sha256(raw),
        published=index < published_size(),
        same_subject=list(same[:50]),
        openings=list(Opening.objects.filter(commitment__in=commitments_in(payload["body"]))),
    )


def payload_of(row: Entry) -> dict[str, Any]:
    """The signed payload of an entry, parsed. Raises DsseError when the stored bytes are not an envelope."""
    payload: dict[str, Any] = canonical.loads_canonical(dsse.open_envelope(bytes(row.envelope)).payload)
    return payload


def commitments_in(value: Any, where: str = "") -> dict[str, str]:
    """Every commitment inside a body, with the path of its (first) place."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        for name, item in value.items():
            found = {**commitments_in(item, f"{where}.{name}" if where else name), **found}
    elif isinstance(value, list):
        for place, item in enumerate(value):
            found = {**commitments_in(item, f"{where}[{place}]"), **found}
    elif isinstance(value, str) and value.startswith("c:") and len(value) == 45:
        found[value] = where
    return found


def values_of(column: str, most: int) -> list[tuple[str, str]]:
    """The first ``most`` different values of an indexed column, each with the type of who did one such entry.

    Jumps through the index from value to value, so that it costs as much for a million entries as for a few.
    """
    if column not in ("agent", "actor_id"):
        raise ValueError("only columns with an index of their own can be walked like this")
    walk = f"""
        WITH RECURSIVE walk(value) AS (
            SELECT MIN({column}) FROM audit_entry WHERE {column} > ''
            UNION ALL
            SELECT (SELECT MIN({column}) FROM audit_entry WHERE {column} > walk.value) FROM walk WHERE value IS NOT NULL
        )
        SELECT value, (SELECT actor_type FROM audit_entry WHERE {column} = walk.value LIMIT 1)
        FROM (SELECT value FROM walk WHERE value IS NOT NULL LIMIT %s) AS walk"""  # noqa: S608  # one of two names
    with connection.cursor() as cursor:
        cursor.execute(walk, [most])
        return [(str(value), str(type)) for value, type in cursor.fetchall()]


def head() -> LogHead | None:
    """The head of the log, or None before it has begun."""
    return LogHead.objects.first()


def checkpoints() -> QuerySet[Checkpoint]:
    """The published checkpoints, newest first."""
    return Checkpoint.objects.order_by("-size")


def bundles() -> QuerySet[Bundle]:
    """The evidence bundles that were asked for, newest first."""
    return Bundle.objects.select_related("asked_by").order_by("-asked_at")


def _indexed(filters: EntryFilter) -> dict[str, Any]:
    """What is asked for of columns that have an index of their own."""
    if filters.kind.endswith("."):
        kind: dict[str, Any] = {"kind__in": sorted(name for name in KINDS if name.startswith(filters.kind))}
    else:
        kind = {"kind": filters.kind}
    asked = {**kind, "agent": filters.agent, "actor_id": filters.actor, "subject": filters.subject}
    return {name: value for name, value in asked.items() if value}


def _unindexed(filters: EntryFilter) -> dict[str, Any]:
    asked = {
        "verdict": filters.verdict,
        "risk": filters.risk,
        "time__gte": filters.since,
        "time__lt": filters.until,
    }
    return {name: value for name, value in asked.items() if value}


def _says(word: str) -> Q:
    match = Q(subject__icontains=word) | Q(actor_id__icontains=word) | Q(kind__icontains=word)
    if len(word) >= LEAST_OF_A_HASH:
        match |= Q(leaf__startswith=word.lower())
    if word.isascii() and word.isdecimal() and len(word) < 19:
        match |= Q(index=int(word))
    meant = kinds.ids_meant_by(word)
    if meant:
        match |= Q(actor_id__in=meant) | Q(agent__in=meant) | Q(subject__in=meant)
    return match
