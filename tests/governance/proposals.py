"""Changes that two people sign, made as the pages make them: drafted, opened as a ceremony, signed by a key, applied."""

from __future__ import annotations

from typing import Any

from audit.log import commit, utc_now
from governance import ceremonies, newcomer_logins
from governance.actions import activate_policy, change_person, propose_change, register_tool, second_change
from governance.actions.propose_change import Draft
from governance.ceremonies import Signed
from governance.models import Change, Person
from imprimatur.formats.ids import new_id


def policy(document: dict[str, Any], **more: Any) -> Draft:
    body, _ = activate_policy.planned(document)
    return propose_change.draft(utc_now(), "policy.activated", body["policy"], body, **more)


def tool(document: dict[str, Any], **more: Any) -> Draft:
    body = register_tool.planned(document)
    return propose_change.draft(utc_now(), "tool.registered", body["tool"], body, **more)


def newcomer(login: str, *roles: str, **more: Any) -> Draft:
    committed, kept = newcomer_logins.kept(login, more.pop("email", ""))
    body = {"person": new_id("pe", utc_now()), "name": login.title(), "roles": sorted(roles), "login": committed}
    return propose_change.draft(utc_now(), "person.added", str(body["person"]), body, **{"kept": kept, **more})


def person(who: Person, **fields: Any) -> Draft:
    who = Person.objects.select_related("user").get(pk=who.pk)
    body = change_person.planned(who, **fields)
    return propose_change.draft(utc_now(), "person.changed", who.pk, body)


def signed(world: Any, who: str, change: Draft | Change, role: str, /, **lies: Any) -> Signed:
    """This person's signature under a change, with ``lies`` in place of what the statement should say."""
    key = world.key_of(who).fingerprint
    document = {
        **propose_change.statement_fields(change, role),
        **ceremonies.common(world.people[who], credential=key),
        **lies,
    }
    signature: Signed = world.signed(who, {name: value for name, value in document.items() if value is not None})
    return signature


def propose(world: Any, who: str, draft: Draft, /, **lies: Any) -> Change:
    command = propose_change.Command(draft, signed(world, who, draft, "propose", **lies), world.people[who])
    return commit(propose_change.apply, command)


def second(world: Any, who: str, change: Change, /, **lies: Any) -> Change:
    command = second_change.Command(change.pk, signed(world, who, change, "second", **lies), world.people[who])
    return commit(second_change.apply, command)
