"""Is it alive, is it ready, and what is it doing: three plain answers for machines."""

from __future__ import annotations

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from audit import writer
from audit.models import Checkpoint, LogHead
from audit.publisher import MOST_UNPUBLISHED
from server import metrics


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers at all."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when a decision could be committed now, else 503 with what is wrong. Redis is reported, never required."""
    problems: list[str] = []
    size = published = 0
    try:
        head = LogHead.objects.first()
        if head is None:
            problems.append("there is no log yet: run `manage.py begin`")
        else:
            size = head.size
            newest = Checkpoint.objects.order_by("-size").first()
            published = newest.size if newest else 0
            if head.state != LogHead.OPEN:
                problems.append(f"the log is frozen: {head.frozen_reason}")
            if size - published > MOST_UNPUBLISHED:
                problems.append(f"{size - published} entries wait to be published")
    except DatabaseError as error:
        problems.append(f"the database does not answer: {type(error).__name__}")
    if writer.running() is None:
        problems.append("the writer is not running")
    body = {"ready": not problems, "problems": problems, "realm": settings.REALM, "log": size, "published": published}
    return JsonResponse(body, status=503 if problems else 200)


@require_safe
def prometheus(request: HttpRequest) -> HttpResponse:
    """Metrics in Prometheus' text format. Counts only: no names, no targets."""
    metrics.refresh()
    return HttpResponse(generate_latest(metrics.REGISTRY), content_type=CONTENT_TYPE_LATEST)
