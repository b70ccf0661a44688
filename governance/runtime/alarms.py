"""What an admin must hear of without looking: drift, strays, refused launches, red or missing canaries, silence.

Each trouble has a name that stays while it lasts and changes when it does, so that it is told once per change.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import JSONField, OuterRef, Q, Subquery

from governance.runtime import canary_agents, reading
from governance.runtime.models import CanaryRun, Launch, Observation, RefusedLaunch, Service
from imprimatur.formats import attestation
from imprimatur.inert import inert
from imprimatur.rules import canaries

LASTS = timedelta(minutes=15)
"""What happened once is a trouble for so long; when it happens again meanwhile, it is still the same one."""

FIRST_RUN = timedelta(hours=1)
MOST = 20
MOST_DRIFTED = 200

_THROUGH = "AN ATTACK BY A CANARY GOT THROUGH: {}. Look at once."


def standing(now: datetime) -> dict[str, str]:
    """The troubles there are now, by name, each in one sentence. Empty is good."""
    return {**_drift(now), **_strays(now), **_refused(now), **_canaries(now), **_silent(now)}


def _drift(now: datetime) -> dict[str, str]:
    """Of each launch what the newest observation with findings found: while it lasts, and for a while afterwards, so
    that nobody has to look at the right moment."""
    bad = Observation.objects.filter(launch=OuterRef("pk")).exclude(findings=[]).order_by("-index")
    lately = Q(state=Launch.ATTESTED) | Q(ended_at__gt=now - LASTS)
    drifted: Sequence[Any] = list(  # with what no model declares
        reading.launches()
        .filter(lately, drifted__gt=0)
        .annotate(bad=Subquery(bad.values("findings")[:1], output_field=JSONField()), at=Subquery(bad.values("at")[:1]))
        .order_by("-index")[:MOST_DRIFTED]
    )
    found = {}
    for launch in drifted:
        lasts = launch.state == Launch.ATTESTED and launch.newest
        if not lasts and launch.at <= now - LASTS:
            continue
        codes = ", ".join(sorted({finding["code"].replace("-", " ") for finding in launch.bad}))
        runs = "does not run" if lasts else "did not always run"
        found[f"drift {launch.pk} {codes}"] = (
            f"{launch.agent.name} {runs} as it was attested: {codes} (launch {launch.pk})."
        )
    return dict(list(found.items())[:MOST])


def _strays(now: datetime) -> dict[str, str]:
    stray = Observation.objects.filter(launch=None, at__gt=now - LASTS)
    names = dict(stray.values_list("service_id", "service__name"))
    return {
        f"stray {service}": f"The monitor {name} sees processes that belong to no launch."
        for service, name in sorted(names.items())
    }


def _refused(now: datetime) -> dict[str, str]:
    found = {}
    refused = RefusedLaunch.objects.select_related("service").filter(at__gt=now - LASTS)
    for row in refused.exclude(agent__in=canary_agents.known())[:MOST]:
        codes = ", ".join(sorted({reason["code"] for reason in row.reasons}))
        name = f"refused {row.service_id} {row.agent} {codes}"
        found[name] = (
            f"A launch by {row.service.name} was refused: {inert(row.reasons[0]['message'], 'mail')} ({codes})"
        )
    return found


def _canaries(now: datetime) -> dict[str, str]:
    found = {}
    for service in Service.objects.filter(role=attestation.CANARIES, retired_at=None):
        for red in CanaryRun.objects.filter(service=service, result=canaries.FAILED, ended_at__gt=now - LASTS)[:MOST]:
            if names := ", ".join(attempt["name"] for attempt in red.attempts if canaries.succeeded(attempt)):
                found[f"canary {service.pk} through {names}"] = _THROUGH.format(names)
        run = CanaryRun.objects.filter(service=service).first()
        if run is None:
            if now - service.registered_at > FIRST_RUN:
                found[f"canary {service.pk} silent"] = f"The canaries of {service.name} have never reported a run."
            continue
        sorted_ = canaries.sort_out(run.attempts)
        through = [attempt["name"] for attempt in run.attempts if canaries.succeeded(attempt)]
        names = ", ".join(through or sorted_.failed)
        if through:
            found[f"canary {service.pk} through {names}"] = _THROUGH.format(names)
        elif canaries.colour(run.attempts) == canaries.RED:
            found[f"canary {service.pk} {names}"] = f"A canary was not refused as it must be: {names}."
        elif run.result == canaries.FAILED:
            found[f"canary {service.pk} unanswered"] = (
                f"Canaries of {service.name} got no proper answer ({names}), so this run proves nothing."
            )
        elif run.result == canaries.WARNED:
            found[f"canary {service.pk} control"] = (
                f"The positive control of {service.name} failed, so its runs prove nothing now."
            )
        if now > run.ended_at + 2 * timedelta(seconds=run.every):
            found[f"canary {service.pk} silent"] = (
                f"The canaries of {service.name} have not reported since {run.ended_at:%H:%M} UTC, "
                "so nobody can tell what would have been refused."
            )
    return found


def _silent(now: datetime) -> dict[str, str]:
    """Monitors that say nothing although something runs long enough to be seen."""
    if not Launch.objects.filter(state=Launch.ATTESTED, attested_at__lte=now - reading.SILENT).exists():
        return {}
    monitors = Service.objects.filter(
        role=attestation.MONITOR, retired_at=None, registered_at__lte=now - reading.SILENT
    )
    found = {}
    for monitor in monitors:
        newest = monitor.observations.first()
        if newest is None or now - newest.at > reading.SILENT:
            since = f"since {newest.at:%H:%M} UTC" if newest is not None else "yet"
            found[f"monitor {monitor.pk}"] = (
                f"The monitor {monitor.name} has observed nothing {since}, although launches are live."
            )
    return found
