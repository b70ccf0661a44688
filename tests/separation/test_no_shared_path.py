"""No code path knows both a session and a request signature, so none can take one for the other."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from server.middleware import OF_AGENTS
from tests.architecture.sources import ROOMS, ROOT, modules, tree
from tests.conftest import World
from tests.separation import table, visitors

# Where programs are answered: who they are is said by the signature of each request.
OF_PROGRAMS = ("approvals/door/", "approvals/endpoints/", "server/agent_door.py")
NO_SESSION = {"user", "session", "COOKIES", "get_signed_cookie"}
SESSIONS = (
    "django.contrib.auth",
    "django.contrib.sessions",
    "allauth",
    "governance.views",
    "audit.views",
    "approvals.views",
)
SIGNATURES = ("approvals.door.authenticate", "imprimatur.formats.httpsig")
# Modules outside the door that may name what checks request signatures, and why.
MAY_CHECK_SIGNATURES = {
    "approvals/submission.py": "reads the signature that the door checked, to keep it in the entry",
    "server/checks.py": "asks at the start whether the door checks signatures, and checks none itself",
}
SIGN_IN = {"login", "perform_login", "force_login", "alogin", "send_login_redirect"}


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(tree(ROOT / module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _begins(name: str, starts: tuple[str, ...]) -> bool:
    return any(name == start or name.startswith(start + ".") for start in starts)


def test_what_answers_programs_knows_no_session() -> None:
    checked = [module for module in modules(*ROOMS) if module.startswith(OF_PROGRAMS)]
    assert len(checked) > 10
    for module in checked:
        assert not [name for name in _imports(module) if _begins(name, SESSIONS)], module
        for node in ast.walk(tree(ROOT / module)):
            if isinstance(node, ast.Attribute) and node.attr in NO_SESSION:
                # The login of an agent's owner is a row about a person, not somebody's session.
                assert ast.unparse(node.value).endswith(("owner", "person")), f"{module}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.lower() not in {"cookie", "http_cookie"}, f"{module}:{node.lineno}"


def test_nothing_else_checks_the_signature_of_a_request() -> None:
    for module in modules(*ROOMS):
        if module.startswith(OF_PROGRAMS) or module in MAY_CHECK_SIGNATURES:
            continue
        found = [name for name in _imports(module) if _begins(name, SIGNATURES)]
        assert not found, f"{module} imports {found}: who signed a request is asked in the door, and nowhere else"


def test_nothing_of_ours_signs_anybody_in() -> None:
    """Sessions are begun by allauth alone, after a password, a passkey or the provider."""
    for module in modules(*ROOMS):
        names = {
            name.rpartition(".")[2] for name in _imports(module) if _begins(name, ("django.contrib.auth", "allauth"))
        }
        assert not names & SIGN_IN, module


def test_the_addresses_without_sessions_are_exactly_those_of_programs() -> None:
    for route in table.pages_and_calls():
        assert route.is_agents == route.address.startswith(OF_AGENTS), route.address
    order = settings.MIDDLEWARE
    assert order.index("server.middleware.NoSessionForAgents") < order.index(
        "django.contrib.sessions.middleware.SessionMiddleware"
    )


@pytest.mark.parametrize(
    "route", [route for route in table.pages_and_calls() if route.is_agents], ids=lambda route: route.address
)
def test_no_session_is_looked_up_where_programs_call(world: World, route: table.Route) -> None:
    session = visitors.session_of(world.ada)
    for method in ("GET", "POST"):
        visit = visitors.signed(method, table.path_of(route), world.keys["robo"]).with_session(session)
        with CaptureQueriesContext(connection) as queries:
            answer = visit.send()
        assert not [query["sql"] for query in queries if "django_session" in query["sql"]], f"{method} {route.address}"
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "route", [route for route in table.pages_and_calls() if not route.is_agents], ids=lambda route: route.address
)
def test_no_key_of_a_program_is_looked_up_where_people_come(
    world: World, route: table.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    from approvals.door import authenticate
    from imprimatur.formats import httpsig

    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("a page asked who signed the request")

    key = world.keys["robo"]
    session = visitors.session_of(world.ada)
    visits = [visitors.signed(method, table.path_of(route), key).with_session(session) for method in ("GET", "POST")]
    monkeypatch.setattr(authenticate, "authenticate", never)
    monkeypatch.setattr(authenticate, "authenticate_service", never)
    monkeypatch.setattr(httpsig, "parse_signature_input", never)
    monkeypatch.setattr(httpsig, "verify_request", never)
    for visit in visits:
        assert visit.send().status < 500 or route.address in {"/readyz", "/accounts/sso/", "/accounts/sso/again/"}
