"""A request that no entry could hold is unreadable, not a reason to try again."""

from __future__ import annotations

import pytest

from approvals.models import ActionRequest
from audit.models import Entry
from tests.door.agent import PREFIX, AgentUnderTest, Answer


def submit(robo: AgentUnderTest, query: str) -> Answer:
    path = f"{PREFIX}/actions?{query}"
    raw, committed = robo.submit_body("read_file", {"path": "/project/src/a.py"}, "one")
    headers = robo.headers("POST", path, raw, idempotency_key="one", committed=committed)
    return robo.send("POST", path, headers, raw)


@pytest.mark.parametrize("length", [2048, 6000])
def test_an_address_longer_than_an_entry_holds_is_malformed(robo: AgentUnderTest, length: int) -> None:
    size = Entry.objects.count()
    answer = submit(robo, "x" * length)
    assert (answer.status, answer.code) == (422, "malformed")
    assert "target_uri" in answer.json["detail"]
    assert "retry-after" not in answer.headers
    assert (Entry.objects.count(), ActionRequest.objects.count()) == (size, 0)
    assert submit(robo, "x").status == 200
