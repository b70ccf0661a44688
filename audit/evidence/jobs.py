"""Bundles are built by a worker process: the RQ job, the result it hands back, how far it is, and what if it dies.

Whoever builds a bundle holds a lock on a file beside it, which the kernel takes away when the process ends, however it
ends. So a bundle that is said to be built while its lock is free lost its builder.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import django_rq
from django.conf import settings
from redis.exceptions import RedisError
from rq import get_current_job
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus

from audit import inbox, log, outbox, witnesses
from audit.actions import ask_bundle, issue_bundle, note_bundle
from audit.evidence import bundle
from audit.models import Bundle

logger = logging.getLogger(__name__)

UNDERWAY = (Bundle.WAITING, Bundle.BUILDING)

LONGEST = 3600  # seconds
TOLD_EVERY = 0.5  # seconds: the page asks every two
WITNESSED_WITHIN = 15.0  # seconds that a bundle waits for its checkpoint to be cosigned
# A job that nobody has begun for so long is put on the queue again: Redis may have lost it.
FORGOTTEN_AFTER = timedelta(minutes=1)
BUILDER_ENDED = "The process that built it ended before it was done. Ask for a new bundle."


def path_of(bundle_id: str) -> Path:
    """Where the zip of a bundle lies. Raises ValueError for an id that is not one."""
    if not bundle_id.isascii() or not bundle_id.replace("_", "").isalnum():
        raise ValueError("not the id of a bundle")
    return Path(settings.BUNDLES_DIR) / f"{bundle_id}.zip"


def build_bundle(bundle_id: str) -> None:
    """The job: build the zip and hand the result to the writer. A failure is handed over too, and raised again.

    Does nothing when somebody builds this bundle already, or when it was built or given up before.
    """
    with _only_builder(bundle_id) as alone:
        row = Bundle.objects.filter(pk=bundle_id, state__in=UNDERWAY).first() if alone else None
        if row is None:
            return
        inbox.hand_over("bundle.begun", {"bundle": bundle_id})
        try:
            checkpoint = witnesses.await_quorum(WITNESSED_WITHIN)
            built = bundle.build(path_of(bundle_id), checkpoint, _Reporter(), row.filters)
        except Exception as error:
            inbox.hand_over("bundle.failed", {"bundle": bundle_id, "error": f"{type(error).__name__}: {error}"[:500]})
            raise
        result = {"bundle": bundle_id, "manifest": built.manifest, "size": built.size}
        result |= {"shown": built.shown, "bytes": built.bytes}
        inbox.hand_over("bundle.built", result)


def look_after(now: datetime) -> None:
    """Give up bundles whose builder died, and put forgotten ones on the queue again. For the clock of the writer."""
    for row in Bundle.objects.filter(state__in=UNDERWAY):
        with _only_builder(row.id) as alone:
            if not alone:
                continue
            # With the lock in hand nobody builds; what was handed over before it was let go counts first.
            inbox.drain()
            state = Bundle.objects.values_list("state", flat=True).get(pk=row.pk)
            if state == Bundle.BUILDING:
                log.commit(note_bundle.apply, note_bundle.Command(row.id, BUILDER_ENDED))
                bundle.clear_away(path_of(row.id))
        if state == Bundle.WAITING and now - row.asked_at > FORGOTTEN_AFTER:
            _remind(row.id)


def _remind(bundle_id: str) -> None:
    try:
        job = Job.fetch(bundle_id, connection=django_rq.get_connection(), serializer=_serializer())
        if job.get_status() in {JobStatus.QUEUED, JobStatus.DEFERRED, JobStatus.SCHEDULED}:
            return
    except NoSuchJobError:
        pass
    except RedisError:
        return
    enqueue({"bundle": bundle_id})


@contextmanager
def _only_builder(bundle_id: str) -> Iterator[bool]:
    """Hold the lock of a bundle, or learn that somebody else does."""
    path = path_of(bundle_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = path.with_name(f".{path.stem}.lock")
    with lock.open("wb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def progress(bundle_id: str) -> dict[str, Any] | None:
    """``{doing, done, of}`` while a worker builds this bundle; None when nothing is known (Redis down, job gone)."""
    try:
        job = Job.fetch(bundle_id, connection=django_rq.get_connection(), serializer=_serializer())
    except (RedisError, NoSuchJobError):
        return None
    known = job.meta.get("progress")
    return known if isinstance(known, dict) else None


@outbox.handler(ask_bundle.TOPIC)
def enqueue(payload: dict[str, Any]) -> None:
    """Put the job on the queue; the id of the bundle is that of the job, so that a second time replaces the first."""
    django_rq.get_queue().enqueue(build_bundle, payload["bundle"], job_id=payload["bundle"], job_timeout=LONGEST)


@inbox.handler("bundle.begun")
def begun(payload: dict[str, Any]) -> None:
    """A worker has taken up the job."""
    log.commit(note_bundle.apply, note_bundle.Command(payload["bundle"]))


@inbox.handler("bundle.failed")
def failed(payload: dict[str, Any]) -> None:
    """A worker could not build it."""
    log.commit(note_bundle.apply, note_bundle.Command(payload["bundle"], payload["error"]))


@inbox.handler("bundle.built")
def built(payload: dict[str, Any]) -> None:
    """A worker has built it: enter it into the log."""
    log.commit(issue_bundle.apply, issue_bundle.Command(**payload))


class _Reporter:
    """Tells Redis how far a job is, at most so often that nobody waits for it."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, doing: str, done: int, of: int) -> None:
        job, now = get_current_job(), time.monotonic()
        if job is None or now < self._next:
            return
        self._next = now + TOLD_EVERY
        job.meta["progress"] = {"doing": doing, "done": done, "of": of}
        try:
            job.save_meta()  # type: ignore[no-untyped-call]  # rq leaves this one untyped
        except RedisError:
            logger.warning("the progress of a bundle could not be reported: Redis is away")


def _serializer() -> str:
    return str(settings.RQ_QUEUES["default"].get("SERIALIZER", "")) or "rq.serializers.DefaultSerializer"
