"""Make a policy the active one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.log import Appended, Writer
from governance import cascade, changes, people, policies
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person, Policy
from imprimatur.formats import canonical
from imprimatur.rules import policy as rules

LARGEST = 40_000  # bytes: the document has to fit into its log entry


@dataclass(frozen=True)
class Command:
    """``toml`` is how its author wrote it; only the parsed document counts. ``change`` names the change that two
    people signed, where that is needed."""

    document: Mapping[str, Any]
    by: Person
    toml: str = ""
    change: str | None = None


@dataclass(frozen=True)
class Result:
    """``entry`` is None when this policy was the active one already. ``warnings`` are for its author."""

    policy: Policy
    entry: Appended | None
    warnings: tuple[str, ...] = ()


def check(document: Mapping[str, Any]) -> rules.Policy:
    """Compile a policy outside any lock. The result is kept: activating it is quick then. Raises Refused(invalid)."""
    try:
        compiled = policies.compile_document(document)
    except rules.PolicyError as error:
        raise Refused("invalid", str(error)) from None
    if len(canonical.dumps(compiled.document)) > LARGEST:
        raise Refused("invalid", f"A policy holds at most {LARGEST} bytes. Use fewer or wider rules.")
    return compiled


def apply(writer: Writer, command: Command) -> Result:
    """Activate it, and tell what was registered with ``cascade.policy_activated``.

    Raises Refused: not-allowed (admins only), invalid (faults, or nobody could ever answer what it asks), two-people
    (once two people hold signing keys), wrong-state (the change is another one).
    """
    must_be_admin(command.by)
    compiled = check(command.document)
    before = Policy.objects.filter(active=True).first()
    if before is not None and before.digest == compiled.digest:
        return Result(before, None, tuple(map(str, compiled.warnings)))
    body, warnings = planned(command.document)
    changes.must_be_agreed("policy.activated", body, command.change)
    was_single = before is not None and bool(before.document.get("single_human"))
    if compiled.single_human and not was_single and command.change is None and Person.objects.count() > 1:
        raise Refused(
            "not-allowed",
            "single_human lets one person approve their own agent. Two people exist here, so two have to sign that: "
            "once two hold signing keys, propose it under Changes.",
        )
    number = body["number"]
    Policy.objects.filter(active=True).update(active=False)
    row = Policy.objects.create(
        digest=compiled.digest,
        number=number,
        document=compiled.document,
        toml=command.toml or rules.to_toml(compiled.document),
        activated_at=writer.now,
        activated_by=command.by.pk,
    )
    written = body if command.change is None else {**body, "change": command.change}
    entry = writer.append("policy.activated", subject=row.digest, actor=person_actor(command.by), body=written)
    cascade.tell_policy_activated(writer, row)
    return Result(row, entry, warnings)


def planned(document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the entry would say if this came into force now, and warnings for its author.

    Raises Refused: invalid (faults, or it asks for what the people who exist can never give), conflict (in force
    already).
    """
    compiled = check(document)
    before = Policy.objects.filter(active=True).first()
    if before is not None and before.digest == compiled.digest:
        raise Refused("conflict", "This is the policy in force already.")
    warnings = [*map(str, compiled.warnings), *unanswerable(compiled, before)]
    number = Policy.objects.order_by("-number").values_list("number", flat=True).first() or 0
    body: dict[str, Any] = {"policy": compiled.digest, "number": number + 1, "document": compiled.document}
    if before is not None:
        body["replaces"] = before.digest
    return body, tuple(warnings)


def unanswerable(compiled: rules.Policy, before: Policy | None) -> list[str]:
    """What nobody could answer, where that is only a warning. Raises Refused(invalid) where it stands in the way.

    The first policy comes before the people who will answer it, and their keys come later still. From then on people
    must not be missing; and keys only while the policy in force lacks them as well, for then nothing gets worse.
    """
    candidates = people.candidates()
    found = [str(problem) for problem in compiled.satisfiable_by(candidates)]
    if before is None or not found:
        return found
    missing = [str(problem) for problem in compiled.satisfiable_by(candidates, keys=False)]
    if missing:
        raise Refused("invalid", " ".join(missing))
    if not policies.compile_document(before.document).satisfiable_by(candidates):
        raise Refused("invalid", " ".join(found) + " Have people enrol keys and vouch for them first.")
    return found
