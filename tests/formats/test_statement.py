"""A person's statement: closed, canonical, short-lived, and its WebAuthn challenge."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from imprimatur.formats import statement
from imprimatur.formats.canonical import CanonicalError
from imprimatur.formats.shapes import ShapeError
from tests.formats import samples


def test_a_statement_parses_back_from_the_bytes_that_were_signed() -> None:
    said = samples.a_statement(
        constraints={"max_uses": 3}, prev_vote=samples.DIGEST, on_behalf_of="bo", credential="abc"
    )
    assert statement.parse(statement.encode(said)) == said


def test_the_challenge_is_the_hash_of_the_tagged_statement() -> None:
    raw = statement.encode(samples.a_statement())
    assert statement.challenge(raw) == hashlib.sha256(b"imprimatur/decision/v1\0" + raw).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"typ": "imprimatur/decision/v2"},
        {"decision": "approve-on-timeout"},
        {"expires_at": samples.at(130.001)},
        {"expires_at": samples.at(10)},
        {"expires_at": samples.at(0)},
        {"risk": "low"},
        {"request": "7"},
        {"action_digest": "abc"},
        {"nonce": "short"},
        {"prev_vote": None},
        {"comment": "fine"},
    ],
    ids=str,
)
def test_a_statement_outside_its_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ShapeError, CanonicalError)):
        statement.encode(samples.a_statement(**change))


def test_a_statement_in_another_spelling_is_refused() -> None:
    with pytest.raises(CanonicalError):
        statement.parse(statement.encode(samples.a_statement()) + b" ")
