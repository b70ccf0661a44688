"""Bundles are built by a worker process: the RQ job, the result it hands back, and how far it is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import django_rq
from django.conf import settings
from redis.exceptions import RedisError
from rq import get_current_job
from rq.exceptions import NoSuchJobError
from rq.job import Job

from audit import inbox, log, outbox
from audit.actions import ask_bundle, issue_bundle, note_bundle
from audit.evidence import bundle

logger = logging.getLogger(__name__)

LONGEST = 3600  # seconds


def path_of(bundle_id: str) -> Path:
    """Where the zip of a bundle lies. Raises ValueError for an id that is not one."""
    if not bundle_id.isascii() or not bundle_id.replace("_", "").isalnum():
        raise ValueError("not the id of a bundle")
    return Path(settings.BUNDLES_DIR) / f"{bundle_id}.zip"


def build_bundle(bundle_id: str) -> None:
    """The job: build the zip and hand the result to the writer. A failure is handed over too, and raised again."""
    inbox.hand_over("bundle.begun", {"bundle": bundle_id})
    try:
        built = bundle.build(path_of(bundle_id), progress=_report)
    except Exception as error:
        inbox.hand_over("bundle.failed", {"bundle": bundle_id, "error": f"{type(error).__name__}: {error}"[:500]})
        raise
    result = {"bundle": bundle_id, "manifest": built.manifest, "size": built.size, "bytes": built.bytes}
    inbox.hand_over("bundle.built", result)


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


def _report(doing: str, done: int, of: int) -> None:
    job = get_current_job()
    if job is None:
        return
    job.meta["progress"] = {"doing": doing, "done": done, "of": of}
    try:
        job.save_meta()  # type: ignore[no-untyped-call]  # rq leaves this one untyped
    except RedisError:
        logger.warning("the progress of a bundle could not be reported: Redis is away")


def _serializer() -> str:
    return str(settings.RQ_QUEUES["default"].get("SERIALIZER", "")) or "rq.serializers.DefaultSerializer"
