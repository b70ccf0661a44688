"""What every answer carries, and what a printed password opens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from approvals import queue
from governance.models import Person
from server.middleware import CONTENT_SECURITY_POLICY
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


def assert_guarded(reply) -> None:  # type: ignore[no-untyped-def]  # Django's test response is made at run time
    assert reply["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["X-Frame-Options"] == "DENY"
    assert reply["Referrer-Policy"] == "same-origin"
    assert reply["Cross-Origin-Resource-Policy"] == "same-origin"
    assert reply["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "publickey-credentials-get=()" in reply["Permissions-Policy"]
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
        if address in {choice, "/accounts/logout/"}:
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
