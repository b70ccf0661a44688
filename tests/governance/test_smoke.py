from __future__ import annotations

from audit import log
from governance import judgement


def test_smoke(cast, kinds):
    root = cast.delegate("ada", "robo", spend={"unit": "USD", "limit": "150.00"})
    child = cast.delegate("robo", "helper", root, scope=["file:read:/project/src"])
    found = judgement.judge(agent=cast.agents["helper"], delegation_id=child.id, tool="read_file", parameters={"path": "/project/src/a"},
        claimed_effects=None, claimed_cost=None, claimed_risk=None, context={}, now=log.utc_now())
    print(found)
    assert found.outcome == "approve"
    print(kinds())
