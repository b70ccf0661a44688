"""Who acts as an admin in this room: looked at again under the lock, since the page asked a moment before."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth import get_user_model

from audit.errors import Declined
from audit.log import Actor

ADMIN = "admin"


@dataclass(frozen=True)
class Admin:
    """``user_id`` is the login, ``person`` the id under which the log names them."""

    user_id: int
    person: str

    def actor(self) -> Actor:
        """This person as the log says it. Raises Declined unless they are an active admin at this moment."""
        held = get_user_model().objects.filter(pk=self.user_id, is_active=True, groups__name=ADMIN)
        if not held.exists():
            raise Declined("Only somebody with the role admin may do this.")
        return Actor("person", self.person, assurance="H0")
