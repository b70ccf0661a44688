"""Guarded loading: an object reaches an edge or an action only through one of these, on behalf of somebody.

Who may not see a thing is told that it does not exist, in the same words as for a thing that really does not.
"""

from __future__ import annotations

from django.db.models import QuerySet

from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Agent, AgentKey, Delegation, Person
from governance.runtime.models import Service

LONGEST_CHAIN = 16

Viewer = Person | Agent | None  # None is the system itself


def key_of(thumbprint: str) -> AgentKey:
    """The usable key with this thumbprint, its agent loaded. Raises Refused key-unknown or key-revoked.

    A suspended agent still has a usable key: it may authenticate, to be told that it is suspended.
    """
    key = AgentKey.objects.select_related("agent__owner__user").filter(thumbprint=thumbprint).first()
    if key is None:
        raise Refused("key-unknown", "No agent and no service has this key.")
    if key.revoked_since is not None:
        raise Refused("key-revoked", "This key was revoked. A lost key is a new agent: enrol again.")
    if key.retired_at is not None:
        raise Refused("key-revoked", "This key was rotated away. Sign with the agent's present key.")
    return key


def service_of(thumbprint: str) -> Service | None:
    """The service whose key this is, or None. Raises Refused key-revoked for one that was retired."""
    service = Service.objects.filter(thumbprint=thumbprint).first()
    if service is not None and service.retired_at is not None:
        raise Refused("key-revoked", "This service was retired. A new one makes a new key and is registered with it.")
    return service


def access_agent(viewer: Viewer, agent_id: str) -> Agent:
    """An agent: anybody with a role sees all, its owner sees it, it sees itself. Raises Refused not-found."""
    agent = Agent.objects.select_related("owner__user").filter(pk=agent_id).first()
    if agent is not None and _may_see_agent(viewer, agent):
        return agent
    raise Refused("not-found", "There is no such agent.")


def _may_see_agent(viewer: Viewer, agent: Agent) -> bool:
    if viewer is None:
        return True
    if isinstance(viewer, Agent):
        return viewer.pk == agent.pk
    return viewer.user.is_active and (viewer.pk == agent.owner_id or bool(roles_of(viewer)))


def access_delegation(viewer: Viewer, delegation_id: str) -> Delegation:
    """A delegation: an agent sees its own and what was passed on below it. Raises Refused not-found."""
    delegation = _delegations().filter(pk=delegation_id).first()
    if delegation is not None and _may_see_delegation(viewer, delegation):
        return delegation
    raise Refused("not-found", "There is no such delegation.")


def _may_see_delegation(viewer: Viewer, delegation: Delegation) -> bool:
    if viewer is None:
        return True
    if isinstance(viewer, Agent):
        return any(link.subject_id == viewer.pk for link in chain_of(delegation))
    return viewer.user.is_active and (viewer.pk == delegation.subject.owner_id or bool(roles_of(viewer)))


def access_person(viewer: Viewer, person_id: str) -> Person:
    """A person: anybody with a role sees all, everybody sees themselves, an agent nobody. Raises Refused not-found."""
    person = Person.objects.select_related("user").filter(pk=person_id).first()
    if person is not None and (
        viewer is None
        or (isinstance(viewer, Person) and viewer.user.is_active and (viewer.pk == person.pk or roles_of(viewer)))
    ):
        return person
    raise Refused("not-found", "There is no such person.")


def chain_of(delegation: Delegation) -> list[Delegation]:
    """The chain from the root to this delegation, issuers and subjects loaded.

    Raises Refused(depth) when it is longer than 16 links or bites its own tail: such a chain carries nothing.
    """
    chain = [delegation]
    while chain[-1].parent_id is not None:
        if len(chain) == LONGEST_CHAIN:
            raise Refused("depth", f"The chain of this delegation is longer than {LONGEST_CHAIN} links.")
        chain.append(_delegations().get(pk=chain[-1].parent_id))
    chain.reverse()
    return chain


def _delegations() -> QuerySet[Delegation]:
    return Delegation.objects.select_related("issuer_person__user", "issuer_agent", "subject__owner")
