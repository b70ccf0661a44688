"""When the next run of the canaries is due, and who makes it: a job for the worker, which is a client like any other.

The clock of the web process asks for runs, and also says when one is missing (`governance.runtime.alarms`): what runs
late cannot be trusted to say that it is late.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

import django_rq
from django.conf import settings
from redis.exceptions import RedisError

from governance.runtime.models import CanaryRun
from imprimatur.canary import folder as folders
from imprimatur.canary import runner
from imprimatur.errors import ImprimaturError
from imprimatur.formats import canonical
from imprimatur.service import folder as services

logger = logging.getLogger(__name__)

FOLDER = "canary"
JOB = "canaries"
LOOK = timedelta(seconds=2)
LONGEST = int(2 * runner.LONGEST)  # seconds for the whole job
KEPT = 3600  # seconds that Redis keeps a failed one

_looked_at: datetime | None = None
_asked_at: datetime | None = None


def folder() -> Path:
    """Where the keys of the canaries lie that this installation runs itself."""
    return Path(settings.DATA_DIR) / FOLDER


def look_after(now: datetime) -> None:
    """Ask for a run when one is due. For the clock of the writer."""
    global _asked_at, _looked_at
    if _looked_at is not None and timedelta() <= now - _looked_at < LOOK:
        return
    _looked_at = now
    if settings.CANARY_EVERY is None or not folders.exists(folder()) or now < _due(now):
        return
    try:
        # At the front: a run takes seconds, and what waits before it may take minutes.
        django_rq.get_queue().enqueue(
            run, job_id=JOB, job_timeout=LONGEST, result_ttl=0, failure_ttl=KEPT, at_front=True
        )
    except RedisError:
        logger.warning("the canaries could not be asked to run: Redis is away")
        return
    _asked_at = now


def forget() -> None:
    """Look again at the next tick."""
    global _asked_at, _looked_at
    _asked_at = _looked_at = None


def _due(now: datetime) -> datetime:
    every = timedelta(seconds=settings.CANARY_EVERY or 0)
    newest = CanaryRun.objects.filter(service=service()).values_list("ended_at", flat=True).first()
    known = [at + every for at in (newest, _asked_at) if at is not None]
    return max(known, default=now)


def service() -> str:
    """The id of the service that signs what they find; empty without one. No key is read for it."""
    try:
        return str(canonical.loads((folder() / folders.RESULTS / services.ABOUT).read_bytes())["service"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def run() -> None:
    """The job: one run, against the public address, with nothing but the folder."""
    try:
        done = runner.run(folder(), every=settings.CANARY_EVERY or runner.EVERY, tell=logger.critical)
    except folders.RunUnderway:
        return
    except ImprimaturError:
        logger.exception("the canaries could not run or report; until they do, the time counts as not covered")
        raise
    logger.info("canaries: %s, entry %s", done.result, done.index)
