"""Register a tool, or a new version of one. What a tool may do is a grant: only a person gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.log import Appended, Writer
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person, Tool
from imprimatur.formats import canonical
from imprimatur.rules import tools

LARGEST = 40_000  # bytes: the document has to fit into its log entry


@dataclass(frozen=True)
class Command:
    document: Mapping[str, Any]
    by: Person


@dataclass(frozen=True)
class Result:
    """``entry`` is None when this very version was current already."""

    tool: Tool
    entry: Appended | None


def apply(writer: Writer, command: Command) -> Result:
    """Make this document the current version of its tool. Raises Refused: not-allowed (admins only), invalid."""
    must_be_admin(command.by)
    try:
        tools.check(dict(command.document))
        tools.validator(command.document)
        raw = canonical.dumps(dict(command.document))
    except tools.ToolError as error:
        raise Refused("invalid", str(error)) from None
    if len(raw) > LARGEST:
        raise Refused("invalid", f"A tool's document holds at most {LARGEST} bytes.")
    document = canonical.loads_canonical(raw)
    digest, name = tools.digest(document), document["name"]
    before = Tool.objects.filter(name=name, current=True).first()
    if before is not None and before.digest == digest:
        return Result(before, None)
    if before is not None:
        before.current = False
        before.save(update_fields=["current"])
    row, _ = Tool.objects.update_or_create(
        digest=digest,
        defaults={
            "name": name,
            "document": document,
            "registered_at": writer.now,
            "registered_by": command.by.pk,
            "current": True,
        },
    )
    body: dict[str, Any] = {"tool": name, "document": document, "digest": digest}
    if before is not None:
        body["replaces"] = before.digest
    entry = writer.append("tool.registered", subject=name, actor=person_actor(command.by), body=body)
    return Result(row, entry)
