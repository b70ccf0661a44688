"""Sessions of somebody who just proved who they are, or did so a while ago."""

from __future__ import annotations

import time

from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.account.internal.userkit import user_id_to_str
from django.test import Client

from governance.models import Person

OF_WHOM = "account_authentication_methods_user"


def signed_in(person: Person, *, ago: float = 0, method: str = "password", **options: object) -> Client:
    """A browser in which this person signed in ``ago`` seconds ago."""
    client = Client(**options)  # type: ignore[arg-type]
    client.force_login(person.user)
    set_signed_in(client, person, ago=ago, method=method)
    return client


def set_signed_in(client: Client, person: Person, *, ago: float = 0, method: str = "password") -> None:
    """Date the proof of an existing session."""
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": method, "at": time.time() - ago}]
    session[OF_WHOM] = user_id_to_str(person.user)
    session.save()
