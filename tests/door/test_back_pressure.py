"""New work waits while the log publishes more slowly than it grows; what ends or answers something does not."""

from __future__ import annotations

import pytest

from audit import publisher
from audit.models import Entry
from tests.door.agent import AgentUnderTest


def test_new_work_is_refused_while_too_much_is_unpublished_and_taken_again_afterwards(
    robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = robo.delete().json
    monkeypatch.setattr(publisher, "_looked", (float("-inf"), False))  # and put back what was known, when it is over
    monkeypatch.setattr(publisher, "PAUSE", 0)
    monkeypatch.setattr(publisher, "MOST_UNPUBLISHED", publisher.lag() - 1)
    before = Entry.objects.count()
    refused = robo.read()
    assert (refused.status, refused.code) == (503, "log-behind")
    assert refused.headers["retry-after"]
    assert Entry.objects.count() == before
    assert robo.get(f"/actions/{waiting['id']}").json["state"] == "PENDING"
    assert robo.post(f"/actions/{waiting['id']}/cancel", {}).status == 200
    assert robo.post(f"/delegations/{robo.delegation}/revoke", {"reason": "Done."}).status == 200
    publisher.Publisher().publish_once()
    assert robo.read().code == "delegation-revoked"
