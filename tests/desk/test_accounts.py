"""Signing in, and the one-time password."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from governance.models import Person
from tests.conftest import World

FIRST, OWN = "printed once 4711", "a quiet green lamp"


def sign_in(world: World, client: Client, password: str = FIRST) -> object:
    user = world.rui.user
    user.set_password(FIRST)
    user.save()
    return client.post(reverse("account_login"), {"login": "rui", "password": password})


def test_people_sign_in_by_name(world: World, client: Client) -> None:
    assert b"There is no sign-up" in client.get(reverse("account_login")).content.replace(b"there is", b"There is")
    wrong = sign_in(world, client, "something else")
    assert wrong.status_code == 200
    assert b'role="alert"' in wrong.content
    right = sign_in(world, client)
    assert right["Location"] == reverse("desk")


def test_there_is_no_sign_up() -> None:
    with pytest.raises(NoReverseMatch):
        reverse("account_signup")


def test_a_printed_password_opens_nothing_but_the_choice_of_another(world: World, client: Client) -> None:
    Person.objects.filter(pk=world.rui.pk).update(must_change_password=True)
    sign_in(world, client)
    assert client.get(reverse("desk"))["Location"] == reverse("account_change_password")
    page = client.get(reverse("account_change_password"))
    assert b"Choose a password of your own" in page.content
    typed = {"oldpassword": FIRST, "password1": OWN, "password2": OWN}
    assert client.post(reverse("account_change_password"), typed)["Location"] == reverse("desk")
    assert client.get(reverse("desk")).status_code == 200
