"""What the commands of this room share: finding who and what is meant, and saying refusals as a command should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from django.core.management.base import CommandError

from audit.errors import LogError
from governance.errors import Refused
from governance.models import Agent, Person
from imprimatur.formats.timestamps import parse_time


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal into the one line an operator reads."""
    try:
        yield
    except (Refused, LogError) as error:
        raise CommandError(str(error)) from error


def person_called(login: str) -> Person:
    """The person with this login or id. Raises CommandError."""
    found = Person.objects.select_related("user").filter(user__username=login).first()
    found = found or Person.objects.select_related("user").filter(pk=login).first()
    if found is None:
        raise CommandError(f"There is nobody with the login {login}.")
    return found


def agent_called(name: str) -> Agent:
    """The agent with this name or id. Raises CommandError."""
    found = Agent.objects.filter(name=name).first() or Agent.objects.filter(pk=name).first()
    if found is None:
        raise CommandError(f"There is no agent called {name}.")
    return found


def time_given(text: str | None) -> datetime | None:
    """A time as the log writes it. Raises CommandError."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise CommandError("Write the time as 2026-01-31T09:30:00.000Z.") from None


def text_of(path: str) -> str:
    """The text of a small file, such as a public key. Raises CommandError."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
