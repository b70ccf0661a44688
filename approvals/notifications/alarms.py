"""Mail to admins when something is wrong with the log or with what runs: once when it begins, not again while it
lasts."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import django_rq
from django.conf import settings
from django.core.mail import EmailMessage

from approvals.notifications import topics
from audit import alarms, outbox
from audit.models import Outbox
from governance.models import Person
from governance.runtime import alarms as running
from imprimatur import durable
from imprimatur.formats import canonical
from imprimatur.formats.ids import new_id
from imprimatur.inert import inert

EVERY = timedelta(minutes=1)
KEPT = "alarms.json"
"""In the data folder: the troubles that admins were told of and that still last. Not in the database, whose log may be
frozen or behind."""

_looked_at: datetime | None = None


def hook() -> None:
    """Have the outbox hand alarms to the workers. Called once, when the app is ready."""
    outbox.handler(topics.ALARM)(enqueue)


def enqueue(payload: dict[str, Any]) -> None:
    """Put one delivery on the queue. Raises when Redis is away; the outbox then tries again."""
    django_rq.get_queue("default").enqueue("approvals.jobs.deliver_alarm", payload)


def look_after(now: datetime) -> None:
    """Tell the admins of what is wrong and was not a minute ago. For the clock of the writer."""
    global _looked_at
    if _looked_at is not None and timedelta() <= now - _looked_at < EVERY:
        return
    _looked_at = now
    log, runs, known = alarms.standing(now), running.standing(now), _known()
    found = {**log, **runs}
    new = [words for name, words in log.items() if name not in known]
    ran = [words for name, words in runs.items() if name not in known]
    if (new or ran) and not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        payload = {"id": new_id("msg", now), "said": new, "runs": ran, "try": 0}
        Outbox.objects.create(topic=topics.ALARM, payload=payload, created_at=now, not_before=now)
    if set(found) != known:
        durable.write_file(_path(), canonical.dumps(sorted(found)))


def compose(payload: dict[str, Any], person: Person) -> EmailMessage | None:
    """The message for one admin, or None when we have no address."""
    address = parseaddr(person.user.email)[1]
    if not address:
        return None
    origin, ran = settings.ORIGINS[0].rstrip("/"), payload.get("runs", [])
    lines = [f"Hello {person.name},", ""]
    for about, said, path in (("the log", payload["said"], "/log/"), ("what runs", ran, "/runtime/")):
        if said:
            lines += [f"something is wrong with {about}:", "", *(f"- {inert(words, 'mail')}" for words in said)]
            lines += ["", f"{origin}{path}", ""]
    lines.append("You hear of each of these once, while it lasts.")
    subject = "The log needs somebody" if payload["said"] else "What runs needs somebody"
    return EmailMessage(f"[{settings.REALM}] {subject}", "\n".join(lines), settings.DEFAULT_FROM_EMAIL, [address])


def forget() -> None:
    """Look again at the next tick."""
    global _looked_at
    _looked_at = None


def _known() -> set[str]:
    try:
        return set(canonical.loads(_path().read_bytes()))
    except (OSError, ValueError, TypeError):
        return set()


def _path() -> Path:
    return Path(settings.DATA_DIR) / KEPT
