"""The login and the address of a newcomer, as two people sign them: committed to, so that the log shows neither.

Whoever has the address at the single sign-on has the login, so what the second person read must be what is made.
The key of the commitment stays beside the change, and is given to nobody: a bundle lists the commitment unopened.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from governance.errors import Refused
from imprimatur.formats import commitments
from imprimatur.formats.encoding import b64u, un_b64u

NAME = "login"


def kept(username: str, email: str) -> tuple[str, dict[str, str]]:
    """A fresh commitment to this login, and what to keep beside the change to open it."""
    committed, opening = commitments.commit(secrets.token_bytes(32), NAME, {"username": username, "email": email})
    return committed, {"username": username, "email": email, "login_key": b64u(opening.key)}


def must_open(document: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
    """Raise Refused ``wrong-state`` unless the login kept beside a change is the one that its document commits to."""
    value = {name: beside.get(name, "") for name in ("username", "email")}
    try:
        found = commitments.commitment_of(commitments.Opening(NAME, un_b64u(str(beside.get("login_key", ""))), value))
    except ValueError:
        found = ""
    if not found or document.get(NAME) != found:
        raise Refused("wrong-state", "The login or address is not the one that was signed. Propose it again.")
