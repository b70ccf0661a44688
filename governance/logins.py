"""What this room needs of the login, without knowing how people log in: the server registers that at start-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from audit.log import utc_now
from governance.models import Person


@dataclass(frozen=True)
class Claim:
    """Roles that somebody's groups name at the identity provider, and that they do not have here."""

    person: Person
    roles: tuple[str, ...]


_resets: list[Callable[[User], int]] = []
_claims: list[Callable[[], Iterable[Claim]]] = []


def register_second_factor_reset(forget: Callable[[User], int]) -> Callable[[User], int]:
    """Have ``forget`` called to delete a login's second factors; it returns how many. Twice changes nothing."""
    if forget not in _resets:
        _resets.append(forget)
    return forget


def forget_second_factors(user: User) -> int:
    """Delete every second factor and login passkey of this login and end its sessions. Returns how many were deleted.

    Signing keys are something else and stay: they live in a table of their own, and are revoked, never deleted.
    """
    forgotten = sum(forget(user) for forget in _resets)
    end_sessions(user)
    return forgotten


def end_sessions(user: User, *, but: str | None = None) -> None:
    """End this login's sessions, all or all ``but`` the one with this key."""
    for session in Session.objects.filter(expire_date__gt=utc_now()).iterator():
        if session.session_key != but and session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()


def register_claims(claims: Callable[[], Iterable[Claim]]) -> Callable[[], Iterable[Claim]]:
    """Have ``claims`` asked for roles that people's groups name. Registering twice changes nothing."""
    if claims not in _claims:
        _claims.append(claims)
    return claims


def claimed_roles() -> list[Claim]:
    """Who should have more roles, by their groups. It is only said: a person proposes it, and another seconds."""
    return [claim for claims in _claims for claim in claims()]
