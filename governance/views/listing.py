"""Delegations as the pages show them: one row each, in trees, with what is left and who said so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from audit import kinds, log
from governance import standing
from governance.access import chain_of
from governance.models import Agent, Delegation, PersonKey
from imprimatur.formats import sshsig

SOON = timedelta(hours=2)
DEEPEST = 6  # levels that are drawn; below that the lines would be narrower than the words
KEY_NAMES = {sshsig.ED25519: "SSH, ed25519", sshsig.SK_ED25519: "SSH, security key"}


@dataclass(frozen=True)
class Row:
    """One delegation to show."""

    delegation: Delegation
    document: dict[str, Any]
    level: int
    ended: str  # why it carries nothing now; empty while it is in force
    soon: bool
    ends_in: str
    signer: str
    how: str
    over: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def indent(self) -> int:
        """How far the row is set in."""
        return min(self.level, DEEPEST)


def row(delegation: Delegation, level: int = 0, now: datetime | None = None) -> Row:
    """One delegation as a row. Whether it stands is asked of its whole chain."""
    now = now or log.utc_now()
    document = standing.document_of(delegation)
    left = delegation.not_after - now
    notes = ["may not delegate" if document["max_depth"] == 0 else f"may pass on {document['max_depth']} more levels"]
    return Row(
        delegation=delegation,
        document=document,
        level=level,
        ended=_ended(delegation, now),
        soon=timedelta(0) < left < SOON,
        ends_in=_span(left) if timedelta(0) < left < timedelta(days=1) else "",
        signer=_signer(delegation),
        how=_how(delegation, document),
        over=delegation.spent + delegation.reserved > delegation.limit,
        notes=tuple(notes),
    )


def forest(roots: Iterable[Delegation], now: datetime) -> Iterator[Row]:
    """Rows of these roots and of everything passed on below them, each child under its parent."""
    pending = [(root, 0) for root in reversed(list(roots))]
    while pending:
        delegation, level = pending.pop()
        yield row(delegation, level, now)
        children = _rows().filter(parent=delegation).order_by("-issued_at")
        pending.extend((child, level + 1) for child in children)


def roots() -> QuerySet[Delegation]:
    """What people have signed, newest first."""
    return _rows().filter(parent=None).order_by("-issued_at")


def live_at(now: datetime) -> QuerySet[Delegation]:
    """What is neither revoked nor over."""
    return Delegation.objects.filter(revoked_at=None, not_before__lte=now, not_after__gt=now)


def held_by(agent: Agent) -> list[Delegation]:
    """What an agent was ever given, newest first."""
    return list(_rows().filter(subject=agent).order_by("-issued_at")[:100])


def in_force(agent: Agent) -> list[Delegation]:
    """What an agent holds now."""
    return list(live_at(log.utc_now()).filter(subject=agent))


def _rows() -> QuerySet[Delegation]:
    return Delegation.objects.select_related("issuer_person__user", "issuer_agent", "subject__owner", "parent")


def _ended(delegation: Delegation, now: datetime) -> str:
    if delegation.revoked_at is not None:
        by = delegation.revoked_by
        name = kinds.name("agent" if by.startswith("ag_") else "person", by)
        return f"revoked by {name}: “{delegation.revoked_reason}”"
    if delegation.not_after <= now:
        return "over"
    if now < delegation.not_before:
        return "has not begun"
    fallen = standing.fault(chain_of(delegation))
    return fallen.message if fallen is not None else ""


def _signer(delegation: Delegation) -> str:
    issuer = delegation.issuer_person or delegation.issuer_agent
    return issuer.name if issuer is not None else ""


def _how(delegation: Delegation, document: dict[str, Any]) -> str:
    if delegation.parent is None:
        if delegation.signature["kind"] == PersonKey.WEBAUTHN:
            return "passkey"
        try:
            return KEY_NAMES.get(sshsig.parse(delegation.signature["value"]).key.type, "SSH")
        except sshsig.SshSigError:
            return "signature cannot be read"
    above = standing.document_of(delegation.parent)
    facets = [
        word
        for name, word in (
            ("scope", "scope"),
            ("constraints", "constraints"),
            ("spend", "spend"),
            ("not_after", "time"),
        )
        if document.get(name) != above.get(name)
    ]
    return f"narrower in {', '.join(facets)}" if facets else "the same, one level less"


def _span(left: timedelta) -> str:
    minutes = int(left.total_seconds() // 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
