"""What runs now: launches as they were attested and as they were seen, what was refused, and what matches nothing."""

from __future__ import annotations

import json
import shlex

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import kinds, log
from governance.errors import Refused
from governance.models import ADMIN, AUDITOR, Delegation
from governance.runtime import reading
from governance.runtime.models import Launch, Service
from governance.views.edge import page

TIMELINE = 50


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Every live launch with its state in words, and everything that does not add up."""
    now = log.utc_now()
    running = reading.live()
    live = list(running[: reading.MOST_LIVE])
    count = len(live) if len(live) < reading.MOST_LIVE else running.count()
    ended = reading.launches().filter(state=Launch.ENDED).order_by("-ended_at")[: reading.SHOWN]
    unmatched = reading.unmatched(now)
    return render(
        request,
        "governance/runtime.html",
        {
            "live": [(launch, reading.state_of(launch, now)) for launch in live],
            "running": count,
            "older": count - len(live),
            "ended": [(launch, reading.state_of(launch, now)) for launch in ended],
            "refused": reading.refused(),
            "unmatched": unmatched,
            "unseen": [(launch, reading.state_of(launch, now)) for launch in unmatched.launches],
            "services": Service.objects.filter(retired_at=None).count(),
        },
    )


@page(ADMIN, AUDITOR)
def one(request: HttpRequest, launch_id: str) -> HttpResponse:
    """One launch: what was attested, who signed it, what it may do, and everything that was seen of it."""
    launch = reading.launches().filter(pk=launch_id).first()
    if launch is None:
        raise Refused("not-found", "There is no such launch.")
    document = launch.document
    seen = launch.seen.select_related("service").order_by("-index")
    standing = set(
        Delegation.objects.filter(pk__in=document["delegations"], revoked_at=None).values_list("pk", flat=True)
    )
    state, timeline = reading.state_of(launch, log.utc_now()), list(seen[:TIMELINE])
    return render(
        request,
        "governance/runtime_launch.html",
        {
            "launch": launch,
            "state": state,
            "wrong": timeline[0].findings if timeline and launch.state != Launch.ENDED else [],
            "document": document,
            "command": shlex.join(document["command"]),
            "layers": [
                (layer, kinds.name("person", layer.signer) if layer.signer else "") for layer in reading.layers(launch)
            ],
            "effective": json.dumps(document["effective"], indent=2, ensure_ascii=False),
            "delegations": [(name, name in standing) for name in document["delegations"]],
            "timeline": timeline,
            "more": max(0, launch.observations - TIMELINE),
        },
    )
