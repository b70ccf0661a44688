"""The tool registry as it stands: documents and compiled schemas, kept in memory by content address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from governance.models import Tool
from imprimatur.rules import tools


@dataclass(frozen=True)
class RegisteredTool:
    """A tool as the registry has it. ``document`` is shared: do not change it."""

    name: str
    digest: str
    document: dict[str, Any]
    validator: tools.Validator

    def validate(self, parameters: object, withheld: Iterable[str] = ()) -> list[str]:
        """Every way the parameters depart from the schema, without repeating a value; empty when they fit."""
        return self.validator.problems(parameters, withheld)


def tool(name: str) -> RegisteredTool | None:
    """The current version of the tool, or None: an unknown tool is claimed, and at least HIGH."""
    digest = Tool.objects.filter(name=name, current=True).values_list("digest", flat=True).first()
    return None if digest is None else by_digest(digest)


@lru_cache(maxsize=512)
def by_digest(digest: str) -> RegisteredTool:
    """Any version of a tool, current or not. Raises Tool.DoesNotExist, or ValueError when the row was altered."""
    document = Tool.objects.get(pk=digest).document
    if tools.digest(document) != digest:
        raise ValueError("A registry entry does not match its digest: somebody changed it in the database.")
    return RegisteredTool(document["name"], digest, document, tools.validator(document))


def current() -> list[RegisteredTool]:
    """All tools the registry has now, by name."""
    digests = Tool.objects.filter(current=True).order_by("name").values_list("digest", flat=True)
    return [by_digest(digest) for digest in digests]
