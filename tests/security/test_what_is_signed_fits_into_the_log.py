"""What a person is asked to sign can be written down, and the words that go with it are those it commits to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from approvals import statements
from approvals.actions import cast_vote
from audit.log import commit
from audit.models import Entry
from governance import ceremonies
from governance.errors import Refused
from imprimatur.formats import statement
from imprimatur.formats.shapes import ShapeError
from imprimatur.rules.policy import DEFAULT_POLICY
from tests.approvals.test_grants import overwrite
from tests.approvals.test_signed_grants import Reviewer
from tests.conftest import World
from tests.desk.requests import ask


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


@pytest.fixture
def world(make_world: Callable[..., World], notarised: object) -> World:
    world = make_world(DEFAULT_POLICY)
    world.signing("rui")
    return world


def test_a_grant_that_no_entry_could_hold_is_refused_before_anybody_signs_it(world: World) -> None:
    asked = overwrite(world)
    long = {"op": "one_of", "values": [f"{number:04}" + "x" * 1000 for number in range(32)]}
    reviewer = Reviewer(world)
    before = Entry.objects.count()
    credential = world.key_of("rui").fingerprint
    address = f"/requests/{asked.id}/grant/"
    fields = {**reviewer.fields(asked, parameters={"path": long, "content": long}), "credential": credential}
    offered = reviewer.client.post(f"{address}sign/", fields)
    assert (offered.status_code, offered.json()["code"]) == (422, "invalid")
    assert "16384" in offered.json()["detail"]
    clicked = reviewer.client.post(address, {**fields, "max_uses": "1"})
    assert clicked.status_code == 422
    assert Entry.objects.count() == before


def test_no_statement_is_opened_that_no_entry_could_hold(world: World) -> None:
    draft = statements.draft(ask(world), world.rui, "approve", credential=world.key_of("rui").fingerprint)
    with pytest.raises(ShapeError, match="log holds"):
        ceremonies.open(world.rui, {**draft.document, "constraints": {"a": "x" * 17_000}})


def test_an_answer_without_the_words_that_it_commits_to_counts_for_nothing(world: World) -> None:
    """Else a denial could be read by nobody, for a reason that nobody ever kept."""
    request = ask(world)
    draft = statements.draft(request, world.rui, "approve", reason="fine", credential=world.key_of("rui").fingerprint)
    signed = world.signed("rui", draft.document)
    assert signed.typ == statement.TYP
    command = cast_vote.Command(world.rui.pk, request.pk, "approve", statements.Said(signed, ()))
    with pytest.raises(Refused, match="words"):
        commit(cast_vote.apply, command)
    assert commit(
        cast_vote.apply, cast_vote.Command(world.rui.pk, request.pk, "approve", statements.Said(signed, draft.openings))
    ).request.state in {"APPROVED", "AWAITING_CONFIRMATION"}
