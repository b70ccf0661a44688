from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.cache import cache

from approvals.door import limits, rejections
from approvals.views import terminal
from audit.log import commit
from governance.runtime.actions import register_service
from governance.views import signed, terminal_keys
from imprimatur.formats import attestation
from imprimatur.formats.keys import KeyPair
from tests.conftest import World
from tests.separation.urls import ISSUER

MIDDLEWARE = list(configured.MIDDLEWARE)
TOKEN = "the token of mirrors, which is long enough"


@pytest.fixture(autouse=True)
def whole_server(settings: Any) -> Iterator[None]:
    """All addresses behind all middleware, a token of mirrors, and no count of another test."""
    settings.ROOT_URLCONF = "tests.separation.urls"
    settings.MIDDLEWARE = MIDDLEWARE
    settings.MIRROR_TOKEN = TOKEN
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = ISSUER, "desk"
    for limiter in (limits.addresses, limits.keys, limits.rejected):
        limiter.clear()
    for limit in (terminal.limit, terminal_keys.limit, signed.limit):
        limit.forget()
    rejections.clear()
    cache.clear()  # the counts of those who tried to sign in
    yield


@pytest.fixture
def services(world: World) -> dict[str, KeyPair]:
    """A service in each role, and its key."""
    made = {role: KeyPair.generate() for role in attestation.ROLES}
    for role, key in made.items():
        commit(
            register_service.apply,
            register_service.Command(name=f"the {role}", role=role, public_key=key.public_key, by=world.ada),
        )
    return made
