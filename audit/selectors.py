"""Reading the log: filters, and everything about one entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from audit import kinds
from audit.models import Bundle, Checkpoint, Entry, LogHead, Opening
from audit.publisher import published_size
from imprimatur.formats import canonical, digests, dsse

LEAST_OF_A_HASH = 6  # characters: fewer would match entries that nobody meant


@dataclass(frozen=True)
class EntryFilter:
    """What to look for; what is empty filters nothing. ``kind`` may be a family, such as ``delegation.``."""

    kind: str = ""
    agent: str = ""
    actor: str = ""
    subject: str = ""
    verdict: str = ""
    risk: str = ""
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""


@dataclass(frozen=True)
class EntryDetail:
    """One entry with what surrounds it. ``payload`` is parsed from the signed bytes, never from the columns."""

    row: Entry
    payload: dict[str, Any]
    sentence: str
    keyid: str
    envelope_digest: str
    published: bool
    refs: list[Entry]
    same_subject: list[Entry]
    openings: list[Opening] = field(default_factory=list)


def entries(filters: EntryFilter | None = None) -> QuerySet[Entry]:
    """The entries that match, newest first."""
    wanted = filters or EntryFilter()
    found = Entry.objects.order_by("-index")
    if wanted.kind:
        found = (
            found.filter(kind__startswith=wanted.kind) if wanted.kind.endswith(".") else found.filter(kind=wanted.kind)
        )
    exact = {
        "agent": wanted.agent,
        "actor_id": wanted.actor,
        "subject": wanted.subject,
        "verdict": wanted.verdict,
        "risk": wanted.risk,
        "time__gte": wanted.since,
        "time__lt": wanted.until,
    }
    found = found.filter(**{name: value for name, value in exact.items() if value})
    for word in wanted.text.split():
        found = found.filter(_says(word))
    return found


def entry_detail(index: int) -> EntryDetail:
    """Everything about one entry. Raises Entry.DoesNotExist."""
    row = Entry.objects.get(index=index)
    raw = bytes(row.envelope)
    envelope = dsse.open_envelope(raw)
    payload: dict[str, Any] = canonical.loads_canonical(envelope.payload)
    cited = [ref["index"] for ref in payload["refs"]]
    same = Entry.objects.filter(subject=row.subject).exclude(index=index).order_by("index")
    return EntryDetail(
        row=row,
        payload=payload,
        sentence=kinds.sentence(payload),
        keyid=envelope.keyid,
        envelope_digest=digests.sha256(raw),
        published=index < published_size(),
        refs=list(Entry.objects.filter(index__in=cited).order_by("index")),
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


def head() -> LogHead | None:
    """The head of the log, or None before it has begun."""
    return LogHead.objects.first()


def checkpoints() -> QuerySet[Checkpoint]:
    """The published checkpoints, newest first."""
    return Checkpoint.objects.order_by("-size")


def bundles() -> QuerySet[Bundle]:
    """The evidence bundles that were asked for, newest first."""
    return Bundle.objects.select_related("asked_by").order_by("-asked_at")


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
