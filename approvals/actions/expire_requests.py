"""Time closes requests: it never approves. One batch of what is over now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from approvals import transitions
from approvals.actions import report_outcome
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import Writer
from imprimatur.rules import states

MOST = 100


@dataclass(frozen=True)
class Command:
    """Close at most ``most`` requests whose time is over."""

    most: int = MOST


def due(now: datetime, most: int = MOST) -> list[str]:
    """The ids of requests whose time is over: unanswered, unredeemed, unreported."""
    rows = ActionRequest.objects.select_related(None).order_by("expires_at")
    found = list(rows.filter(state__in=states.PENDING_STATES, expires_at__lte=now).values_list("id", flat=True)[:most])
    found += rows.filter(state="APPROVED", not_after__lt=now).values_list("id", flat=True)[:most]
    grace = now - transitions.REPORT_GRACE
    found += rows.filter(state="REDEEMED", execute_by__lt=grace).values_list("id", flat=True)[:most]
    return found[:most]


def apply(writer: Writer, command: Command) -> int:
    """Expire pending requests and stale approvals, and write UNREPORTED where nobody reported. Returns how many."""
    closed = 0
    for identifier in due(writer.now, command.most):
        request = transitions.load(identifier)
        if request.state == "REDEEMED":
            report_outcome.apply(writer, report_outcome.Command(identifier, "UNREPORTED"))
        elif request.state == "APPROVED":
            transitions.withdraw(writer, request, "expire", "approval-expired")
        else:
            transitions.end_pending(writer, request, "expire", "approval-expired")
            topics.answered(writer, request)
        closed += 1
    return closed
