"""Whoever fails slows down who fails: never an agent whose signature holds, whatever others send in its name."""

from __future__ import annotations

import pytest

from approvals.door import limits
from imprimatur.formats.keys import KeyPair
from tests.door.agent import AgentUnderTest, Answer

NOTHING = "/actions/act_01m7w0pz00nqxqgdnm4bcffzff"


def forge(robo: AgentUnderTest) -> Answer:
    """A request under robo's key id, from robo's address, signed by somebody else."""

    def tampered(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        mine, theirs = stranger.key.thumbprint, robo.key.thumbprint
        return robo.send(method, path, {name: text.replace(mine, theirs) for name, text in headers.items()}, body)

    stranger = AgentUnderTest(tampered, KeyPair.generate(), robo.delegation)
    return stranger.get(NOTHING)


def test_bad_signatures_under_its_key_id_do_not_turn_an_agent_away(
    robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.rejected, "rate", limits.Rate(0.0001, 3))
    assert [forge(robo).code for _ in range(5)] == ["signature"] * 3 + ["rate-limited"] * 2
    assert robo.get(NOTHING).code == "not-found"
    assert robo.read().status == 200
    assert forge(robo).status == 429


def test_what_is_not_verified_is_bounded_by_address_before_anything_is_read(
    robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(limits.addresses, "rate", limits.Rate(0.0001, 3))
    from approvals.door import authenticate

    key_of = authenticate.access.key_of
    monkeypatch.setattr(authenticate.access, "key_of", lambda name: read.append(name) or key_of(name))
    assert [forge(robo).code for _ in range(5)] == ["signature"] * 3 + ["rate-limited"] * 2
    assert read == [robo.key.thumbprint] * 3
