from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Entry
from audit.selectors import payload_of
from governance.views import signed
from tests.accounts import sessions
from tests.conftest import World

PASSWORD = "correct horse battery staple"
"""Ada's, where a page asks for it again."""


class Desk:
    """Browsers of the cast who have just signed in, and what the log got from them. CSRF is checked as in production."""

    def __init__(self, world: World) -> None:
        self.world = world

    def browser(self, login: str, **options: Any) -> Client:
        client = Client(**options)
        if login != "nobody":
            client.force_login(self.world.people[login].user)
            sessions.set_signed_in(client, self.world.people[login])
        return client

    def get(self, login: str, name: str, *args: Any, query: dict[str, str] | None = None) -> Any:
        return self.browser(login).get(reverse(name, args=args), query or {})

    def post(self, login: str, name: str, *args: Any, data: dict[str, Any] | None = None) -> Any:
        return self.browser(login).post(reverse(name, args=args), data or {})

    @property
    def last(self) -> dict[str, Any]:
        """The newest entry of the log, parsed."""
        return payload_of(Entry.objects.order_by("-index")[0])

    @property
    def size(self) -> int:
        return Entry.objects.count()


@pytest.fixture
def desk(world: World) -> Desk:
    signed.limit.forget()
    world.ada.user.set_password(PASSWORD)
    world.ada.user.save()
    return Desk(world)


@pytest.fixture
def published(world: World) -> Callable[[], int]:
    """Publish what is committed so far, as the publisher's thread does."""
    from audit.publisher import Publisher

    return lambda: Publisher().publish_once()
