"""Single sign-on against a provider that runs here: who gets in, who does not, and what groups change."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import clear_url_caches, reverse

import tests.accounts.urls
from audit.log import commit
from audit.models import Checkpoint, Entry, LogHead
from audit.publisher import Publisher
from audit.selectors import payload_of
from governance import changes, logins
from governance.actions import change_person, map_roles
from governance.actors import roles_of
from governance.models import Person
from tests.accounts import provider as providers
from tests.accounts.provider import Provider
from tests.accounts.sessions import set_signed_in
from tests.accounts.test_factors import set_up_app
from tests.conftest import World

ADDRESS = "rui@example.org"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with providers.running() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider, settings: Any, world: World) -> Iterator[Provider]:
    """Rui has an address here, and the provider knows the same one."""
    fresh = Provider(issuer=running.issuer)
    running.__dict__.update({**fresh.__dict__, "key": running.key})
    running.claims = {"sub": "u-1", "email": ADDRESS, "email_verified": True, "groups": ["staff"]}
    User.objects.filter(pk=world.rui.user_id).update(email=ADDRESS)
    settings.OIDC_ISSUER = running.issuer
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = providers.CLIENT, providers.SECRET
    settings.OIDC_NAME = "Example ID"
    importlib.reload(tests.accounts.urls)
    settings.ROOT_URLCONF = "tests.accounts.urls"
    clear_url_caches()
    cache.clear()
    yield running
    clear_url_caches()


def sign_on(provider: Provider, client: Client | None = None, **query: str) -> Any:
    """All the way there and back; the answer of the desk."""
    client = client or Client()
    away = client.get(reverse("openid_connect_login"), query)
    assert away.status_code == 302
    return client.get(provider.agree(away["Location"]))


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def last() -> dict[str, Any]:
    return payload_of(Entry.objects.order_by("-index")[0])


# --- who gets in -------------------------------------------------------------------------------------------------


def test_without_a_provider_there_is_no_button_and_no_address(world: World) -> None:
    assert b"/accounts/sso/" not in Client().get(reverse("account_login")).content
    assert Client().get("/accounts/sso/").status_code == 404
    assert Client().get("/accounts/sso/callback/?code=1&state=2").status_code == 404


def test_a_verified_address_links_once_and_the_subject_counts_from_then_on(provider: Provider, world: World) -> None:
    assert b"Sign in with Example ID" in Client().get(reverse("account_login")).content
    client = Client()
    assert sign_on(provider, client, next="/people/")["Location"] == "/people/"
    assert is_in(client)
    assert client.get(reverse("desk")).status_code == 200
    assert provider.asked[0]["redirect_uri"] == "http://testserver/accounts/sso/callback/"
    assert SocialAccount.objects.get().user == world.rui.user

    provider.claims |= {"email": "renamed@example.org", "email_verified": False}
    again = Client()
    assert sign_on(provider, again)["Location"] == reverse("desk")
    assert again.session["_auth_user_id"] == str(world.rui.user_id)


def test_the_case_of_an_address_does_not_matter(provider: Provider, world: World) -> None:
    provider.claims["email"] = "Rui@Example.ORG"
    assert sign_on(provider)["Location"] == reverse("desk")


def refused(reply: Any, words: str, status: int = 403) -> None:
    assert reply.status_code == status
    assert words in reply.content.decode()
    assert not is_in(reply.client)
    assert not User.objects.exclude(person__isnull=False).exists(), "nobody is made"


@pytest.mark.parametrize("said", [False, "true", "false", None, 1])
def test_an_address_that_is_not_verified_links_nobody(provider: Provider, said: object) -> None:
    provider.claims["email_verified"] = said
    refused(sign_on(provider), "Ask an admin of this desk")
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize(
    "address", ["stranger@example.org", "rui@example.org.evil.org", "r\u00fci@example.org", "", None]
)
def test_somebody_unknown_is_told_whom_to_ask(provider: Provider, address: str | None) -> None:
    provider.claims["email"] = address
    refused(sign_on(provider), "Ask an admin of this desk: they add you first")


def test_letters_that_only_fold_alike_are_not_alike(provider: Provider, world: World) -> None:
    User.objects.filter(pk=world.rui.user_id).update(email="kim@example.org")
    provider.claims["email"] = "\u212aim@example.org"
    refused(sign_on(provider), "Ask an admin of this desk")


def test_two_people_with_one_address_are_nobody(provider: Provider, world: World) -> None:
    User.objects.filter(pk=world.rosa.user_id).update(email=ADDRESS.upper())
    refused(sign_on(provider), "No one person here has the address")
    User.objects.filter(pk=world.rosa.user_id).update(is_active=False)
    assert sign_on(provider)["Location"] == reverse("desk")


def test_a_second_subject_with_the_address_of_somebody_linked_is_refused(provider: Provider) -> None:
    sign_on(provider)
    provider.claims["sub"] = "u-2"
    refused(sign_on(provider), "Another account was linked")


def test_another_issuer_with_the_same_subject_is_somebody_else(provider: Provider, settings: Any) -> None:
    sign_on(provider)
    assert logins.claimed_roles() == []
    settings.OIDC_ISSUER = "https://other.example.org"
    from server import sso

    assert not sso.linked(SocialAccount.objects.get().user)


def test_somebody_switched_off_stays_out(provider: Provider, world: World) -> None:
    sign_on(provider)
    User.objects.filter(pk=world.rui.user_id).update(is_active=False)
    refused(sign_on(provider), "switched off")
    SocialAccount.objects.all().delete()
    refused(sign_on(provider), "Ask an admin of this desk")


def test_a_printed_password_does_not_stand_in_the_way(provider: Provider, world: World) -> None:
    Person.objects.filter(pk=world.rui.pk).update(must_change_password=True)
    client = Client()
    sign_on(provider, client)
    assert client.get(reverse("desk")).status_code == 200
    client.force_login(world.rui.user)
    set_signed_in(client, world.rui)
    assert client.get(reverse("desk"))["Location"] == reverse("account_change_password")


def test_a_second_factor_is_asked_for_here_too(provider: Provider, world: World) -> None:
    set_up_app(world.rui)
    client = Client()
    assert sign_on(provider, client)["Location"] == reverse("mfa_authenticate")
    assert not is_in(client)
    assert Authenticator.objects.count() == 2


# --- what the provider sends -------------------------------------------------------------------------------------

BAD = {
    "another audience": lambda claims: claims.update(aud="another-desk"),
    "no audience": lambda claims: claims.pop("aud"),
    "made for somebody else": lambda claims: claims.update(aud=[providers.CLIENT, "x"], azp="x"),
    "another issuer": lambda claims: claims.update(iss="https://evil.example.org"),
    "no issuer": lambda claims: claims.pop("iss"),
    "expired": lambda claims: claims.update(exp=int(time.time()) - 120),
    "without an end": lambda claims: claims.pop("exp"),
    "from the future": lambda claims: claims.update(iat=int(time.time()) + 600),
    "no subject": lambda claims: claims.pop("sub"),
    "an empty subject": lambda claims: claims.update(sub=""),
    "a subject that is a number": lambda claims: claims.update(sub=7),
}


@pytest.mark.parametrize("how", BAD)
def test_an_id_token_that_does_not_hold_lets_nobody_in(provider: Provider, how: str) -> None:
    provider.spoil = BAD[how]
    refused(sign_on(provider), "Signing in did not work", 401)
    assert not SocialAccount.objects.exists()


def test_a_signature_by_another_key_lets_nobody_in(provider: Provider) -> None:
    provider.signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refused(sign_on(provider), "Signing in did not work", 401)


@pytest.mark.parametrize(("algorithm", "key"), [("none", None), ("HS256", "the public key, say, as a shared secret")])
def test_no_signature_or_a_shared_secret_lets_nobody_in(provider: Provider, algorithm: str, key: str | None) -> None:
    provider.algorithm, provider.signing = algorithm, key
    refused(sign_on(provider), "Signing in did not work", 401)


def test_no_id_token_lets_nobody_in(provider: Provider) -> None:
    provider.without_token = True
    refused(sign_on(provider), "Signing in did not work", 401)


def test_metadata_of_another_issuer_are_not_believed(provider: Provider) -> None:
    away = Client().get(reverse("openid_connect_login"))
    assert away.status_code == 302
    provider.metadata = {"issuer": "https://evil.example.org"}
    refused(sign_on(provider), "does not answer as it should", 503)


def test_an_answer_counts_once_and_only_where_it_was_asked_for(provider: Provider) -> None:
    client = Client()
    back = provider.agree(client.get(reverse("openid_connect_login"))["Location"])
    refused(Client().get(back), "Signing in did not work", 401)
    assert client.get(back)["Location"] == reverse("desk")
    client.logout()
    refused(client.get(back), "Signing in did not work", 401)


def test_a_code_of_another_login_is_refused_by_its_proof_key(provider: Provider) -> None:
    mine, theirs = Client(), Client()
    here = provider.agree(mine.get(reverse("openid_connect_login"))["Location"])
    there = provider.agree(theirs.get(reverse("openid_connect_login"))["Location"])
    stolen = (
        there.split("?")[0] + "?code=" + here.split("code=")[1].split("&")[0] + "&state=" + there.split("state=")[1]
    )
    refused(theirs.get(stolen), "Signing in did not work", 401)


def test_whoever_turns_back_sees_the_login(provider: Provider) -> None:
    client = Client()
    away = provider.agree(client.get(reverse("openid_connect_login"))["Location"])
    state = away.split("state=")[1]
    reply = client.get(reverse("openid_connect_callback"), {"error": "access_denied", "state": state}, follow=True)
    assert "without signing in" in reply.content.decode()


def test_a_provider_that_is_away_is_said(provider: Provider, settings: Any) -> None:
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    importlib.reload(tests.accounts.urls)
    clear_url_caches()
    refused(Client().get("/accounts/sso/"), "does not answer as it should", 503)


@pytest.mark.parametrize(
    "query", ["process=connect", "process=redirect&next=/x", "scope=admin", "auth_params=prompt%3Dnone"]
)
def test_the_address_takes_no_orders(provider: Provider, query: str) -> None:
    assert Client().get(f"{reverse('openid_connect_login')}?{query}").status_code == 404


def test_a_foreign_next_leads_nowhere_else(provider: Provider) -> None:
    assert sign_on(provider, next="https://evil.example.org/")["Location"] == reverse("desk")


# --- a recent proof ----------------------------------------------------------------------------------------------


def test_a_recent_proof_can_come_from_the_provider_if_it_says_when(provider: Provider, world: World) -> None:
    client = Client()
    sign_on(provider, client)
    page = reverse("mfa_add_webauthn")
    assert client.get(page).status_code == 302, "no auth_time, so it may have been an old session there"
    assert b"Sign in again with Example ID" in client.get(reverse("account_reauthenticate")).content

    away = client.get(reverse("sso_again"), {"next": page})
    assert "prompt=login" in away["Location"]
    assert "max_age=0" in away["Location"]
    provider.claims["auth_time"] = int(time.time()) - 3600
    assert client.get(provider.agree(away["Location"]))["Location"] == page
    assert client.get(page).status_code == 302

    provider.claims["auth_time"] = int(time.time())
    away = client.get(reverse("sso_again"), {"next": page})
    assert client.get(provider.agree(away["Location"]))["Location"] == page
    assert client.get(page).status_code == 200
    assert "/accounts/login/" in Client().get(reverse("sso_again"))["Location"]


# --- roles -------------------------------------------------------------------------------------------------------

ROLES = [("staff", "reviewer"), ("watch", "auditor"), ("heads", "admin")]


@pytest.fixture
def mapped(provider: Provider, settings: Any) -> Provider:
    settings.OIDC_ROLES = ROLES
    return provider


@pytest.fixture
def two_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "two_person", lambda: True)
    monkeypatch.setattr(map_roles, "two_person", lambda: True)


def test_groups_that_say_the_same_change_nothing(mapped: Provider, world: World) -> None:
    before = Entry.objects.count()
    sign_on(mapped)
    assert Entry.objects.count() == before


def test_without_a_mapping_groups_mean_nothing(provider: Provider, world: World) -> None:
    provider.claims["groups"] = []
    sign_on(provider)
    assert roles_of(world.rui) == {"reviewer"}


def test_before_two_people_sign_groups_give_and_take(mapped: Provider, world: World) -> None:
    mapped.claims["groups"] = ["watch", "chess"]
    assert sign_on(mapped)["Location"] == reverse("desk")
    assert roles_of(world.rui) == {"auditor"}
    entry = last()
    assert (entry["kind"], entry["actor"]) == ("person.changed", {"type": "service", "id": "sso"})
    assert entry["body"] == {"person": world.rui.id, "roles": ["auditor"], "reason": map_roles.REASON}


@pytest.mark.parametrize("groups", [[], None, "chess", {"staff": 1}, [1, None]])
def test_a_role_that_no_group_names_is_gone_at_once(
    mapped: Provider, world: World, two_people: None, groups: object
) -> None:
    mapped.claims["groups"] = groups
    sign_on(mapped)
    assert roles_of(world.rui) == frozenset()
    assert last()["body"]["roles"] == []


def test_once_two_people_sign_groups_give_nothing_and_admins_are_told(
    mapped: Provider, world: World, two_people: None
) -> None:
    mapped.claims["groups"] = ["staff", "heads"]
    before = Entry.objects.count()
    sign_on(mapped)
    assert roles_of(world.rui) == {"reviewer"}
    assert Entry.objects.count() == before
    assert [(claim.person.id, claim.roles) for claim in logins.claimed_roles()] == [(world.rui.id, ("admin",))]
    ada, audra = Client(), Client()
    ada.force_login(world.ada.user)
    audra.force_login(world.people["audra"].user)
    assert "groups say admin" in ada.get(reverse("people")).content.decode()
    assert "groups say admin" not in audra.get(reverse("people")).content.decode()


def test_taking_goes_on_where_giving_waits(mapped: Provider, world: World, two_people: None) -> None:
    mapped.claims["groups"] = ["heads"]
    sign_on(mapped)
    assert roles_of(world.rui) == frozenset()
    assert [claim.roles for claim in logins.claimed_roles()] == [("admin",)]


def test_roles_outside_the_mapping_are_left_alone(mapped: Provider, world: World, settings: Any) -> None:
    settings.OIDC_ROLES = [("watch", "auditor")]
    mapped.claims["groups"] = ["watch"]
    sign_on(mapped)
    assert roles_of(world.rui) == {"auditor", "reviewer"}


def test_the_last_admin_stays_one(mapped: Provider, world: World, caplog: pytest.LogCaptureFixture) -> None:
    User.objects.filter(pk=world.rui.user_id).update(email="")
    User.objects.filter(pk=world.ada.user_id).update(email=ADDRESS)
    mapped.claims["groups"] = []
    sign_on(mapped)
    assert roles_of(world.ada) == {"admin"}
    assert "last admin" in caplog.text
    commit(change_person.apply, change_person.Command(world.rosa, roles=("admin",), by=world.ada))
    sign_on(mapped)
    assert roles_of(world.ada) == frozenset()


def test_while_nothing_can_be_written_nobody_gets_in_with_a_role_that_should_be_gone(
    mapped: Provider, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.errors import LogError
    from server import sso

    def frozen(*_: object) -> None:
        raise LogError("The log is frozen.")

    monkeypatch.setattr(sso, "commit", frozen)
    mapped.claims["groups"] = []
    refused(sign_on(mapped), "could not be brought in line", 503)
    mapped.claims["groups"] = ["staff"]
    assert sign_on(mapped)["Location"] == reverse("desk")


def test_somebody_switched_off_is_not_changed_by_groups(world: World) -> None:
    from governance.errors import Refused

    User.objects.filter(pk=world.rui.user_id).update(is_active=False)
    command = map_roles.Command(world.rui, frozenset(), frozenset({"reviewer"}))
    with pytest.raises(Refused, match="switched off"):
        commit(map_roles.apply, command)
    with pytest.raises(Refused, match="no role"):
        commit(map_roles.apply, map_roles.Command(world.rui, frozenset({"king"}), frozenset({"king"})))


def test_the_notary_signs_what_groups_did(mapped: Provider, world: World) -> None:
    mapped.claims["groups"] = ["watch"]
    sign_on(mapped)
    mapped.claims["groups"] = []
    sign_on(mapped)
    assert roles_of(world.rui) == frozenset()
    Publisher().publish_once()
    head = LogHead.objects.get()
    assert (head.state, head.frozen_reason) == (LogHead.OPEN, "")
    assert Checkpoint.objects.order_by("-size")[0].size == head.size
