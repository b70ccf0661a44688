"""Say something in the thread of a request: an agent about its own, a person about any they may see."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import eligibility, openings, transitions
from approvals.actions import use_nonce
from approvals.models import ActionRequest, Remark
from audit.log import Actor, Writer
from audit.models import Opening
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Person

MOST = 200


@dataclass(frozen=True)
class Command:
    """The commitment to the words and its opening; the author is an agent (with its key) or a person."""

    request: str
    comment: str
    opening: Opening
    agent: str = ""
    key: str = ""
    person: str = ""
    nonce: use_nonce.Nonce | None = None


def command(
    request: str,
    text: str,
    *,
    agent: str = "",
    key: str = "",
    person: Person | None = None,
    nonce: use_nonce.Nonce | None = None,
) -> Command:
    """Put a command together, committing to the words outside the lock. Raises Refused ``invalid``."""
    text = text.strip()
    if not text or len(text) > openings.LONGEST_TEXT:
        raise Refused("invalid", f"A comment has 1 to {openings.LONGEST_TEXT} characters.")
    commitment, opening = openings.said("comment", text, request)
    return Command(request, commitment, opening, agent, key, person.id if person else "", nonce)


def apply(writer: Writer, command: Command) -> Remark:
    """Add the comment. Raises Refused: replayed, not-found, not-allowed, too-many-pending after 200 comments."""
    use_nonce.apply(writer, command.nonce)
    request = transitions.load(command.request)
    actor = _author(request, command)
    if request.remarks.count() >= MOST:
        raise Refused("rate-limited", f"This request has {MOST} comments; it takes no more.")
    writer.keep_opening(command.opening)
    entry = writer.append(
        "comment.added",
        subject=request.id,
        actor=actor,
        body={"request": request.id, "comment": command.comment},
        agent=request.agent_id,
    )
    remark = Remark.objects.create(
        request=request,
        author_type=actor.type,
        author_id=actor.id,
        comment=command.comment,
        said_at=writer.now,
        index=entry.index,
    )
    transitions.announce(writer, request)
    return remark


def _author(request: ActionRequest, command: Command) -> Actor:
    if command.agent:
        if command.agent != request.agent_id:
            raise Refused("not-found", "There is no such action request.")
        return Actor("agent", command.agent, key=command.key)
    person = eligibility.person_of(command.person)
    if person is None or not person.user.is_active or not (roles_of(person) or person.id == request.agent.owner_id):
        raise Refused("not-allowed", "Only people with a role, and the agent's owner, take part in the thread.")
    return Actor("person", person.id, assurance="H0")
