"""A person takes their answer back, as long as nothing was executed."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import eligibility, statements, transitions
from approvals.models import ActionRequest, Vote
from audit.log import Actor, Writer
from governance import ceremonies
from governance.errors import Refused
from governance.models import Person

DECISION = "recall"


@dataclass(frozen=True)
class Command:
    """Take back the answer that ``person`` gave to ``request``."""

    person: str
    request: str
    said: statements.Said


def command(person: Person, request: str, reason: str = "") -> Command:
    """The command for a click in this person's session. Raises Refused ``not-found`` when there is no answer."""
    draft = statements.draft(transitions.load(request), person, DECISION, reason=reason)
    return Command(person.id, request, statements.by_click(person, draft))


def apply(writer: Writer, command: Command) -> ActionRequest:
    """Recall a vote. A pending request counts again without it; an approval that rests on it becomes RECALLED.

    Raises Refused: not-found, wrong-state (changed meanwhile, already redeemed, or waiting for the confirmation of this
    very vote: then whoever gave it denies instead), invalid, key-revoked, signature.
    """
    request = transitions.load(command.request)
    mine = [vote for vote in eligibility.live_votes(request) if vote.person_id == command.person]
    person = eligibility.person_of(command.person)
    if not mine or person is None or not person.user.is_active:
        raise Refused("not-found", "You have no answer here to take back.")
    vote = mine[-1]
    if request.state == "AWAITING_CONFIRMATION":
        raise Refused("wrong-state", "Your approval waits for its confirmation. Deny the request to stop it.")
    if request.state not in {"PENDING", "APPROVED"}:
        raise Refused("wrong-state", transitions.wrong_state(request.state, "be recalled"))
    said, signed = command.said, command.said.signed
    statements.check(said, request, person, DECISION, vote.stage)
    if said.document.get("prev_vote") != statements.vote_digest(vote):
        raise Refused("wrong-state", "Your answer is another one by now. Read the request again.")
    ceremonies.use(writer, signed, by=person)
    for opening in said.openings:
        writer.keep_opening(opening)
    actor = Actor("person", person.id, key=signed.key or "", assurance=signed.assurance)
    body: dict[str, object] = {"request": request.id, "vote": vote.index}
    if said.reason:
        body["reason"] = said.reason
    if signed.key is not None:
        body["signed"] = signed.entry
    write(writer, request, vote, actor, body)
    if request.state == "APPROVED":
        # The signature stands in the recall itself; what follows from it was signed by nobody.
        follows = Actor("person", person.id, assurance="H0")
        transitions.withdraw(writer, request, "recall", "recalled", reason=said.reason, actor=follows)
    else:
        transitions.save(writer, request)
    return request


def write(writer: Writer, request: ActionRequest, vote: Vote, actor: Actor, body: dict[str, object]) -> None:
    """Append ``vote.recalled`` and stop counting the vote."""
    writer.append(
        "vote.recalled",
        subject=request.id,
        actor=actor,
        body=body,
        refs=[("vote", vote.index)],
        agent=request.agent_id,
    )
    vote.recalled_at = writer.now
    vote.save(update_fields=["recalled_at"])
