"""What happened after a redemption: told by the executor, or written down as untold by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from approvals import transitions
from approvals.actions import use_nonce
from approvals.models import ActionRequest
from audit.log import SYSTEM, Writer
from audit.models import Opening
from governance import spend
from governance.errors import Refused
from imprimatur.rules.money import format_amount

EVENTS = {"SUCCEEDED": "succeed", "FAILED": "fail", "UNREPORTED": "unreport"}


@dataclass(frozen=True)
class Command:
    """``cost`` is what it really cost (millionths), only where the registry settles by report."""

    request: str
    outcome: str
    agent: str = ""
    key: str = ""
    cost: int | None = None
    unit: str = ""
    result: str = ""
    opening: Opening | None = None
    nonce: use_nonce.Nonce | None = None


def apply(writer: Writer, command: Command) -> ActionRequest:
    """Record an outcome after a redemption. The same outcome again changes nothing; a late one is flagged.

    Failure or silence releases no money; a reported cost settles only where the registry says so. Raises Refused:
    replayed, not-found, wrong-state (never redeemed, or another outcome was recorded), invalid.
    """
    use_nonce.apply(writer, command.nonce)
    request = transitions.load(command.request)
    _reporter(request, command)
    if request.state == command.outcome and command.outcome in EVENTS:
        return request
    if command.outcome not in EVENTS:
        raise Refused("invalid", "An outcome is SUCCEEDED or FAILED.")
    if not request.attempt:
        raise Refused("wrong-state", "This request was never redeemed, so there is no outcome to report.")
    settles = command.cost is not None and request.settle == "reported" and bool(request.cost)
    if settles and command.unit != request.unit:
        raise Refused("invalid", f"This action was reserved in {request.unit}; report its cost in {request.unit}.")
    late = request.state == "UNREPORTED"
    transitions.step(request, EVENTS[command.outcome])
    body: dict[str, Any] = {
        "request": request.id,
        "action_digest": request.action_digest,
        "outcome": command.outcome,
    }
    if late:
        body["late"] = request.late = True
    if settles and command.cost is not None:
        spend.settle(writer, request.id, command.cost)
        body["cost"] = {"amount": format_amount(command.cost), "unit": request.unit}
    if command.result:
        body["result"] = command.result
    if command.opening is not None:
        writer.keep_opening(command.opening)
    request.reported_at = writer.now
    writer.append(
        "action.reported",
        subject=request.id,
        actor=transitions.executor(request, command.agent, command.key) if command.agent else SYSTEM,
        body=body,
        refs=[("decision", request.decided_index)] if request.decided_index is not None else [],
        agent=request.agent_id,
    )
    transitions.save(writer, request)
    return request


@dataclass(frozen=True)
class Many:
    """Outcomes that came in one signed request."""

    commands: tuple[Command, ...]
    nonce: use_nonce.Nonce | None = None


def apply_many(writer: Writer, many: Many) -> list[ActionRequest | Refused]:
    """Record each, and answer for each: a refusal changes nothing, so it does not stand in the way of the others.

    Raises Refused ``replayed`` for all of them together.
    """
    use_nonce.apply(writer, many.nonce)
    results: list[ActionRequest | Refused] = []
    for command in many.commands:
        try:
            results.append(apply(writer, command))
        except Refused as refused:
            results.append(refused)
    return results


def _reporter(request: ActionRequest, command: Command) -> None:
    if not command.agent:
        if command.outcome != "UNREPORTED":
            raise Refused("not-allowed", "Only the executor reports an outcome.")
        return
    if command.outcome == "UNREPORTED":
        raise Refused("invalid", "An outcome is SUCCEEDED or FAILED.")
    by_key = request.executor not in {"agent", ""}
    if command.key != request.executor if by_key else command.agent != request.agent_id:
        raise Refused("not-found", "There is no such action request.")
