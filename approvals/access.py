"""Guarded loading of action requests: an edge gets one only through here, on behalf of somebody."""

from __future__ import annotations

from approvals.models import ActionRequest
from approvals.queue import rows
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Person


def access_request(person: Person, request_id: str) -> ActionRequest:
    """A request with what its card needs: anybody with a role sees all, the agent's owner sees it.

    Raises Refused not-found, in the same words whether it does not exist or is not theirs to see.
    """
    found = rows().filter(pk=request_id).first()
    if found is not None and person.user.is_active and (person.pk == found.agent.owner_id or roles_of(person)):
        return found
    raise Refused("not-found", "There is no such action request.")
