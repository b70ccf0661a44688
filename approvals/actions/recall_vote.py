"""A person takes their answer back, as long as nothing was executed."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import eligibility, openings, transitions
from approvals.models import ActionRequest, Vote
from audit.log import Actor, Writer
from audit.models import Opening
from governance.errors import Refused
from governance.models import Person


@dataclass(frozen=True)
class Command:
    """Take back the answer that ``person`` gave to ``request``."""

    person: str
    request: str
    reason: str = ""
    opening: Opening | None = None


def command(person: Person, request: str, reason: str = "") -> Command:
    """Put a command together, committing to the reason outside the lock."""
    if not reason.strip():
        return Command(person.id, request)
    commitment, opening = openings.said("reason", reason.strip(), request)
    return Command(person.id, request, commitment, opening)


def apply(writer: Writer, command: Command) -> ActionRequest:
    """Recall a vote. A pending request counts again without it; an approval that rests on it becomes RECALLED.

    Raises Refused: not-found, wrong-state (already redeemed, or waiting for the confirmation of this very vote: then
    whoever gave it denies instead).
    """
    request = transitions.load(command.request)
    vote = next((v for v in eligibility.live_votes(request) if v.person_id == command.person), None)
    person = eligibility.person_of(command.person)
    if vote is None or person is None or not person.user.is_active:
        raise Refused("not-found", "You have no answer here to take back.")
    if request.state == "AWAITING_CONFIRMATION":
        raise Refused("wrong-state", "Your approval waits for its confirmation. Deny the request to stop it.")
    if request.state not in {"PENDING", "APPROVED"}:
        raise Refused("wrong-state", transitions.wrong_state(request.state, "be recalled"))
    if command.opening is not None:
        writer.keep_opening(command.opening)
    write(writer, request, vote, person, command.reason)
    if request.state == "APPROVED":
        actor = Actor("person", person.id, assurance="H0")
        transitions.withdraw(writer, request, "recall", "recalled", reason=command.reason, actor=actor)
    else:
        transitions.save(writer, request)
    return request


def write(writer: Writer, request: ActionRequest, vote: Vote, person: Person, reason: str) -> None:
    """Append ``vote.recalled`` and stop counting the vote."""
    body: dict[str, object] = {"request": request.id, "vote": vote.index}
    if reason:
        body["reason"] = reason
    writer.append(
        "vote.recalled",
        subject=request.id,
        actor=Actor("person", person.id, assurance="H0"),
        body=body,
        refs=[("vote", vote.index)],
        agent=request.agent_id,
    )
    vote.recalled_at = writer.now
    vote.save(update_fields=["recalled_at"])
