"""Numbers for Prometheus, read from the database when asked, so that they are the same from every process."""

from __future__ import annotations

from django.db.models import Count
from prometheus_client import CollectorRegistry, Gauge

from approvals.models import ActionRequest
from audit import sinks, witnesses
from audit.models import Checkpoint, LogHead, Outbox

REGISTRY = CollectorRegistry()
LOG_SIZE = Gauge("imprimatur_log_entries", "Entries in the log", registry=REGISTRY)
PUBLISHED = Gauge("imprimatur_log_published_entries", "Entries covered by a signed checkpoint", registry=REGISTRY)
FROZEN = Gauge("imprimatur_log_frozen", "1 when the log is frozen", registry=REGISTRY)
WITNESSED = Gauge("imprimatur_log_witnessed_entries", "Entries a quorum of witnesses cosigned", registry=REGISTRY)
UNWITNESSED = Gauge(
    "imprimatur_log_unwitnessed_seconds", "How long a checkpoint has waited for its quorum", registry=REGISTRY
)
WITNESS = Gauge("imprimatur_witness_entries", "Entries each witness cosigned", ["witness"], registry=REGISTRY)
SINK_SENT = Gauge("imprimatur_sink_entries", "Entries each sink accepted", ["sink"], registry=REGISTRY)
SINK_HELD = Gauge("imprimatur_sink_read_back_entries", "Entries read back from each sink", ["sink"], registry=REGISTRY)
SINK_BEHIND = Gauge("imprimatur_sink_behind_entries", "Published entries each sink lacks", ["sink"], registry=REGISTRY)
SINK_DIFFERS = Gauge("imprimatur_sink_differs", "1 for a sink that holds something else", ["sink"], registry=REGISTRY)
REQUESTS = Gauge("imprimatur_requests", "Action requests by state", ["state"], registry=REGISTRY)
OUTBOX = Gauge("imprimatur_outbox_waiting", "Notifications not delivered yet", registry=REGISTRY)


def refresh() -> None:
    """Read the current numbers."""
    head = LogHead.objects.first()
    LOG_SIZE.set(head.size if head else 0)
    FROZEN.set(1 if head and head.state != LogHead.OPEN else 0)
    newest = Checkpoint.objects.order_by("-size").first()
    PUBLISHED.set(newest.size if newest else 0)
    quorum = witnesses.standing()
    WITNESSED.set(quorum.size if quorum else 0)
    UNWITNESSED.set(quorum.waits.total_seconds() if quorum else 0)
    WITNESS.clear()
    for witness in quorum.witnesses if quorum else ():
        WITNESS.labels(witness.name).set(witness.size)
    for gauge in (SINK_SENT, SINK_HELD, SINK_BEHIND, SINK_DIFFERS):
        gauge.clear()
    for sink in sinks.standing():
        SINK_SENT.labels(sink.name).set(sink.sent)
        SINK_HELD.labels(sink.name).set(sink.held)
        SINK_BEHIND.labels(sink.name).set(sink.behind)
        SINK_DIFFERS.labels(sink.name).set(sink.differs)
    REQUESTS.clear()
    for row in ActionRequest.objects.order_by().values("state").annotate(n=Count("id")):
        REQUESTS.labels(row["state"]).set(row["n"])
    OUTBOX.set(Outbox.objects.filter(done_at=None).count())
