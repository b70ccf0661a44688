"""Who is on a request: a soft lock with a lease. It keeps nobody from answering and no clock from running."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from approvals.models import ActionRequest
from governance.models import Person
from imprimatur.rules import states

LEASE = timedelta(minutes=10)


@dataclass(frozen=True)
class Claim:
    """Somebody said that they would answer. It ends by itself at ``until``."""

    person: Person
    until: datetime

    @property
    def since(self) -> datetime:
        """When they said so, or said so again."""
        return self.until - LEASE


def claim_of(request: ActionRequest, now: datetime) -> Claim | None:
    """The claim that stands now; None when nobody is on it, or when there is nothing to answer any more."""
    if request.claimed_by is None or request.claimed_until is None or request.claimed_until <= now:
        return None
    if request.state not in states.PENDING_STATES or now >= request.expires_at:
        return None
    return Claim(request.claimed_by, request.claimed_until)


def end(request: ActionRequest, person: str | None = None) -> None:
    """End the claim on this row, or only that of ``person``. Whoever calls it saves the row."""
    if person is None or request.claimed_by_id == person:
        request.claimed_by = request.claimed_until = None
