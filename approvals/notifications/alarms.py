"""Mail to admins when something is wrong with the log or with what runs: once when it begins, not again while it
lasts."""

from __future__ import annotations

from collections.abc import Sequence
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

OFTEN, WITHIN = 6, timedelta(hours=1)
"""So often within that time one service, or one launch, has something new to mail about: more waits, while it lasts."""

_looked_at: datetime | None = None
_mailed: dict[str, list[datetime]] = {}


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
    late = _too_often([name for name in runs if name not in known], now)
    ran = [words for name, words in runs.items() if name not in known and name not in late]
    if (new or ran) and not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        payload = {"id": new_id("msg", now), "said": new, "runs": ran, "try": 0}
        Outbox.objects.create(topic=topics.ALARM, payload=payload, created_at=now, not_before=now)
    if found.keys() - late != known:
        durable.write_file(_path(), canonical.dumps(sorted(found.keys() - late)))


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
    """Look again at the next tick, as if nothing had been mailed."""
    global _looked_at
    _looked_at = None
    _mailed.clear()


def _too_often(names: Sequence[str], now: datetime) -> set[str]:
    """Those of these new troubles whose source was mailed about often enough; the others count as mailed.

    What runs can look different at every look, if whoever runs there likes: it fills nobody's mailbox.
    """
    for source, times in list(_mailed.items()):
        _mailed[source] = [at for at in times if now - at < WITHIN]
        if not _mailed[source]:
            del _mailed[source]
    late = {name for name in names if len(_mailed.get(_source(name), ())) >= OFTEN}
    for source in {_source(name) for name in names if name not in late}:
        _mailed.setdefault(source, []).append(now)
    return late


def _source(name: str) -> str:
    """Whom a trouble is about: the service or launch that its name begins with."""
    return " ".join(name.split(" ")[:2])


def _known() -> set[str]:
    try:
        return set(canonical.loads(_path().read_bytes()))
    except (OSError, ValueError, TypeError):
        return set()


def _path() -> Path:
    return Path(settings.DATA_DIR) / KEPT
