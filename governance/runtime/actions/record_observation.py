"""A monitor looked at what runs: written down with all in which it differs from what was attested.

Where the active policy says so, drift suspends the agent in the same transaction. An admin resumes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.log import Actor, Writer
from governance.actions import suspend_agent
from governance.models import Agent
from governance.runtime import statements, terms, trees
from governance.runtime.models import Launch, Observation, Service
from governance.runtime.statements import Said
from imprimatur.formats import attestation
from imprimatur.rules import drift

RESPONSE = Actor("system", "drift")
"""The server itself, when it answers what a monitor found."""


@dataclass(frozen=True)
class Command:
    """Statements of one monitor, in the order in which it signed them."""

    said: tuple[Said, ...]


@dataclass(frozen=True)
class Result:
    """``observations`` in that order, and the service's tree now. ``fresh``: at least one of them was written now."""

    observations: list[Observation]
    own: dict[str, object]
    fresh: bool


def prepare(service: Service, texts: Sequence[str], now: datetime) -> Command:
    """Read the statements. Raises Refused ``malformed``."""
    return Command(tuple(statements.read(service, text, attestation.OBSERVATION, now) for text in texts))


def apply(writer: Writer, command: Command) -> Result:
    """Write all of them, or none. Those that are there already answer the same.

    Raises Refused: key-revoked (the service was retired), wrong-state (one does not follow the one before).
    """
    service = statements.signer_of(writer, command.said[0])
    had = trees.own_of(service)
    rows, fresh = [], False
    for said in command.said:
        before = statements.written_before(service, said)
        if before is not None:
            rows.append(Observation.objects.get(pk=before))
            continue
        trees.must_follow(service, said.predicate["own"], had)
        rows.append(_record(writer, service, said))
        fresh = True
    return Result(rows, trees.own_of(service), fresh)


def _record(writer: Writer, service: Service, said: Said) -> Observation:
    predicate = said.predicate
    claimed = predicate.get("launch", "")
    launch = Launch.objects.filter(pk=claimed, state=Launch.ATTESTED).first()
    findings = drift.findings(launch.document, predicate) if launch is not None else []
    entry = writer.append(
        "observation.recorded",
        subject=launch.pk if launch is not None else service.pk,
        agent=launch.agent_id if launch is not None else "",
        actor=statements.actor_of(service),
        body={"statement": said.text, "matched": launch is not None, "findings": findings},
    )
    trees.grow(service, said.text, entry.index)
    row = Observation.objects.create(
        index=entry.index,
        service=service,
        launch=launch,
        claimed=claimed,
        node=predicate["node"]["name"],
        processes=len(predicate["processes"]),
        findings=findings,
        at=writer.now,
    )
    if launch is None:
        return row
    launch.observed_at = writer.now
    launch.observations += 1
    launch.drifted += bool(findings)
    launch.save(update_fields=["observed_at", "observations", "drifted"])
    if findings:
        _respond(writer, launch, findings, entry.index)
    return row


def _respond(writer: Writer, launch: Launch, findings: Sequence[dict[str, Any]], index: int) -> None:
    agent = Agent.objects.get(pk=launch.agent_id)
    if agent.state == Agent.SUSPENDED or terms.response("drift") != "suspend":
        return
    codes = ", ".join(sorted({finding["code"] for finding in findings}))
    suspend_agent.suspend(
        writer,
        agent,
        reason=f"The launch {launch.pk} does not run as it was attested: {codes}.",
        actor=RESPONSE,
        refs=[("observation", index)],
    )
