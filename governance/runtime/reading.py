"""What runs now, in words: the state of every launch, what was refused, and what does not match in either direction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import JSONField, OuterRef, Q, QuerySet, Subquery

from governance.runtime import canary_agents, terms
from governance.runtime.models import Launch, Observation, RefusedLaunch
from imprimatur.formats import attestation

SILENT = timedelta(minutes=5)
"""A launch that was not observed for so long counts as not seen, and its monitors as silent."""

LATELY = timedelta(days=1)
SHOWN = 20
MOST_LIVE = 200
"""Launches that run, on one page."""

GOOD, BAD, UNSEEN, OVER = "good", "bad", "unseen", "over"


@dataclass(frozen=True)
class State:
    """``kind`` is good, bad, unseen or over."""

    kind: str
    words: str


@dataclass(frozen=True)
class Unmatched:
    """Both ways, over the last day: launches that nobody saw, and observations that belong to no launch."""

    launches: list[Launch]
    unseen: int
    observations: list[Observation]
    stray: int


@dataclass(frozen=True)
class Layer:
    """One file of configuration; ``signer`` is the id of the person whose key signed it, as far as keys are known."""

    name: str
    digest: str
    text: str
    fingerprint: str
    signer: str


def launches() -> QuerySet[Launch]:
    """Launches with their agent, their orchestrator, and ``newest``: the findings of the newest observation.

    What was signed is left where it is until it is asked for: a list of launches would be megabytes of it.
    """
    newest = Observation.objects.filter(launch=OuterRef("pk")).order_by("-index").values("findings")[:1]
    found = Launch.objects.select_related("agent", "service").defer("document")
    return found.annotate(newest=Subquery(newest, output_field=JSONField()))


def live() -> QuerySet[Launch]:
    """Those that have not ended, the newest first."""
    return launches().filter(state=Launch.ATTESTED).order_by("-index")


def state_of(launch: Any, now: datetime) -> State:
    """The state of a launch from `launches`, in words."""
    if launch.state == Launch.ENDED:
        code = f" with status {launch.code}" if launch.code is not None else ""
        told = {"exited": f"exited{code}", "killed": f"killed{code}", "lost": "lost: nobody told how it ended"}
        return State(OVER, told.get(launch.how, launch.how))
    if launch.observed_at is None:
        waits = now - launch.attested_at
        return State(UNSEEN, f"never seen, for {span(waits)}" if waits > SILENT else "not seen yet")
    silent = now - launch.observed_at
    if launch.newest:
        found = f"drift: {codes(launch.newest)}"
        return State(BAD, f"{found}; not seen for {span(silent)}" if silent > SILENT else found)
    if silent > SILENT:
        return State(UNSEEN, f"not seen for {span(silent)}")
    return State(GOOD, "runs as attested")


def codes(findings: Iterable[dict[str, Any]]) -> str:
    """The kinds of findings, in words, each once."""
    return ", ".join(dict.fromkeys(finding["code"].replace("-", " ") for finding in findings))


def span(time: timedelta) -> str:
    """How long, in the largest unit that says enough."""
    minutes = max(0, int(time.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // (24 * 60)} days"


def unmatched(now: datetime) -> Unmatched:
    """What does not match in either direction, over the last day. Fresh launches are given their time."""
    unobserved = unseen(now)
    stray = Observation.objects.select_related("service").filter(launch=None, at__gte=now - LATELY)
    return Unmatched(list(unobserved[:SHOWN]), unobserved.count(), list(stray[:SHOWN]), stray.count())


def unseen(now: datetime) -> QuerySet[Launch]:
    """Launches that nobody saw, the newest first: of those that run, and of those that ended over the last day."""
    due = Q(state=Launch.ATTESTED, attested_at__lte=now - SILENT) | Q(state=Launch.ENDED, ended_at__gte=now - LATELY)
    return launches().filter(due, observations=0).order_by("-index")


def refused() -> list[RefusedLaunch]:
    """The newest refusals. Those of canaries are what must be, and are on their own page."""
    found = RefusedLaunch.objects.select_related("service").exclude(agent__in=canary_agents.known())
    return list(found[:SHOWN])


def layers(launch: Launch) -> list[Layer]:
    """The layers of a launch in their order, each with the key that signed it. The signatures are verified again."""
    found = []
    for layer in launch.document["layers"]:
        raw, signature = layer["text"].encode("utf-8"), layer.get("signature", "")
        fingerprint = terms.key_that_signed((raw, signature)) if signature else ""
        signer = terms.owner_of(fingerprint)
        found.append(Layer(layer["name"], layer["digest"], layer["text"], fingerprint, signer))
    return found


def role_words(role: str) -> str:
    """What a service of this role does."""
    return {
        attestation.ORCHESTRATOR: "orchestrator: attests launches",
        attestation.MONITOR: "monitor: observes what runs",
        attestation.CANARIES: "canary runner: tries what must be refused",
    }[role]
