from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from audit import signer
from audit.models import Entry
from governance import begin
from governance.errors import Refused
from imprimatur.formats import dsse, entries
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.verify.history import History
from tests import templates
from tests.governance.cast import REALM, Cast


def build_cast() -> Cast:
    """Begin an installation and bring in the cast. Needs an empty database."""
    begun = begin.begin_installation(
        [begin.Newcomer("ada", ("admin",))], REALM, DEMO_POLICY, list(DEFAULT_TOOLS.values())
    )
    found = Cast({"ada": begun.people[0]})
    for name, roles in {"rui": ("reviewer",), "rosa": ("reviewer",), "audra": ("auditor",), "mallory": ()}.items():
        found.person(name, *roles)
    found.ssh_key("ada")
    found.agent("robo")
    found.agent("helper")
    return found


def _again(cast: Cast) -> Cast:
    people, agents = copy.deepcopy((cast.people, cast.agents))
    return Cast(people, agents, dict(cast.keys), dict(cast.ssh))


@pytest.fixture
def bare_cast(db) -> Cast:
    """Ada has begun the installation, added the others, and enrolled robo and helper, who hold nothing yet."""
    return templates.begun("cast", build_cast, _again)


@pytest.fixture
def cast(bare_cast: Cast) -> Iterator[Cast]:
    """The same, and after the test the whole log goes through the verifier's own rules: an auditor accepts it all."""
    yield bare_cast
    history = History(REALM, [signer.decision_key().public_key])
    for row in Entry.objects.order_by("index"):
        history.feed(row.index, bytes(row.envelope))


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """``with refused("out-of-scope"):`` expects a refusal with exactly that code."""

    @contextmanager
    def expect(code: str) -> Iterator[None]:
        with pytest.raises(Refused) as caught:
            yield
        assert caught.value.code == code, caught.value.message

    return expect


@pytest.fixture
def kinds(db) -> Callable[[], list[str]]:
    """The kinds of all entries so far, oldest first."""
    return lambda: list(Entry.objects.order_by("index").values_list("kind", flat=True))


@pytest.fixture
def bodies(db) -> Callable[[str], list[dict]]:
    """The bodies of all entries of one kind, oldest first."""

    def read(kind: str) -> list[dict]:
        rows = Entry.objects.filter(kind=kind).order_by("index")
        return [entries.parse(dsse.open_envelope(bytes(row.envelope)).payload)["body"] for row in rows]

    return read
