"""Make a policy the active one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.log import Appended, Writer
from governance import cascade, people, policies
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person, Policy
from imprimatur.formats import canonical
from imprimatur.rules import policy as rules

LARGEST = 40_000  # bytes: the document has to fit into its log entry


@dataclass(frozen=True)
class Command:
    """``toml`` is how its author wrote it; only the parsed document counts."""

    document: Mapping[str, Any]
    by: Person
    toml: str = ""


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

    Raises Refused: not-allowed (admins only), invalid (faults, or nobody could ever answer what it asks).
    """
    must_be_admin(command.by)
    compiled = check(command.document)
    warnings = [str(problem) for problem in compiled.warnings]
    unanswerable = [str(problem) for problem in compiled.satisfiable_by(people.candidates())]
    before = Policy.objects.filter(active=True).first()
    # The first policy comes before the people who will answer: then it is a warning.
    if unanswerable and before is not None:
        raise Refused("invalid", " ".join(unanswerable))
    warnings += unanswerable
    if before is not None and before.digest == compiled.digest:
        return Result(before, None, tuple(warnings))
    was_single = before is not None and bool(before.document.get("single_human"))
    if compiled.single_human and not was_single and Person.objects.count() > 1:
        raise Refused(
            "not-allowed",
            "single_human lets one person approve their own agent. Two people exist here, so two would have to agree.",
        )
    number = (Policy.objects.order_by("-number").values_list("number", flat=True).first() or 0) + 1
    Policy.objects.filter(active=True).update(active=False)
    row = Policy.objects.create(
        digest=compiled.digest,
        number=number,
        document=compiled.document,
        toml=command.toml or rules.to_toml(compiled.document),
        activated_at=writer.now,
        activated_by=command.by.pk,
    )
    body: dict[str, Any] = {"policy": row.digest, "number": number, "document": compiled.document}
    if before is not None:
        body["replaces"] = before.digest
    entry = writer.append("policy.activated", subject=row.digest, actor=person_actor(command.by), body=body)
    cascade.tell_policy_activated(writer, row)
    return Result(row, entry, tuple(warnings))
