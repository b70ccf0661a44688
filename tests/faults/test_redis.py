"""Redis carries hints and jobs, never authority: without it everything is decided as ever, and mail comes later."""

from __future__ import annotations

import os
import signal

import pytest
import redis

from server.embedded.redis import url_of
from tests.faults.group import Robo, Visitor, again, children, kill, ready, rows, stopped
from tests.faults.line import open_line
from tests.faults.postbox import Postbox
from tests.installation import Installation, eventually
from tests.server.test_embedded_redis import answers

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(400)
def test_invariant_2_without_redis_agents_are_answered_and_people_decide(
    desk: Installation, robo: Robo, visit: type[Visitor], postbox: Postbox
) -> None:
    rui, audra = visit(desk, "rui"), visit(desk, "audra")
    with stopped(desk.process.pid):  # the supervisor stands still, so Redis stays away
        before = kill(desk, "redis")
        with open_line(desk, rui) as line, robo.gate() as gate:
            assert gate.submit("read_file", {"path": "/project/src/cart.js"}).verdict == "allow"
            asked = gate.submit("delete_file", {"path": "/project/reports/without-redis.csv"}, ttl=600)
            assert asked.pending
            line.hears(asked.id)

            for page in ("/", f"/requests/{asked.id}/", "/agents/", "/log/"):
                assert rui.get(page).status_code == 200, page
            evidence = audra.get("/evidence/")
            assert evidence.status_code == 200
            assert "Redis does not answer" in evidence.text
            assert desk.get("/readyz")[0] == 200
            assert desk.get("/metrics")[0] == 200

            assert rui.answer(asked.id, "approve").status_code == 200
            allowed = gate.wait(asked, 60)
            assert allowed.verdict == "allow"
            assert gate.redeem(allowed).redeemed
            assert gate.outcome(allowed, "SUCCEEDED")["state"] == "SUCCEEDED"
            line.hears(asked.id)
        assert rows(desk, "select count(*) from audit_outbox where topic = 'approvals.mail' and done_at is null")[0][0]
        assert not postbox.about(asked.id)
        another = robo.gate().submit("delete_file", {"path": "/project/reports/mail-comes-later.csv"}, ttl=900)

    again(desk, "redis", before)
    # The mail about what is still open arrives once Redis is back; nobody is asked about what is over.
    # Every attempt that failed meanwhile makes the pause before the next longer: 5 s, 20 s, 80 s.
    eventually(lambda: postbox.about(another.id), seconds=150)
    assert not postbox.about(asked.id)
    robo.gate().cancel(another)


def test_a_redis_that_hangs_holds_nobody_up(desk: Installation, robo: Robo, visit: type[Visitor]) -> None:
    rui, audra = visit(desk, "rui"), visit(desk, "audra")
    with stopped(children(desk)["redis"]), robo.gate() as gate:
        asked = gate.submit("delete_file", {"path": "/project/reports/redis-hangs.csv"})
        assert "Redis does not answer" in audra.get("/evidence/").text
        assert rui.answer(asked.id, "deny", reason="Not while nobody looks.").status_code == 200
        assert gate.look(asked.id)["state"] == "DENIED"


def test_the_socket_that_a_killed_redis_left_behind_is_no_obstacle(desk: Installation) -> None:
    before = kill(desk, "redis", signal.SIGKILL)
    after = again(desk, "redis", before)
    with redis.Redis.from_url(url_of(desk.data / "run" / "redis.sock")) as client:
        eventually(lambda: answers(client))
    os.kill(after, 0)
    ready(desk)
