"""What a browser sends as the answer of a key is a stranger's bytes: refused in words, never an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from audit.log import utc_now
from governance import ceremonies, enrolment
from governance.errors import Refused
from governance.models import Ceremony
from imprimatur.formats import signing
from imprimatur.formats.encoding import un_b64u
from tests.accounts import sessions
from tests.conftest import World
from tests.formats.soft_authenticator import SoftAuthenticator

Bend = Callable[[dict[str, Any]], Any]

BENT: dict[str, Bend] = {
    "nothing": lambda answer: "",
    "deep": lambda answer: "[" * 100_000,
    "a list": lambda answer: [answer],
    "a number": lambda answer: 7,
    "null": lambda answer: None,
    "another type": lambda answer: {**answer, "type": ["public-key"]},
    "no type": lambda answer: {name: value for name, value in answer.items() if name != "type"},
    "a handle that is a number": lambda answer: {**answer, "response": {**answer["response"], "userHandle": 5}},
    "a handle that is a list": lambda answer: {**answer, "response": {**answer["response"], "userHandle": [1]}},
    "an attachment that is a list": lambda answer: {**answer, "authenticatorAttachment": ["platform"]},
    "another raw id": lambda answer: {**answer, "rawId": "AAAA"},
    "a raw id that is a number": lambda answer: {**answer, "rawId": 5},
    "a raw id that is none": lambda answer: {**answer, "rawId": "é"},
    "extensions that are a list": lambda answer: {**answer, "clientExtensionResults": [1]},
    "transports of numbers": lambda answer: {**answer, "response": {**answer["response"], "transports": [1, {}]}},
    "transports that are text": lambda answer: {**answer, "response": {**answer["response"], "transports": 9}},
    "surrogates": lambda answer: {**answer, "id": "\ud800"},
    "a response that is text": lambda answer: {**answer, "response": "text"},
}


def sent(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


@pytest.mark.parametrize("name", BENT)
def test_a_bent_assertion_is_refused_in_words(world: World, name: str) -> None:
    key = world.signing("ada")
    pending = world.enrolled("rui")
    client = sessions.signed_in(world.ada)
    where = [world.rui.pk]
    offer = client.post(
        reverse("vouch_sign", args=where), {"key": pending.fingerprint, "credential": key.fingerprint}
    ).json()
    response = sent(BENT[name](world.sign("ada", offer)))
    answer = client.post(
        reverse("vouch", args=where),
        {"key": pending.fingerprint, "ceremony": offer["ceremony"], "response": response},
    )
    pending.refresh_from_db()
    assert answer.status_code < 500
    assert answer.status_code == 422 or pending.in_force


@pytest.mark.parametrize("name", BENT)
def test_a_bent_registration_is_refused_in_words(world: World, name: str) -> None:
    client = sessions.signed_in(world.rui)
    begun = client.post(reverse("passkey_begin"), {"label": "phone"}).json()
    made = SoftAuthenticator().register(un_b64u(begun["options"]["challenge"]))
    answer = client.post(
        reverse("passkey_created"), {"ceremony": begun["ceremony"], "response": sent(BENT[name](made))}
    )
    assert answer.status_code < 500, name


def test_one_session_cannot_fill_the_table_of_ceremonies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = world.signing("ada")
    pending = world.enrolled("rui")
    for _ in range(ceremonies.MOST_OPEN):
        ceremonies.open(world.ada, world.voucher(world.ada, pending))
    with pytest.raises(Refused) as refused:
        ceremonies.open(world.ada, world.voucher(world.ada, pending))
    assert refused.value.code == "rate-limited"
    with pytest.raises(Refused):
        enrolment.begin_passkey(world.ada, "another")
    assert Ceremony.objects.filter(person=world.ada, used_at=None).count() == ceremonies.MOST_OPEN

    really = utc_now
    for module in ("audit.log", "governance.ceremonies", "governance.enrolment"):
        monkeypatch.setattr(f"{module}.utc_now", lambda: really() + timedelta(minutes=5))
    signed = world.signed("ada", world.voucher(world.ada, pending))
    assert signed.typ == signing.VOUCH and signed.key == key.fingerprint
