"""What every answer carries, and what a printed password opens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from approvals import queue
from audit.views import check
from governance.models import Person
from server.middleware import CONTENT_SECURITY_POLICY, OF_AGENTS
from tests.accounts.sessions import signed_in
from tests.conftest import World

SAMPLES = {"int": "1", "str": "x", "slug": "x", "uuid": "00000000-0000-0000-0000-000000000000", "path": "x/y"}


def addresses(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    """Every address of the URL configuration, with something in place of each parameter."""
    for pattern in patterns:
        route = pattern.pattern
        assert isinstance(route, RoutePattern), f"write {route} as path(), so that this test sees it"
        address = before + str(route)
        for name, converter in route.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower().replace("string", "str")
            for spelled in (f"<{kind}:{name}>", f"<{name}>"):
                address = address.replace(spelled, SAMPLES[kind])
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, address)
        else:
            yield address


ADDRESSES = sorted(set(addresses(get_resolver("server.urls").url_patterns)))


@pytest.fixture(autouse=True)
def own_host(settings) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()  # how often anybody of before tried to sign in


NO_WEBAUTHN = "publickey-credentials-get=(), publickey-credentials-create=()"
ASSERT = "publickey-credentials-get=(self), publickey-credentials-create=()"
CREATE = "publickey-credentials-get=(self), publickey-credentials-create=(self)"
# The only pages on which a browser lets a script ask for a passkey. Everywhere else it refuses, whatever runs there.
WEBAUTHN = {
    "account_login": ASSERT,
    "mfa_authenticate": ASSERT,
    "mfa_reauthenticate_webauthn": ASSERT,
    "mfa_add_webauthn": CREATE,
    "sheet": ASSERT,
    "grant": ASSERT,
    "keys": CREATE,
    "vouch": ASSERT,
    "delegation_new": ASSERT,
    "delegation_sign": ASSERT,
    "policy_activate": ASSERT,
    "tool_register": ASSERT,
    "person_add": ASSERT,
    "person_change": ASSERT,
    "person_on": ASSERT,
    "change_propose": ASSERT,
    "change_propose_sign": ASSERT,
    "change_second": ASSERT,
    "change_second_sign": ASSERT,
    "agent_suspend": ASSERT,
    "agent_key_revoke": ASSERT,
    "delegation_revoke": ASSERT,
    "key_revoke": ASSERT,
    "pauses": ASSERT,
    "pause_lift": ASSERT,
    "grant-revoke": ASSERT,
}
MARKS = {"": NO_WEBAUTHN, "get": ASSERT, "get create": CREATE}


def views(patterns: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns)
        else:
            yield pattern


def assert_guarded(reply) -> None:  # type: ignore[no-untyped-def]  # Django's test response is made at run time
    found = reply.wsgi_request.resolver_match
    stricter = reply.status_code == 200 and found is not None and found.url_name == "check"
    assert reply["Content-Security-Policy"] == (check.POLICY if stricter else CONTENT_SECURITY_POLICY)
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["X-Frame-Options"] == "DENY"
    assert reply["Referrer-Policy"] == "same-origin"
    assert reply["Cross-Origin-Resource-Policy"] == "same-origin"
    assert reply["Cross-Origin-Opener-Policy"] == "same-origin"
    match = reply.wsgi_request.resolver_match
    allowed = {NO_WEBAUTHN, MARKS[getattr(match.func, "webauthn", "") if match else ""]}
    assert reply["Permissions-Policy"].removesuffix(", camera=(), microphone=(), geolocation=()") in allowed
    assert "access-control-allow-origin" not in reply


def test_there_are_as_many_addresses_as_we_think() -> None:
    assert len(ADDRESSES) > 50
    assert not [address for address in ADDRESSES if "<" in address]


@pytest.mark.parametrize("who", ["nobody", "ada", "rui", "audra", "mallory"])
def test_every_address_answers_everybody_with_the_same_strict_headers(world: World, who: str) -> None:
    client = Client(raise_request_exception=False)
    if who != "nobody":
        client.force_login(world.people[who].user)
    for address in ADDRESSES:
        if "logout" in address:
            continue
        for method in (client.get, client.post):
            reply = method(address)
            assert reply.status_code < 500 or reply.status_code == 503, address
            assert_guarded(reply)


def test_only_the_listed_pages_may_ask_for_a_passkey(world: World) -> None:
    every = views(get_resolver("server.urls").url_patterns)
    marked = {pattern.name: MARKS[mark] for pattern in every if (mark := getattr(pattern.callback, "webauthn", ""))}
    assert marked == WEBAUTHN
    assert Client().get("/accounts/login/")["Permissions-Policy"].startswith(ASSERT)
    assert signed_in(world.rui).get("/accounts/factors/passkeys/add/")["Permissions-Policy"].startswith(CREATE)


def test_pages_that_are_not_there_and_pages_that_break_carry_them_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(raise_request_exception=False)
    missing = client.get("/no/such/page/")
    assert missing.status_code == 404
    assert_guarded(missing)
    foreign = client.get("/", headers={"Host": "evil.example"})
    assert foreign.status_code == 400
    assert foreign["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    forged = Client(enforce_csrf_checks=True).post("/accounts/login/", {"login": "ada"})
    assert forged.status_code == 403
    assert_guarded(forged)

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(queue, "pending", break_down)
    client.force_login(world.rui.user)
    broken = client.get("/")
    assert broken.status_code == 500
    assert_guarded(broken)
    assert b"a secret detail" not in broken.content


@pytest.mark.parametrize("error", [OperationalError("database is locked"), InterfaceError("connection already closed")])
def test_a_silent_database_is_a_503_in_words(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def silent(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(queue, "pending", silent)
    client = Client(raise_request_exception=False)
    client.force_login(world.rui.user)
    reply = client.get("/")
    assert reply.status_code == 503
    assert int(reply["Retry-After"]) > 0
    assert "The database does not answer right now" in reply.content.decode()
    assert str(error) not in reply.content.decode()
    assert_guarded(reply)


def test_a_printed_password_opens_nothing_but_the_choice_of_ones_own(world: World) -> None:
    Person.objects.filter(pk=world.ada.pk).update(must_change_password=True)
    client = Client()
    client.force_login(world.ada.user)
    choice = "/accounts/password/change/"
    for address in ADDRESSES:
        # Where programs call there is no session, so nobody's password matters.
        if address in {choice, "/accounts/logout/"} or address.startswith(OF_AGENTS):
            continue
        for method in (client.get, client.post):
            reply = method(address)
            assert (reply.status_code, reply.headers.get("Location")) == (302, choice), address
    assert client.get(choice).status_code == 200
    # A spelling that is not the address itself is no way around.
    for trick in ("/static/../people/", "//people/", "/accounts/password/change/../../../people/"):
        assert client.get(trick).status_code in {302, 404}
    assert client.get("/accounts/logout/").status_code in {200, 302}


def test_signing_in_leaves_no_message_on_the_desk(world: World) -> None:
    world.rui.user.set_password("a quiet green lamp")
    world.rui.user.save()
    client = Client()
    page = client.post("/accounts/login/", {"login": "rui", "password": "a quiet green lamp"}, follow=True)
    assert page.redirect_chain
    assert "signed in as" not in page.content.decode()
    assert 'class="messages"' not in page.content.decode()


def test_the_page_that_checks_may_do_nothing_that_others_may_not() -> None:
    usual = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    stricter = dict(part.split(" ", 1) for part in check.POLICY.split("; "))
    assert all(value in ("'none'", usual[name]) for name, value in stricter.items())
    assert stricter["default-src"] == stricter["connect-src"] == stricter["form-action"] == "'none'"
