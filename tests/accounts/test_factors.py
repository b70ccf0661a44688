"""Second factors of the login: set up, asked for, used once, and what changing them ends."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from audit.views.recent import RECENT, recent_login, recently_authenticated
from governance import logins
from governance.models import Person, PersonKey
from tests.accounts.sessions import set_signed_in, signed_in
from tests.conftest import World

PASSWORD = "a quiet green lamp"


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    cache.clear()


@pytest.fixture(autouse=True)
def within_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code must not change between being shown and being typed: for codes, the clock stands still."""
    now = time.time()
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: now))


@pytest.fixture
def rui(world: World) -> Person:
    world.rui.user.set_password(PASSWORD)
    world.rui.user.save()
    return world.rui


def code_of(secret: str, *, off: int = 0) -> str:
    """What an app shows now, or ``off`` periods of half a minute from now."""
    return format_hotp_value(hotp_value(secret, int(totp.time.time()) // 30 + off))


def set_up_app(person: Person) -> str:
    secret = generate_totp_secret()
    TOTP.activate(person.user, secret)
    RecoveryCodes.activate(person.user)
    return secret


def type_password(client: Client, login: str = "rui") -> Any:
    return client.post(reverse("account_login"), {"login": login, "password": PASSWORD})


def is_in(client: Client) -> bool:
    return client.get(reverse("desk")).status_code == 200


def test_somebody_sets_up_an_app_and_signs_in_with_it(rui: Person) -> None:
    client = signed_in(rui)
    page = client.get(reverse("mfa_activate_totp"))
    secret = page.context["form"].secret
    assert secret in page.content.decode()
    assert b'src="data:image/svg+xml;base64,' in page.content
    assert client.post(reverse("mfa_activate_totp"), {"code": "000000"}).status_code == 200
    assert not Authenticator.objects.exists()

    done = client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)})
    assert done["Location"] == reverse("mfa_view_recovery_codes")
    codes = client.get(done["Location"])
    assert codes.content.count(b"<li><code>") == 10
    again = client.get(done["Location"])
    assert again.content.count(b"<li><code>") == 0, "shown once"

    other = Client()
    assert type_password(other)["Location"] == reverse("mfa_authenticate")
    assert not is_in(other)
    cache.clear()  # the app was set up within the same half minute, and no code counts twice
    assert other.post(reverse("mfa_authenticate"), {"code": code_of(secret)})["Location"] == reverse("desk")
    assert is_in(other)


def test_a_wrong_or_old_code_lets_nobody_in(rui: Person) -> None:
    secret = set_up_app(rui)
    client = Client()
    type_password(client)
    for code in ("123", "", code_of(secret, off=-4), code_of(secret, off=4)):
        reply = client.post(reverse("mfa_authenticate"), {"code": code})
        assert reply.status_code == 200
        assert b'role="alert"' in reply.content
    assert not is_in(client)


def test_a_code_of_the_app_counts_once(rui: Person) -> None:
    secret = set_up_app(rui)
    first, second = Client(), Client()
    code = code_of(secret)
    type_password(first)
    type_password(second)
    assert first.post(reverse("mfa_authenticate"), {"code": code}).status_code == 302
    assert second.post(reverse("mfa_authenticate"), {"code": code}).status_code == 200
    assert is_in(first)
    assert not is_in(second)


def test_guessing_codes_is_slowed_down(rui: Person) -> None:
    secret = set_up_app(rui)
    client = Client()
    type_password(client)
    for _ in range(5):
        client.post(reverse("mfa_authenticate"), {"code": "000000"})
    reply = client.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    assert b"Too many attempts" in reply.content
    assert not is_in(client)


def test_guessing_passwords_is_slowed_down(rui: Person) -> None:
    client = Client()
    for _ in range(5):
        client.post(reverse("account_login"), {"login": "rui", "password": "wrong"})
    assert b"Too many attempts" in type_password(client).content
    assert not is_in(client)


def test_a_recovery_code_stands_in_once(rui: Person) -> None:
    set_up_app(rui)
    codes = Authenticator.objects.get(user=rui.user, type="recovery_codes").wrap().get_unused_codes()
    first, second = Client(), Client()
    type_password(first)
    type_password(second)
    assert first.post(reverse("mfa_authenticate"), {"code": codes[0]})["Location"] == reverse("desk")
    assert second.post(reverse("mfa_authenticate"), {"code": codes[0]}).status_code == 200
    assert not is_in(second)
    assert second.post(reverse("mfa_authenticate"), {"code": codes[1]})["Location"] == reverse("desk")


def test_the_second_step_cannot_be_skipped(rui: Person) -> None:
    set_up_app(rui)
    client = Client()
    type_password(client)
    for name in ("desk", "mfa_index", "mfa_view_recovery_codes", "account_change_password", "account_reauthenticate"):
        assert client.get(reverse(name)).status_code == 302, name
    assert Client().get(reverse("mfa_authenticate"))["Location"] == reverse("account_login")


CHANGES = ("mfa_activate_totp", "mfa_generate_recovery_codes", "mfa_add_webauthn")


