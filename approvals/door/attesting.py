"""One function per call of services: what they read before they attest, and what they attest. Nothing here grants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings

from approvals.actions import use_nonce
from approvals.door import problems, schemas
from approvals.door.authenticate import ServiceCaller
from approvals.door.raw import Reply, Step, Write, json_reply
from audit.log import Writer, utc_now
from audit.models import Entry
from governance.errors import Refused
from governance.models import Agent
from governance.runtime import statements, terms, trees
from governance.runtime.actions import attest_launch, end_launch, record_observation, report_canary
from governance.runtime.models import Launch, Observation
from imprimatur.formats import attestation, digests
from imprimatur.formats.ids import is_id
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import configuration

C = TypeVar("C")
R = TypeVar("R")

PAGE = 100
"""Launches in one answer."""


def itself(caller: ServiceCaller) -> Step:
    """GET /service: the service, and the tree of all that it signed for this log."""
    service = caller.service
    document: dict[str, Any] = {
        "service": service.pk,
        "name": service.name,
        "role": service.role,
        "key": service.thumbprint,
        "realm": settings.REALM,
        "registered_at": format_time(service.registered_at),
        "own": trees.own_of(service),
    }
    if service.newest is not None:
        text = statements.text_of(Entry.objects.get(pk=service.newest)) or ""
        document["newest"] = {"index": service.newest, "digest": digests.sha256(text.encode("utf-8"))}
    return json_reply(200, document)


def get_terms(caller: ServiceCaller, agent: str) -> Step:
    """GET /launches/terms: what a launch of this agent has to agree with now."""
    row = Agent.objects.filter(pk=agent).first() if is_id("ag", agent) else None
    if row is None:
        raise Refused("not-found", "There is no such agent.")
    found = terms.of(row.pk, utc_now())
    return json_reply(
        200,
        {
            "agent": row.pk,
            "name": row.name,
            "state": found.state,
            "realm": settings.REALM,
            "delegations": sorted(found.delegations),
            "policy": found.policy,
            "merge": {"program": configuration.MERGE_PROGRAM, "digest": configuration.merge_digest()},
            "own": trees.own_of(caller.service),
        },
    )


def launch(caller: ServiceCaller, body: schemas.Statement) -> Step:
    """POST /launches: attested, or refused with every reason; the log has it either way."""

    def answered(result: attest_launch.Result) -> Reply:
        if result.refused is not None:
            return _refused(result)
        row = result.launch
        assert row is not None
        document = {"launch": row.pk, "agent": row.agent_id, "state": row.state, **_entry(row.index), "own": result.own}
        return json_reply(201 if result.fresh else 200, document)

    command = attest_launch.prepare(caller.service, body.statement, utc_now())
    return _write(caller, attest_launch.apply, command, answered)


def live_launches(caller: ServiceCaller, live: str, after: int) -> Step:
    """GET /launches: those that have not ended, the oldest first: an orchestrator's own, to a monitor all."""
    if live != "1":
        raise Refused("malformed", "Only launches that have not ended are listed: ask with live=1.")
    rows = Launch.objects.filter(state=Launch.ATTESTED, index__gt=after).order_by("index")
    if caller.service.role == attestation.ORCHESTRATOR:
        rows = rows.filter(service=caller.service)
    found = list(rows[: PAGE + 1])
    return json_reply(200, {"launches": [_launch(row) for row in found[:PAGE]], "more": len(found) > PAGE})


def ended(caller: ServiceCaller, identifier: str, body: schemas.Ended) -> Step:
    """POST /launches/{id}/ended: how it ended. What was asked under it goes on; nothing new is."""
    if not is_id("lau", identifier):
        raise Refused("not-found", "This service attested no such launch.")

    def answered(result: end_launch.Result) -> Reply:
        row = result.launch
        document: dict[str, Any] = {"launch": row.pk, "state": row.state, "how": row.how, **_entry(result.index)}
        return json_reply(200, document if row.code is None else {**document, "code": row.code})

    command = end_launch.Command(identifier, caller.service.pk, body.how, body.code)
    return _write(caller, end_launch.apply, command, answered)


def observations(caller: ServiceCaller, body: schemas.Statements) -> Step:
    """POST /observations: what was seen, and in what it differs from what was attested. All of them, or none."""

    def answered(result: record_observation.Result) -> Reply:
        document = {"observations": [_observation(row) for row in result.observations], "own": result.own}
        return json_reply(201 if result.fresh else 200, document)

    command = record_observation.prepare(caller.service, body.statements, utc_now())
    return _write(caller, record_observation.apply, command, answered)


def canaries(caller: ServiceCaller, body: schemas.Statement) -> Step:
    """POST /canaries: one run of all canaries, and what it amounts to."""

    def answered(result: report_canary.Result) -> Reply:
        document = {**_entry(result.run.index), "result": result.run.result, "own": result.own}
        return json_reply(201 if result.fresh else 200, document)

    command = report_canary.prepare(caller.service, body.statement, utc_now())
    return _write(caller, report_canary.apply, command, answered)


def _write(caller: ServiceCaller, apply: Callable[[Writer, C], R], command: C, answered: Callable[[R], Reply]) -> Write:
    def applied(writer: Writer, command: C) -> R:
        use_nonce.apply(writer, caller.nonce)
        return apply(writer, command)

    return Write(applied, command, answered)


def _entry(index: int) -> dict[str, Any]:
    """An entry by its index and the exact text of its envelope: a service believes an answer by this alone."""
    return {"index": index, "envelope": bytes(Entry.objects.get(pk=index).envelope).decode("utf-8")}


def _refused(result: attest_launch.Result) -> Reply:
    refused = result.refused
    assert refused is not None
    first, more = refused.reasons[0]["message"], len(refused.reasons) - 1
    detail = f"{first} There are {more} more reasons." if more else first
    extra = {**_entry(refused.index), "reasons": refused.reasons, "own": result.own}
    return problems.problem(Refused("launch-refused", detail, extra=extra))


def _launch(row: Launch) -> dict[str, Any]:
    predicate = {name: value for name, value in row.document.items() if name != "layers"}
    return {
        "launch": row.pk,
        "agent": row.agent_id,
        "service": row.service_id,
        "index": row.index,
        "attested_at": format_time(row.attested_at),
        "predicate": predicate,
    }


def _observation(row: Observation) -> dict[str, Any]:
    document = {**_entry(row.index), "matched": row.launch_id is not None, "findings": row.findings}
    return document if row.launch_id is None else {**document, "launch": row.launch_id}
