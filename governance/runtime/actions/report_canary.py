"""A run of all canaries: requests in production that must be refused, and one that must not be.

Where the active policy says so, a run in which an attack got through pauses everything in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from audit.log import Actor, Writer
from governance.actions import set_pause
from governance.errors import Refused
from governance.runtime import statements, terms, trees
from governance.runtime.models import CanaryRun, Service
from governance.runtime.statements import Said
from imprimatur.formats import attestation
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import canaries

RESPONSE = Actor("system", "canary")
"""The server itself, when it answers a canary that got through."""


@dataclass(frozen=True)
class Command:
    """``result`` is what the attempts amount to, by the rules."""

    said: Said
    result: str


@dataclass(frozen=True)
class Result:
    run: CanaryRun
    own: dict[str, object]
    fresh: bool = True


def prepare(service: Service, text: str, now: datetime) -> Command:
    """Read the statement, and judge its attempts. Raises Refused ``malformed``, also when the service judged them
    otherwise: then one of the two is of another version, and neither can be relied on."""
    said = statements.read(service, text, attestation.CANARY, now)
    if said.predicate["from"] > said.predicate["at"]:
        raise Refused("malformed", "This run ends before it begins.")
    result = canaries.result(said.predicate["attempts"])
    if said.predicate["result"] != result:
        raise Refused("malformed", f"These attempts amount to {result}. Compare the versions of runner and server.")
    return Command(said, result)


def apply(writer: Writer, command: Command) -> Result:
    """Write it down. The same statement again answers the same.

    Raises Refused: key-revoked (the service was retired), wrong-state (it does not follow), conflict (it does not end
    after the service's newest run: then it would cover no time).
    """
    said, predicate = command.said, command.said.predicate
    service = statements.signer_of(writer, said)
    before = statements.written_before(service, said)
    if before is not None:
        return Result(CanaryRun.objects.get(pk=before), trees.own_of(service), fresh=False)
    trees.must_follow(service, predicate["own"])
    ended_at = parse_time(predicate["at"])
    newest = CanaryRun.objects.filter(service=service).order_by("-index").first()
    if newest is not None and ended_at <= newest.ended_at:
        raise Refused("conflict", "This run does not end after the newest one of this service. Run them one by one.")
    entry = writer.append(
        "canary.reported",
        subject=service.pk,
        actor=statements.actor_of(service),
        body={"statement": said.text, "result": command.result},
    )
    trees.grow(service, said.text, entry.index)
    run = CanaryRun.objects.create(
        index=entry.index,
        service=service,
        began_at=parse_time(predicate["from"]),
        ended_at=ended_at,
        every=predicate["every"],
        result=command.result,
        attempts=predicate["attempts"],
    )
    # An attack that got no answer voids the run and stops nothing: a busy server is no broken one.
    if any(map(canaries.succeeded, predicate["attempts"])) and terms.response("canary") == "pause":
        set_pause.everything(
            writer,
            reason="An attack that a canary made was not refused.",
            actor=RESPONSE,
            refs=[("canary", entry.index)],
        )
    return Result(run, trees.own_of(service))
