"""An agent passes a part of its authority on: signed by its own key, and never more than it has."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

import imprimatur as ip
from imprimatur.formats import canonical, delegation
from imprimatur.formats.ids import agent_id
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import narrowing
from imprimatur.testing import ORIGIN, REALM, FakeGate

SUB = agent_id(KeyPair.from_seed(b"s" * 32).public_key)
KEY = KeyPair.from_seed(b"k" * 32)


def parent_document() -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "typ": delegation.TYP,
        "realm": REALM,
        "issuer": "pe_01m7vzr4mecxrdqmb9a32t36ag",
        "subject": agent_id(KEY.public_key),
        "scope": ["file:write:/project"],
        "spend": {"unit": "USD", "limit": "150.00"},
        # Its beginning may lie a little ahead by this clock; a child has to begin no earlier.
        "not_before": format_time(now + timedelta(seconds=2)),
        "not_after": format_time(now + timedelta(hours=2)),
        "max_depth": 1,
        "on_behalf_of": "pe_01m7vzr4mecxrdqmb9a32t36ah",
        "nonce": "n" * 22,
    }


class Desk:
    """Knows one delegation and takes another."""

    def __init__(self) -> None:
        self.parent = parent_document()
        self.taken: list[dict[str, Any]] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(200, json={"id": "x", "document": self.parent})
        found = canonical.loads(request.read())
        if "document" in found:
            self.taken.append(found)
            if narrowing.problems(self.parent, found["document"]):
                return httpx2.Response(403, json={"code": "out-of-scope", "detail": "That is more than you have."})
        return httpx2.Response(201, json={"id": "x"})


@pytest.fixture(params=["sync", "async"])
def pass_on(request: pytest.FixtureRequest) -> Any:
    desk = Desk()
    above = delegation.delegation_id(desk.parent)
    given = (ORIGIN, KEY, above, FakeGate().config.trust)

    def call(*args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            with ip.Imprimatur(*given, transport=httpx2.MockTransport(desk.handle)) as gate:
                return gate.delegations.pass_on(*args, **kwargs)

        async def story() -> Any:
            async with ip.AsyncImprimatur(*given, transport=httpx2.MockTransport(desk.handle)) as gate:
                return await gate.delegations.pass_on(*args, **kwargs)

        return asyncio.run(story())

    return call, desk, above


def test_a_part_is_signed_by_the_agent_and_within_its_parent(pass_on: Any) -> None:
    call, desk, above = pass_on
    made = call(SUB, ["file:write:/project/src"], expires=timedelta(minutes=30), spend={"unit": "USD", "limit": "5.00"})
    (sent,) = desk.taken
    document = sent["document"]
    assert delegation.verify_agent_signature(document, sent["signature"], KEY.public_key)
    assert (document["parent"], document["subject"], document["max_depth"]) == (above, SUB, 0)
    assert document["on_behalf_of"] == desk.parent["on_behalf_of"]
    assert made["id"] == delegation.delegation_id(document)


def test_invariant_5_more_than_one_has_is_refused(pass_on: Any) -> None:
    call, _, _ = pass_on
    with pytest.raises(ip.NotAllowedError, match="more than you have"):
        call(SUB, ["file:write:/"], expires=timedelta(minutes=30))


def test_a_part_that_cannot_be_written_is_not_signed(pass_on: Any) -> None:
    call, desk, _ = pass_on
    with pytest.raises(ip.ConfigError):
        call("robo", ["file:write:/project/src"], expires=timedelta(minutes=30))
    with pytest.raises(ip.ConfigError):
        call(SUB, ["file:write:/project/src"], expires=timedelta(minutes=-30))
    assert desk.taken == []