@pytest.mark.parametrize("name", CHANGES)
def test_changing_factors_asks_again_who_it_is(rui: Person, name: str) -> None:
    client = signed_in(rui, ago=RECENT + 60)
    asked = client.get(reverse(name))
    assert asked["Location"] == f"{reverse('account_reauthenticate')}?next={reverse(name).replace('/', '%2F')}"
    assert b"Is it still you?" in client.get(asked["Location"]).content
    wrong = client.post(asked["Location"], {"password": "wrong", "next": reverse(name)})
    assert wrong.status_code == 200
    assert client.get(reverse(name)).status_code == 302
    right = client.post(asked["Location"], {"password": PASSWORD, "next": reverse(name)})
    assert right["Location"] == reverse(name)
    assert client.get(reverse(name)).status_code == 200


def test_a_code_of_the_app_is_proof_as_well(rui: Person) -> None:
    secret = set_up_app(rui)
    client = signed_in(rui, ago=RECENT + 60)
    where = reverse("mfa_reauthenticate")
    assert b"recovery code" in client.get(where).content
    assert client.post(where, {"code": code_of(secret), "next": reverse("mfa_index")})["Location"] == reverse(
        "mfa_index"
    )
    assert client.get(reverse("mfa_deactivate_totp")).status_code == 200


def test_removing_the_app_needs_a_recent_proof_and_takes_the_codes_along(rui: Person) -> None:
    set_up_app(rui)
    late = signed_in(rui, ago=RECENT + 60)
    assert late.post(reverse("mfa_deactivate_totp")).status_code == 302
    assert Authenticator.objects.count() == 2
    assert signed_in(rui).post(reverse("mfa_deactivate_totp")).status_code == 302
    assert not Authenticator.objects.exists()


def test_adding_or_removing_a_factor_ends_the_other_sessions(
    rui: Person, world: World, django_capture_on_commit_callbacks: Any
) -> None:
    mine, elsewhere, rosas = signed_in(rui), signed_in(rui), signed_in(world.rosa)
    secret = mine.get(reverse("mfa_activate_totp")).context["form"].secret
    with django_capture_on_commit_callbacks(execute=True):
        mine.post(reverse("mfa_activate_totp"), {"code": code_of(secret)})
    assert (is_in(mine), is_in(elsewhere), is_in(rosas)) == (True, False, True)

    elsewhere = signed_in(rui)
    mine.post(reverse("mfa_deactivate_totp"))
    assert (is_in(mine), is_in(elsewhere)) == (True, False)


def test_a_new_password_ends_the_other_sessions(rui: Person) -> None:
    mine, elsewhere = Client(), Client()
    type_password(mine)
    type_password(elsewhere)
    own = "another quiet lamp"
    typed = {"oldpassword": PASSWORD, "password1": own, "password2": own}
    assert mine.post(reverse("account_change_password"), typed).status_code == 302
    assert (is_in(mine), is_in(elsewhere)) == (True, False)


def test_somebody_switched_off_is_told_so_and_stays_out(rui: Person) -> None:
    rui.user.is_active = False
    rui.user.save()
    client = Client()
    reply = type_password(client)
    assert reply.status_code == 403
    assert b"switched off" in reply.content
    assert not is_in(client)


def test_second_factors_can_be_taken_away_from_outside(rui: Person, world: World) -> None:
    set_up_app(rui)
    set_up_app(world.rosa)
    session = signed_in(rui)
    assert logins.forget_second_factors(rui.user) == 2
    assert not Authenticator.objects.filter(user=rui.user).exists()
    assert Authenticator.objects.filter(user=world.rosa.user).count() == 2
    assert not is_in(session)
    client = Client()
    assert type_password(client)["Location"] == reverse("desk")


def test_no_page_shows_what_belongs_to_somebody_else(rui: Person, world: World) -> None:
    set_up_app(world.rosa)
    key = Authenticator.objects.create(user=world.rosa.user, type="webauthn", data={"name": "rosa", "credential": {}})
    client = signed_in(rui)
    for name in ("mfa_edit_webauthn", "mfa_remove_webauthn"):
        assert client.get(reverse(name, args=[key.pk])).status_code == 404
        assert client.post(reverse(name, args=[key.pk]), {"name": "mine"}).status_code == 404
    assert client.get(reverse("mfa_view_recovery_codes")).status_code == 404
    assert b"rosa" not in client.get(reverse("mfa_list_webauthn")).content


# --- the guard for other pages -----------------------------------------------------------------------------------


@recent_login
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


@pytest.mark.parametrize(("ago", "recent"), [(0, True), (RECENT - 5, True), (RECENT + 5, False), (-60, False)])
def test_a_proof_is_recent_for_five_minutes(rui: Person, ago: float, recent: bool) -> None:
    client = signed_in(rui, ago=ago)
    request = RequestFactory().post("/")
    request.user, request.session = rui.user, client.session
    assert recently_authenticated(request) is recent
    assert page(request).status_code == (200 if recent else 403)


def test_a_session_without_a_record_or_of_somebody_else_proves_nothing(rui: Person, world: World) -> None:
    client = Client()
    client.force_login(rui.user)
    request = RequestFactory().post("/")
    request.user, request.session = rui.user, client.session
    assert not recently_authenticated(request)
    set_signed_in(client, world.rosa)
    request.session = client.session
    assert not recently_authenticated(request)


def test_invariant_4_a_login_passkey_is_no_signing_key(rui: Person) -> None:
    Authenticator.objects.create(user=rui.user, type="webauthn", data={"name": "phone", "credential": {}})
    assert not PersonKey.objects.filter(person=rui).exists()
    assert Authenticator._meta.db_table != PersonKey._meta.db_table
    assert not {field.related_model for field in PersonKey._meta.get_fields()} & {Authenticator}
