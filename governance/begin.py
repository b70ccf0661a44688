"""The beginning of an installation: keys, first entry, first people, tools and policy. All of it, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from django.conf import settings

from audit import genesis, log, publisher, signer
from audit.models import LogHead
from governance.actions import activate_policy, add_person, register_tool
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import ADMIN, Person
from imprimatur.formats.ids import new_id


@dataclass(frozen=True)
class Newcomer:
    """Somebody to add at the beginning."""

    username: str
    roles: tuple[str, ...]
    name: str = ""
    email: str = ""


@dataclass(frozen=True)
class Begun:
    """What was made. ``passwords`` maps logins to one-time passwords: show them once, they are kept nowhere."""

    fresh: bool
    realm: str
    people: tuple[Person, ...] = ()
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()


def begin_installation(
    people: Sequence[Newcomer],
    realm: str,
    policy_document: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    continues: Mapping[str, str] | None = None,
) -> Begun:
    """Begin the log and add the first people, tools and policy, in one transaction. A second time changes nothing.

    Entry 0 commits to exactly these people and this policy, so that verifiers know nobody was there before them. One
    of them must be an admin. Keys that exist are kept. ``continues`` is the end of another realm's log, for entry 0.
    Raises Refused: invalid, when people, tools or policy are; conflict, when the realm is not the one that was begun,
    or the folder holds the published files of a log that the database knows nothing of.
    """
    head = LogHead.objects.first()
    if head is not None:
        if head.realm != realm:
            raise Refused("conflict", f"This installation is the realm {head.realm}; a realm never changes.")
        return Begun(fresh=False, realm=realm)
    if publisher.mark_path().exists():
        raise Refused(
            "conflict",
            "A log was published from this data folder, and its database is gone. Put a copy of the database back and "
            "run manage.py log_recover, which takes the entries from the published files; or begin in an empty folder.",
        )
    if not any(ADMIN in person.roles for person in people):
        raise Refused("invalid", "One of the first people must be an admin.")
    make_keys()
    compiled = activate_policy.check(policy_document)
    now = log.utc_now()
    newcomers = [
        add_person.new(person.username, person.roles, name=person.name, email=person.email, person_id=new_id("pe", now))
        for person in people
    ]
    roster = [
        {"person": command.person_id, "name": command.name, "roles": sorted(set(command.roles))}
        for command, _ in newcomers
    ]
    added: list[Person] = []
    warnings: list[str] = []

    def founding(writer: log.Writer) -> None:
        added.extend(add_person.apply(writer, command).person for command, _ in newcomers)
        # From here on somebody answers for what is registered: verifiers take nothing more from the system itself.
        admin = next(person for person in added if ADMIN in roles_of(person))
        for document in tools:
            register_tool.apply(writer, register_tool.Command(document, by=admin))
        warnings.extend(activate_policy.apply(writer, activate_policy.Command(policy_document, by=admin)).warnings)

    genesis.begin(
        realm=realm,
        roster=roster,
        policy_digest=compiled.digest,
        software=software(),
        founding=founding,
        continues=continues,
    )
    return Begun(
        fresh=True,
        realm=realm,
        people=tuple(added),
        passwords={command.username: password for command, password in newcomers},
        warnings=tuple(warnings),
    )


def make_keys() -> None:
    """Make the two keys of the log, unless both are there already. One alone is a broken installation: it raises."""
    folder = Path(settings.KEYS_DIR)
    present = [role for role in (signer.DECISION, signer.LOG) if role in signer.names(role)]
    if not present:
        signer.make_keys(folder)
    elif len(present) == 1:
        raise Refused(
            "conflict", f"Only the {present[0]} key is in the folder of keys. Restore the other from a backup."
        )


def software() -> str:
    """What began the log, for its first entry."""
    try:
        return f"imprimatur-server {version('imprimatur-server')}"
    except PackageNotFoundError:
        return "imprimatur-server"
