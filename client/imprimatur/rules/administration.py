"""Which changes take two people, who may second them, and who may vouch for a newcomer's key.

Two-person administration is on from the moment two people have ever held a signing key that counts: from then on it
can be kept by signatures, and it never goes off again, whoever leaves. What only takes authority away stays one
person's act.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

ADMIN, REVIEWER = "admin", "reviewer"


@dataclass(frozen=True, slots=True)
class Objection:
    """Why not, as a code and a sentence for whoever tries."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Vouching:
    """A voucher is acceptable. ``first`` marks the two keys that came before three people could take part."""

    first: bool


def two_person(holders: Collection[str]) -> bool:
    """Whether two people sign every widening change. ``holders``: everybody who ever held a signing key in force."""
    return len(frozenset(holders)) >= 2


def takes_two(act: str, document: Mapping[str, Any], roles_before: Collection[str] = ()) -> bool:
    """Whether this change, once two-person administration is on, takes a second person.

    A newcomer without a role has no authority; taking roles away and switching somebody off must work at once and
    alone. A new name takes two: people are recognised by it. So does a tool, for its document says what agents can do
    with it, how risky that is at least, and in which words people read of it.
    """
    if act == "person.added":
        return bool(document["roles"])
    if act == "person.changed":
        widened = frozenset(document.get("roles", ())) - frozenset(roles_before)
        return bool(widened) or document.get("active") is True or "name" in document
    return act in ("policy.activated", "tool.registered")


def against_second(proposer: str, person: str, roles: Collection[str], active: bool) -> Objection | None:
    """Why this person may not second a change, or None. Any other admin or reviewer may."""
    if person == proposer:
        return Objection("same-person", "You proposed this yourself; it takes another person.")
    if not active or frozenset(roles).isdisjoint({ADMIN, REVIEWER}):
        return Objection("role", "Only an active admin or reviewer seconds a change.")
    return None


def vouching(
    *,
    newcomer: str,
    voucher: str,
    voucher_roles: Collection[str],
    voucher_active: bool,
    introducers: Collection[str],
    holders: Collection[str],
) -> Vouching | Objection:
    """Whether ``voucher`` may vouch for a key of ``newcomer``.

    ``introducers`` are those who added the newcomer or reset their login since: they could be sitting at it.
    ``holders`` are all who ever held a signing key in force. Inviter, voucher and newcomer are three people as soon as
    two others hold keys. The very first key needs an admin and nobody else; it, and what follows while only one other
    person could vouch, is flagged.
    """
    known = frozenset(holders)
    if not voucher_active or frozenset(voucher_roles).isdisjoint({ADMIN, REVIEWER}):
        return Objection("role", "Only an active admin or reviewer vouches for a key.")
    if voucher == newcomer:
        if not known and ADMIN in voucher_roles:
            return Vouching(first=True)
        return Objection("own-key", "Nobody vouches for a key of their own. Ask somebody who knows you.")
    if voucher not in known:
        return Objection("no-key", "Only somebody who holds a signing key of their own vouches for another.")
    alone = known - {newcomer} == {voucher}
    if voucher in introducers and not alone:
        return Objection(
            "introducer",
            "You added this person or reset their login, so somebody else has to vouch for the key.",
        )
    return Vouching(first=voucher in introducers or (alone and newcomer not in known))
