"""Register a tool, or a new version of one. What a tool may do is a grant: only a person gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.log import Appended, Writer
from governance import changes
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person, Tool
from imprimatur.formats import canonical
from imprimatur.rules import tools

LARGEST = 40_000  # bytes: the document has to fit into its log entry


@dataclass(frozen=True)
class Command:
    """``change`` names the change that two people signed, where that is needed."""

    document: Mapping[str, Any]
    by: Person
    change: str | None = None


@dataclass(frozen=True)
class Result:
    """``entry`` is None when this very version was current already."""

    tool: Tool
    entry: Appended | None


def apply(writer: Writer, command: Command) -> Result:
    """Make this document the current version of its tool.

    Raises Refused: not-allowed (admins only), invalid, two-people (once two people hold signing keys), wrong-state (the
    change is another one).
    """
    must_be_admin(command.by)
    document = _checked(command.document)
    before = Tool.objects.filter(name=document["name"], current=True).first()
    if before is not None and before.digest == tools.digest(document):
        return Result(before, None)
    body = planned(document)
    changes.must_be_agreed("tool.registered", body, command.change)
    if before is not None:
        before.current = False
        before.save(update_fields=["current"])
    row, _ = Tool.objects.update_or_create(
        digest=body["digest"],
        defaults={
            "name": body["tool"],
            "document": document,
            "registered_at": writer.now,
            "registered_by": command.by.pk,
            "current": True,
        },
    )
    written = body if command.change is None else {**body, "change": command.change}
    entry = writer.append("tool.registered", subject=row.name, actor=person_actor(command.by), body=written)
    return Result(row, entry)


def planned(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the entry would say if this were registered now. Raises Refused: invalid, conflict (in force already)."""
    checked = _checked(document)
    digest, name = tools.digest(checked), checked["name"]
    before = Tool.objects.filter(name=name, current=True).first()
    if before is not None and before.digest == digest:
        raise Refused("conflict", "This is exactly the current version already.")
    body: dict[str, Any] = {"tool": name, "document": checked, "digest": digest}
    if before is not None:
        body["replaces"] = before.digest
    return body


def _checked(document: Mapping[str, Any]) -> dict[str, Any]:
    try:
        tools.check(dict(document))
        tools.validator(document)
        raw = canonical.dumps(dict(document))
    except tools.ToolError as error:
        raise Refused("invalid", str(error)) from None
    if len(raw) > LARGEST:
        raise Refused("invalid", f"A tool's document holds at most {LARGEST} bytes.")
    checked: dict[str, Any] = canonical.loads_canonical(raw)
    return checked
