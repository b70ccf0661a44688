"""Why something cannot be answered now, in words that say what can be done instead."""

from __future__ import annotations

from approvals.models import ActionRequest
from approvals.views import words
from approvals.views.card import Answers
from audit.log import utc_now


def why_not(request: ActionRequest, may: Answers) -> str:
    """The reason that stands in the way, for the person whose answers these are."""
    if may.frozen:
        return f"The log is frozen: {may.frozen}. Nothing can be answered; silence still denies."
    if may.reasons:
        return " ".join(reason.you for reason in may.reasons)
    if may.lacks:
        return may.lacks
    if may.open:
        return "It waits for a confirmation." if may.stage == "confirm" else "It waits for an approval first."
    return words.sentence(request, utc_now())
