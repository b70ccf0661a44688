"""A frozen log: nothing is decided, everybody is told, and only an operator's explicit act opens it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.group import Robo, Visitor, again, kill, log_size, manage
from tests.installation import Installation, eventually

pytestmark = pytest.mark.e2e

FREEZE = "from audit import log; log.freeze('a disk was found damaged')"


def test_invariant_2_a_frozen_log_decides_nothing_until_an_operator_opens_it(
    desk: Installation, robo: Robo, visit: type[Visitor]
) -> None:
    agent, rui = robo.raw(), visit(desk, "rui")
    asked = agent.delete("/project/reports/frozen.csv").json
    sheet = f"/requests/{asked['id']}/approve/"
    opened_before = rui.hidden(sheet)
    approved = agent.read("/project/src/cart.js").json
    assert "there is nothing to recover" in manage(desk, "log_recover", check=False).stderr
    manage(desk, "shell", "-c", FREEZE)
    try:
        size = log_size(desk)
        status, body = desk.get("/readyz")
        assert status == 503
        assert b"a disk was found damaged" in body

        for refused in (
            agent.read("/project/src/cart.js"),
            agent.redeem(approved),
            agent.post(f"/actions/{asked['id']}/cancel", {}),
        ):
            assert (refused.status, refused.code) == (503, "log-frozen")
            assert int(refused.headers["retry-after"]) > 0
            assert "receipt" not in refused.json

        page = rui.get("/").text
        assert "The log is frozen" in page
        assert "a disk was found damaged" in page
        vote = rui.http.post(sheet, data=opened_before)
        assert vote.status_code == 503
        assert "frozen" in vote.text
        assert log_size(desk) == size
        assert agent.get(f"/actions/{asked['id']}").json["state"] == "PENDING"
        assert b"imprimatur_log_frozen 1.0" in desk.get("/metrics")[1]

        told = manage(desk, "log_recover").stdout
        assert "a disk was found damaged" in told
        assert "Nothing was changed" in told
        assert desk.get("/readyz")[0] == 503
        assert "still frozen" in manage(desk, "log_recover", "--yes").stdout
        assert desk.get("/readyz")[0] == 503
    finally:
        opened = manage(desk, "log_recover", "--yes", "--reopen")
    assert "The log is open" in opened.stdout
    eventually(desk.ready)
    assert agent.read("/project/src/cart.js").json["verdict"] == "allow"
    assert rui.answer(asked["id"], "deny", reason="Enough for today.").status_code == 200


def says_frozen(desk: Installation) -> bool:
    """The desk answers, and it answers that the log is frozen."""
    try:
        status, body = desk.get("/readyz")
    except OSError:
        return False
    return status == 503 and b"frozen" in body


def test_invariant_6_a_published_file_that_was_tampered_with_freezes_the_log(desk: Installation, robo: Robo) -> None:
    """What is published is read again whenever the log grows by it; a flipped bit is never signed over."""
    agent = robo.raw()
    kept: dict[Path, bytes] = {}
    for path in (desk.data / "log" / "tile").rglob("*"):
        if path.is_file():
            kept[path] = path.read_bytes()
            path.chmod(0o600)
            path.write_bytes(bytes([kept[path][0] ^ 1]) + kept[path][1:])
    try:
        # A new process has to take the tree from the files.
        again(desk, "web", kill(desk, "web"))
        eventually(lambda: says_frozen(desk))
        refused = agent.read("/project/src/cart.js")
        assert (refused.status, refused.code) == (503, "log-frozen")
        assert "stays frozen" in manage(desk, "log_recover", "--yes", "--reopen", check=False).stderr
        assert desk.get("/readyz")[0] == 503
    finally:
        for path, raw in kept.items():
            path.write_bytes(raw)
        manage(desk, "log_recover", "--yes", "--reopen")
    eventually(desk.ready)
    assert agent.read("/project/src/cart.js").json["verdict"] == "allow"
