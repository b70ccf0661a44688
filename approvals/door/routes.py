"""The hot calls, as the ASGI door finds them. Every other call goes through Django."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from approvals.door import operations, schemas
from approvals.door.raw import Step

PREFIX = "/api/v1"


@dataclass(frozen=True)
class Route:
    """One call: how to know it, what its body is, and the operation behind it."""

    method: str
    pattern: re.Pattern[str]
    operation: Callable[..., Step]
    schema: type[BaseModel] | None


def _route(method: str, path: str, operation: Callable[..., Step], schema: type[BaseModel] | None) -> Route:
    pattern = re.escape(PREFIX + path).replace(r"\{identifier\}", r"(?P<identifier>[A-Za-z0-9_]{1,64})")
    return Route(method, re.compile(pattern), operation, schema)


HOT = (
    _route("POST", "/actions", operations.submit, schemas.Submit),
    _route("GET", "/actions/{identifier}", operations.get_action, None),
    _route("POST", "/actions/{identifier}/redeem", operations.redeem, schemas.Redeem),
    _route("POST", "/actions/{identifier}/outcome", operations.outcome, schemas.Outcome),
    _route("POST", "/outcomes", operations.outcomes, schemas.Outcomes),
)


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The hot call with this method and path, and its path parameters."""
    for route in HOT:
        found = route.pattern.fullmatch(path) if route.method == method else None
        if found is not None:
            return route, found.groupdict()
    return None
