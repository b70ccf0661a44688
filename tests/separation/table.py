"""Every address this server answers, and the table in ``docs/routes.md`` that says who may call it.

The table is the reviewed data; the addresses come from the running configuration: Django's resolver with all of Ninja's
operations, the hot calls of the agent door, and the sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver

from approvals.door import routes as hot
from server.routing import websocket_urlpatterns
from tests.docs.pages import DOCS, code_of, rows

PAGE = DOCS / "routes.md"
ANYBODY, AGENT, MIRROR, SIGNER, NEWCOMER, INVITED = "anybody", "agent", "mirror", "signer", "newcomer", "invited"
SERVICES = frozenset({"orchestrator", "monitor", "canary"})
ROLES = frozenset({"admin", "reviewer", "auditor"})
PERSON = "person"  # anybody with a login, with or without a role
PRINCIPALS = frozenset({ANYBODY, AGENT, MIRROR, SIGNER, NEWCOMER, INVITED, PERSON}) | SERVICES | ROLES

# How each principal shows who it is.
NOTHING, SESSION, SESSION_AND_KEY = "nothing", "session", "session and own key"
REQUEST_SIGNATURE, TOKEN, STATEMENT, CODE = "signed request", "token", "signed statement", "one-time code"
PROOFS = frozenset({NOTHING, SESSION, SESSION_AND_KEY, REQUEST_SIGNATURE, TOKEN, STATEMENT, CODE})

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SOCKET = "SOCKET"


@dataclass(frozen=True)
class Row:
    """One line of the table: who may call this, and what shows that they are it."""

    who: frozenset[str]
    proof: str


@dataclass(frozen=True)
class Route:
    """One address of the configuration, with what answers it."""

    address: str
    name: str

    @property
    def is_agents(self) -> bool:
        return self.address.startswith(("/api/v1", "/.well-known/"))


def _walk(patterns: list[URLPattern | URLResolver], before: str) -> Iterator[Route]:
    for pattern in patterns:
        address = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, address)
        else:
            yield Route(address, pattern.name or "")


@cache
def routes() -> tuple[Route, ...]:
    """Every address: pages, sockets, and all operations of the agent API."""
    found = list(_walk(get_resolver("tests.separation.urls").url_patterns, "/"))
    found += [Route("/" + str(each.pattern), SOCKET) for each in websocket_urlpatterns]
    return tuple(found)


def pages_and_calls() -> list[Route]:
    """What is reached over HTTP."""
    return list({route.address: route for route in routes() if route.name != SOCKET}.values())


def hot_calls() -> set[tuple[str, str]]:
    """The calls that never reach Django: address and method."""
    return {(re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", each.pattern.pattern), each.method) for each in hot.HOT}


@cache
def table() -> dict[tuple[str, str], Row]:
    """The reviewed rows: (address, method) to who may call it."""
    found: dict[tuple[str, str], Row] = {}
    for line in rows(PAGE.read_text(encoding="utf-8")):
        if len(line) != 4 or not code_of(line[0]).startswith("/"):
            continue
        who = frozenset(word.strip() for word in line[2].split(","))
        for method in METHODS if line[1] == "any" else line[1].split(", "):
            key = (code_of(line[0]), method)
            assert key not in found, f"docs/routes.md has two rows for {key}"
            assert who <= PRINCIPALS, f"docs/routes.md names {sorted(who - PRINCIPALS)}, which is no principal"
            assert line[3] in PROOFS, f"docs/routes.md says {line[3]!r}, which is none of {sorted(PROOFS)}"
            found[key] = Row(who, line[3])
    return found


def row_for(route: Route, method: str) -> Row | None:
    """Who may call this; None where the table says that nobody can."""
    return table().get((route.address, method))


# What stands for a placeholder when an address is tried out. A new kind of placeholder goes here.
PLACES = {
    "format": "csv",
    "form": "csv",
    "act": "approve",
    "number": "1",
    "index": "0",
    "view": "0",
    "pk": "0",
    "rest": "nowhere",
    "path": "0/000",
    "tile": "0/000",
    "request_id": "act_00000000000000000000000000",
    "grant_id": "gr_00000000000000000000000000",
    "bundle_id": "bdl_00000000000000000000000000",
    "hold_id": "hld_00000000000000000000000000",
    "change_id": "chg_00000000000000000000000000",
    "ceremony_id": "cer_00000000000000000000000000",
    "name": "write_file",
}


def path_of(route: Route, **places: str) -> str:
    """The address with something in every placeholder."""
    known = {**PLACES, **places}

    def fill(found: re.Match[str]) -> str:
        return known.get(found[2], "x_00000000000000000000000000")

    return re.sub(r"<(?:(\w+):)?(\w+)>", fill, route.address)
