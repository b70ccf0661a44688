"""The live line of an open page, over a real socket."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.faults.group import Robo, Visitor
from tests.faults.line import open_line
from tests.installation import Installation

pytestmark = pytest.mark.e2e


def test_a_line_on_which_nothing_happens_stays_open(desk: Installation, robo: Robo, visit: type[Visitor]) -> None:
    """Longer than any time-out on the way that we set: the next event still arrives."""
    with open_line(desk, visit(desk, "rui")) as line:
        line.next()
        with pytest.raises(TimeoutError):
            while True:
                line.next(7.0)
        with robo.gate() as gate:
            asked = gate.submit("delete_file", {"path": "/project/reports/after-silence.csv"})
            line.hears(asked.id)
            gate.cancel(asked)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example:8000", "null"])
def test_a_page_of_somebody_else_gets_no_line(desk: Installation, visit: type[Visitor], origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, open_line(desk, visit(desk, "rui"), origin):
        pass
    assert refused.value.response.status_code == 403


def test_who_is_not_signed_in_gets_no_line(desk: Installation) -> None:
    with open_line(desk, None) as line, pytest.raises(ConnectionClosed) as closed:
        line.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_invariant_10_what_a_line_is_sent_changes_nothing(desk: Installation, robo: Robo, visit: type[Visitor]) -> None:
    with robo.gate() as gate, open_line(desk, visit(desk, "rui")) as line:
        asked = gate.submit("delete_file", {"path": "/project/reports/by-socket.csv"})
        line.socket.send(json.dumps({"type": "approve", "request": asked.id}))
        line.hears(asked.id)
        assert gate.look(asked.id)["state"] == "PENDING"
        gate.cancel(asked)
        with pytest.raises(ConnectionClosed):
            line.socket.send("x" * 100_000)
            while True:
                line.next()
