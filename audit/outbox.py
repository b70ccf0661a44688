"""Deliver what commits left in the outbox: mail, webhooks, jobs. At least once, never inside a transaction.

A row is claimed by a conditional UPDATE, so that two deliverers never take the same one; a claim lapses when its
holder dies. A topic's handler should be quick (put a job on the queue) and bear being called twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q

from audit.log import utc_now
from audit.models import Outbox

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], object]

CLAIM_LAPSES = timedelta(minutes=5)
MOST_ATTEMPTS = 8

_handlers: dict[str, Handler] = {}


def handler(topic: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the one that delivers this topic. A topic has one handler."""

    def register(function: Handler) -> Handler:
        known = _handlers.get(topic)
        if known is not None and known.__qualname__ != function.__qualname__:
            raise ValueError(f"the outbox already has a handler for {topic}")
        _handlers[topic] = function
        return function

    return register


def deliver(now: datetime | None = None, *, most: int = 100) -> int:
    """Deliver what is due and return how many rows were delivered. A failure is tried again later, with growing pauses.

    After 8 attempts a row is given up: done, with its error kept. Rows of topics that nobody handles stay, untouched.
    """
    now = now or utc_now()
    free = Q(claimed_at__isnull=True) | Q(claimed_at__lt=now - CLAIM_LAPSES)
    due = Outbox.objects.filter(free, done_at__isnull=True, not_before__lte=now, topic__in=_handlers)
    delivered = 0
    for row in list(due.order_by("id")[:most]):
        mine = Outbox.objects.filter(free, pk=row.pk, done_at__isnull=True)
        if not mine.update(claimed_at=now, attempts=F("attempts") + 1):
            continue
        try:
            _handlers[row.topic](row.payload)
        except Exception as error:
            logger.warning("delivery of %s failed: %s", row.topic, type(error).__name__, exc_info=True)
            _failed(row, row.attempts + 1, error, now)
        else:
            Outbox.objects.filter(pk=row.pk).update(done_at=now, error="")
            delivered += 1
    return delivered


def forget(before: datetime) -> int:
    """Delete what was delivered before this time, and return how many rows that were. What was given up stays."""
    deleted, _ = Outbox.objects.filter(done_at__lt=before, error="").delete()
    return deleted


def _failed(row: Outbox, attempts: int, error: Exception, now: datetime) -> None:
    # The type only: messages of mail and web libraries can hold addresses with passwords in them.
    changes: dict[str, Any] = {"error": type(error).__name__, "claimed_at": None}
    if attempts >= MOST_ATTEMPTS:
        changes["done_at"] = now
    else:
        changes["not_before"] = now + timedelta(seconds=min(5 * 4 ** (attempts - 1), 3600))
    Outbox.objects.filter(pk=row.pk).update(**changes)
