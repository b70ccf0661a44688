"""A login passkey counts only on the top-level pages of this desk, to the letter of its origin."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from imprimatur.formats.encoding import b64u
from server.passkeys import must_come_from_here
from tests.accounts.sessions import signed_in
from tests.conftest import World

HERE = {"type": "webauthn.get", "challenge": "x", "origin": "https://desk.example.org", "crossOrigin": False}


def made_by(**said: Any) -> dict[str, Any]:
    return {"response": {"clientDataJSON": b64u(json.dumps({**HERE, **said}).encode())}}


@pytest.fixture(autouse=True)
def one_origin(settings: Any) -> None:
    settings.ORIGINS = ["https://desk.example.org"]


def test_our_own_page_is_fine() -> None:
    must_come_from_here(made_by())


@pytest.mark.parametrize(
    "said",
    [
        {"origin": "https://evil.desk.example.org"},
        {"origin": "https://desk.example.org:8443"},
        {"origin": "http://desk.example.org"},
        {"origin": "https://DESK.example.org"},
        {"origin": None},
        {"crossOrigin": True},
        {"topOrigin": "https://evil.example.org"},
    ],
)
def test_another_page_is_not(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="did not match"):
        must_come_from_here(made_by(**said))


@pytest.mark.parametrize("credential", [{}, [], "x", None, 7, {"response": []}, {"response": {"clientDataJSON": "!"}}])
def test_what_is_no_credential_is_refused(credential: object) -> None:
    with pytest.raises(ValidationError, match="did not match"):
        must_come_from_here(credential)


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", "null", '{"response": {}}', "not JSON"])
@pytest.mark.parametrize("name", ["mfa_add_webauthn", "mfa_login_webauthn", "mfa_reauthenticate_webauthn"])
def test_nonsense_is_an_answer_and_no_failure(world: World, settings: Any, name: str, text: str) -> None:
    settings.ORIGINS = ["http://testserver"]
    client = signed_in(world.rui)
    if name == "mfa_login_webauthn":
        client.logout()
    assert client.post(reverse(name), {"credential": text}).status_code in {200, 302}
