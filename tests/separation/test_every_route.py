"""No credential of a program opens anything of people's, and no session opens anything of programs'.

The addresses come from the running configuration, and who may call which from the table in ``docs/routes.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from audit.models import Entry
from audit.selectors import payload_of
from imprimatur.formats.keys import KeyPair
from tests.accounts import sessions
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Answer, through_asgi
from tests.pages.test_permissions import TABLE as PAGES
from tests.separation import table, visitors
from tests.separation.conftest import TOKEN
from tests.separation.table import Route

CAST = {"ada": "admin", "rui": "reviewer", "audra": "auditor"}
HOW = """\
Every address has a row in docs/routes.md, and every row an address. Say there who may call it, and how they show who
they are; what may stand in a row is said above the tables. A page also needs a row in tests/pages/test_permissions.py.
"""


@pytest.fixture
def place(world: World) -> Callable[[Route], str]:
    """An address with things in it that exist."""
    assert world.delegation is not None
    there = {
        "agent_id": world.robo.id,
        "thumbprint": world.keys["robo"].thumbprint,
        "delegation_id": world.delegation.id,
        "person_id": world.rui.id,
    }
    return lambda route: table.path_of(route, **there)


def _is_login(answer: Answer) -> bool:
    return answer.status == 302 and answer.headers["location"].startswith("/accounts/login/")


def _answers(world: World, path: str, method: str) -> bool:
    """Whether this address knows this method, for an admin or for anybody."""
    nobody = visitors.plain(method, path, form=True).send()
    if nobody.status == 405:
        return False
    admin = visitors.plain(method, path, form=True).with_session(visitors.session_of(world.ada)).send()
    return admin.status != 405


def test_every_address_and_method_has_a_row_and_every_row_an_address(world: World, place: Any) -> None:
    answered = {
        (route.address, method)
        for route in table.pages_and_calls()
        for method in table.METHODS
        if _answers(world, place(route), method)
    }
    answered |= {(route.address, table.SOCKET) for route in table.routes() if route.name == table.SOCKET}
    missing, left = answered - set(table.table()), set(table.table()) - answered
    rows = [f"| `{address}` | {method} | … | … |" for address, method in sorted(missing)]
    assert not rows, f"{HOW}\nWithout a row:\n" + "\n".join(rows)
    assert not left, f"{HOW}\nRows without an address that answers: {sorted(left)}"


def test_the_hot_calls_are_those_that_the_table_has_for_agents() -> None:
    assert len(table.hot_calls()) == 5
    for address, method in table.hot_calls():
        assert table.table()[address, method] == table.Row(frozenset({table.AGENT}), table.REQUEST_SIGNATURE), HOW


def test_the_table_of_pages_says_the_same() -> None:
    by_name = {route.name: route for route in table.pages_and_calls()}
    for name, (_, readers, senders) in PAGES.items():
        for method, allowed in (("GET", readers), ("POST", senders)):
            row = table.table().get((by_name[name].address, method))
            said = None if row is None else row.who
            everybody = frozenset({table.PERSON})
            wanted = allowed and (everybody if "mallory" in allowed else frozenset(CAST[who] for who in allowed))
            assert said == wanted, f"{name} {method}: docs/routes.md and tests/pages/test_permissions.py disagree"


@pytest.mark.parametrize("route", table.pages_and_calls(), ids=lambda route: route.address)
def test_invariant_4_an_agents_key_gets_nothing_that_is_not_the_agents(world: World, place: Any, route: Route) -> None:
    path, key = place(route), world.keys["robo"]
    entries = Entry.objects.count()
    for method in table.METHODS:
        row = table.row_for(route, method)
        if row is not None and table.AGENT in row.who:
            continue
        nobody = [visitors.plain(method, path, form=form).send() for form in (False, True)[: 1 + (method == "POST")]]
        for label, visit in visitors.disguises(method, path, key, world.robo.id).items():
            answer = visit.send()
            told = f"{method} {path} with {label}: {answer.status}"
            if row is None:
                assert answer.status in {401, 403, 404, 405} or _is_login(answer), told
            elif not row.who & {table.ANYBODY, table.SIGNER, table.NEWCOMER, table.INVITED}:
                assert answer.status in {401, 403} or _is_login(answer), told
            elif table.ANYBODY not in row.who:
                assert answer.status in {400, 401, 403, 415, 422}, told
            # It is exactly what somebody gets who shows nothing at all. Only a call of agents may tell it why not.
            if label != "a form" and not route.is_agents:
                assert any(visitors.same(answer, other) for other in nobody), told
            if _is_login(answer):
                assert answer.raw == b"", told
    # allauth keeps what nobody sent, to ask for it again: in a session of nobody.
    assert not any("_auth_user_id" in session.get_decoded() for session in Session.objects.all())
    assert Entry.objects.count() == entries


@pytest.mark.parametrize("route", table.pages_and_calls(), ids=lambda route: route.address)
def test_a_services_key_gets_nothing_but_the_calls_of_its_role(
    world: World, services: dict[str, KeyPair], place: Any, route: Route
) -> None:
    path = place(route)
    entries = Entry.objects.count()
    for method in ("GET", "POST"):
        row = table.row_for(route, method)
        if row is None:
            continue
        nobody = visitors.plain(method, path).send()
        for role, key in services.items():
            answer = visitors.signed(method, path, key).send()
            told = f"{method} {path} as {role}: {answer.status} {answer.raw[:200]!r}"
            if role in row.who:
                assert answer.status not in {401, 405} and (answer.status != 403 or answer.code != "not-allowed"), told
            elif row.who & table.SERVICES:
                assert (answer.status, answer.code) == (403, "not-allowed"), told
            elif row.proof == table.REQUEST_SIGNATURE:
                assert answer.status in {401, 403, 422} and answer.code in {"key-unknown", "malformed"}, told
            else:
                assert visitors.same(answer, nobody), told
    assert not any("_auth_user_id" in session.get_decoded() for session in Session.objects.all())
    assert Entry.objects.count() == entries


@pytest.mark.parametrize(
    "route", [route for route in table.pages_and_calls() if route.is_agents], ids=lambda route: route.address
)
def test_invariant_4_no_session_opens_a_call_of_agents(world: World, place: Any, route: Route) -> None:
    path = place(route)
    entries = Entry.objects.count()
    for login in (*CAST, "mallory"):
        session = visitors.session_of(world.people[login])
        for method in table.METHODS:
            row = table.row_for(route, method)
            alone = visitors.plain(method, path).send()
            answer = visitors.plain(method, path).with_session(session).send()
            told = f"{method} {path} as {login}: {answer.status}"
            assert visitors.same(answer, alone), told
            if row is None:
                assert answer.status in {401, 404, 405}, told
            elif table.ANYBODY not in row.who:
                assert answer.status == 401, told
                assert answer.json["code"] == "signature", told
    assert Entry.objects.count() == entries


@pytest.mark.parametrize("route", table.pages_and_calls(), ids=lambda route: route.address)
def test_invariant_4_session_and_signature_together_give_no_more_than_each_alone(
    world: World, place: Any, route: Route
) -> None:
    path, key = place(route), world.keys["robo"]
    session = visitors.session_of(world.ada)
    for method in ("GET", "POST"):
        row = table.row_for(route, method)
        if row is None or path.startswith("/accounts/logout"):
            continue
        program = visitors.signed(method, path, key).send()
        person = visitors.plain(method, path).with_session(session).send()
        both = visitors.signed(method, path, key).with_session(session).send()
        told = f"{method} {path}: {both.status}, the agent {program.status}, the person {person.status}"
        expected = program if route.is_agents else person
        assert both.status == expected.status, told
        if both.status >= 400 and table.AGENT in row.who:
            assert both.json["code"] == expected.json["code"], told
        assert not route.is_agents or "set-cookie" not in both.headers, told


def test_the_actor_of_an_agents_call_is_the_agent_whatever_cookie_comes_with_it(world: World) -> None:
    assert world.delegation is not None
    session = visitors.session_of(world.ada)

    def with_cookie(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        return through_asgi(method, path, {**headers, "Cookie": f"imprimatur_session={session}"}, body)

    agent = AgentUnderTest(with_cookie, world.keys["robo"], world.delegation.id)
    asked = agent.submit("delete_file", {"path": "/project/src/a.py"})
    assert asked.status == 202
    said = agent.post(f"/actions/{asked.json['id']}/comments", {"text": "please"})
    assert said.status == 201
    said_of_it = [payload_of(entry) for entry in Entry.objects.filter(kind__in=["action.requested", "comment.added"])]
    assert len(said_of_it) == 2
    for payload in said_of_it:
        assert (payload["actor"]["type"], payload["actor"]["id"]) == ("agent", world.robo.id)


@pytest.mark.parametrize("login", [*CAST, "mallory"])
def test_every_page_answers_the_roles_of_its_row_and_no_other(world: World, place: Any, login: str) -> None:
    held = {CAST[login]} if login in CAST else set()
    for route in table.pages_and_calls():
        for method in table.METHODS:
            row = table.row_for(route, method)
            if row is None or not row.who & (table.ROLES | {table.PERSON}):
                continue
            client = sessions.signed_in(world.people[login])
            answer = client.generic(method, place(route))
            told = f"{method} {route.address} as {login}: {answer.status_code}. {HOW}"
            if table.PERSON in row.who or held & row.who:
                assert answer.status_code not in {401, 403, 405}, told
                assert not answer.get("Location", "").startswith("/accounts/login/"), told
            else:
                assert answer.status_code == 403, told


def test_the_token_of_mirrors_opens_the_files_of_the_log_and_nothing_else(world: World, place: Any) -> None:
    for route in table.pages_and_calls():
        row = table.row_for(route, "GET")
        if row is None or table.ANYBODY in row.who:
            continue
        visit = visitors.plain("GET", place(route))
        visit.headers["Authorization"] = f"Bearer {TOKEN}"
        answer = visit.send()
        if table.MIRROR in row.who:
            assert answer.status in {200, 404}
        else:
            assert answer.status in {401, 403} or _is_login(answer), f"{route.address}: {answer.status}"


@pytest.mark.parametrize(
    "address",
    [address for (address, _), row in table.table().items() if row.proof == table.SESSION_AND_KEY],
)
def test_a_session_alone_does_nothing_where_the_persons_own_key_is_asked_for(
    world: World, place: Any, address: str
) -> None:
    route = next(route for route in table.pages_and_calls() if route.address == address)
    for login in CAST:
        entries = Entry.objects.count()
        client: Client = sessions.signed_in(world.people[login])
        answer = client.post(place(route), {"reason": "because", "ceremony": "cer_00000000000000000000000000"})
        assert answer.status_code >= 400, f"{address} as {login}: {answer.status_code}"
        assert Entry.objects.count() == entries
