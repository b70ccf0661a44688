"""What time does to requests, once a second: it closes them, reminds people, and keeps the house tidy."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from approvals.actions import ask_people, expire_requests, remind_people, sum_up_rejections
from approvals.door import rejections
from approvals.models import ActionRequest, Nonce
from approvals.notifications import topics
from audit import outbox
from audit.errors import LogNotBegun
from audit.log import commit
from audit.models import LogHead
from governance.actions import withdraw_change
from governance.models import Ceremony
from governance.runtime.actions import lose_launch
from imprimatur.rules import states

logger = logging.getLogger(__name__)

KEEP_DELIVERED = timedelta(days=7)
KEEP_CEREMONIES = timedelta(hours=1)
MOST_NONCES = 5000


def tick(now: datetime) -> None:
    """Do what is due at ``now``. Each part stands for itself: one that fails is logged and tried again next second."""
    if not LogHead.objects.filter(state=LogHead.OPEN).exists():
        return
    for work in (expire, end_changes, lose_launches, remind, ask, sum_up, deliver, forget):
        try:
            work(now)
        except LogNotBegun:
            return
        except Exception:
            logger.exception("the clock could not %s", work.__name__)


def expire(now: datetime) -> int:
    """Close what time has closed, in batches. Returns how many."""
    closed = 0
    while expire_requests.due(now, 1):
        done = commit(expire_requests.apply, expire_requests.Command())
        closed += done
        if not done:
            break
    return closed


def end_changes(now: datetime) -> int:
    """End the changes that nobody seconded, or that were held ready, for as long as they may. Returns how many."""
    return withdraw_change.expire(now)


def lose_launches(now: datetime) -> int:
    """Give up launches of which nobody will tell how they ended. Now and then is enough. Returns how many."""
    if now.second % 30:
        return 0
    lost = lose_launch.due(now)
    return commit(lose_launch.apply, lose_launch.Command(lost)) if lost else 0


def remind(now: datetime) -> int:
    """Remind at half of the time, escalate at three quarters. Returns how many messages."""
    pending = ActionRequest.objects.filter(state__in=states.PENDING_STATES, expires_at__gt=now, escalated_at=None)
    due = [
        request.id
        for request in pending
        if now >= topics.due_at(request, topics.ESCALATE_AT)
        or (request.reminded_at is None and now >= topics.due_at(request, topics.REMIND_AT))
    ]
    return commit(remind_people.apply, remind_people.Command(tuple(due))) if due else 0


def ask(now: datetime) -> int:
    """Ask more people about what has waited long enough. Returns how many."""
    waiting = ask_people.due(now)
    return commit(ask_people.apply, ask_people.Command(waiting)) if waiting else 0


def sum_up(now: datetime) -> int:
    """Write one entry for each key and minute in which the door turned something away."""
    over = rejections.take_finished(now)
    if not over:
        return 0
    try:
        return commit(sum_up_rejections.apply, sum_up_rejections.Command(tuple(over)))
    except BaseException:
        rejections.put_back(over)
        raise


def deliver(now: datetime) -> int:
    """Hand what the outbox holds to the workers."""
    return outbox.deliver(now)


def forget(now: datetime) -> None:
    """Delete nonces and ceremonies that nobody could use any more, and what was delivered long ago.

    Now and then is enough.
    """
    if now.second % 30:
        return
    old = list(Nonce.objects.filter(expires_at__lt=now).values_list("pk", flat=True)[:MOST_NONCES])
    if old:
        Nonce.objects.filter(pk__in=old).delete()
    Ceremony.objects.filter(expires_at__lt=now - KEEP_CEREMONIES).delete()
    outbox.forget(now - KEEP_DELIVERED)
