"""Numbers for Prometheus, read from the database when asked, so that they are the same from every process."""

from __future__ import annotations

from django.db.models import Count
from prometheus_client import CollectorRegistry, Gauge

from approvals.models import ActionRequest
from audit.models import Checkpoint, LogHead, Outbox

REGISTRY = CollectorRegistry()
LOG_SIZE = Gauge("imprimatur_log_entries", "Entries in the log", registry=REGISTRY)
PUBLISHED = Gauge("imprimatur_log_published_entries", "Entries covered by a signed checkpoint", registry=REGISTRY)
FROZEN = Gauge("imprimatur_log_frozen", "1 when the log is frozen", registry=REGISTRY)
REQUESTS = Gauge("imprimatur_requests", "Action requests by state", ["state"], registry=REGISTRY)
OUTBOX = Gauge("imprimatur_outbox_waiting", "Notifications not delivered yet", registry=REGISTRY)


def refresh() -> None:
    """Read the current numbers."""
    head = LogHead.objects.first()
    LOG_SIZE.set(head.size if head else 0)
    FROZEN.set(1 if head and head.state != LogHead.OPEN else 0)
    newest = Checkpoint.objects.order_by("-size").first()
    PUBLISHED.set(newest.size if newest else 0)
    REQUESTS.clear()
    for row in ActionRequest.objects.order_by().values("state").annotate(n=Count("id")):
        REQUESTS.labels(row["state"]).set(row["n"])
    OUTBOX.set(Outbox.objects.filter(done_at=None).count())
