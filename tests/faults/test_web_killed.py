"""The web process, which also writes and publishes, is killed in the middle of its work."""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from imprimatur import ActionBlocked
from imprimatur.client.answers import Decision
from imprimatur.errors import ControlPlaneUnavailable, ServerError
from tests.faults.group import (
    Robo,
    Visitor,
    again,
    alive,
    assert_receipt_stands,
    assert_whole,
    connection,
    kill,
    log_size,
    payloads,
    ready,
    rows,
)
from tests.faults.line import open_line
from tests.installation import Installation, eventually

pytestmark = pytest.mark.e2e

CLIENTS = 6
EACH = 12


@dataclass
class Work:
    """What the clients were told, by the number of the call. They go on until the process was killed, and a while more."""

    run: str
    answered: dict[str, Decision] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    killed: threading.Event = field(default_factory=threading.Event)

    def ask(self, robo: Robo, who: int) -> None:
        """Ask one thing after another, each until there is an answer, always with the same idempotency key."""
        with robo.gate(run=self.run) as gate:
            left = EACH
            for number in itertools.count():
                if not left:
                    return
                left -= self.killed.is_set()
                call = f"call-{who}-{number}"
                while call not in self.answered and len(self.errors) < 100:
                    self.attempts[call] += 1
                    try:
                        decision = gate.submit("read_file", {"path": f"/project/src/{call}.js"}, call=call)
                    except ControlPlaneUnavailable as error:
                        self.errors.append(str(error))
                    except ActionBlocked as error:
                        self.errors.append(error.code)
                    else:
                        with self.lock:
                            self.answered[call] = decision


def test_invariant_6_what_was_acknowledged_survives_a_killed_web_process(desk: Installation, robo: Robo) -> None:
    before = log_size(desk)
    work = Work("killed-" + str(before))
    clients = [threading.Thread(target=work.ask, args=(robo, who)) for who in range(CLIENTS)]
    for client in clients:
        client.start()
    eventually(lambda: len(work.answered) >= CLIENTS, every=0.005)
    with work.lock:
        acknowledged = dict(work.answered)
        first = kill(desk, "web")
    work.killed.set()
    again(desk, "web", first)
    for client in clients:
        client.join(120)
        assert not client.is_alive()
    assert len(acknowledged) >= CLIENTS
    assert len(work.answered) >= len(acknowledged) + CLIENTS * (EACH - 1)
    assert set(work.answered) == set(work.attempts), work.errors

    assert_whole(desk)
    for decision in (acknowledged | work.answered).values():
        assert decision.receipt
        assert_receipt_stands(desk, dict(decision.receipt))
    # Each was decided once, however often it was asked for.
    keys = Counter(
        entry["body"]["request"]["idempotency_key"]
        for entry in payloads(desk, before)
        if entry["kind"] == "action.decided" and entry["body"]["binding"]["context"]["run"] == work.run
    )
    assert keys == Counter({decision.wish.idempotency_key: 1 for decision in work.answered.values()})

    # Asked once more, the server still knows each of them; and the publisher goes on.
    with robo.gate(run=work.run) as gate:
        for call, decision in list(work.answered.items())[:CLIENTS]:
            same = gate.submit("read_file", {"path": f"/project/src/{call}.js"}, call=call)
            assert (same.id, same.receipt) == (decision.id, decision.receipt)
    ready(desk)
    size = log_size(desk)
    eventually(lambda: rows(desk, "select max(size) from audit_checkpoint")[0][0] >= size)


def test_an_agent_that_waits_learns_the_answer_across_a_restart(
    desk: Installation, robo: Robo, visit: type[Visitor]
) -> None:
    rui = visit(desk, "rui")
    with robo.gate() as gate:
        asked = gate.submit("delete_file", {"path": "/project/reports/restart.csv"})
        heard: list[object] = []

        def wait() -> None:
            try:
                heard.append(gate.wait(asked))
            except ActionBlocked as error:
                heard.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        again(desk, "web", kill(desk, "web"))
        ready(desk)
        assert rui.answer(asked.id, "deny", reason="Keep it.").status_code == 200
        waiting.join(60)
    assert isinstance(heard[0], ActionBlocked)
    assert (heard[0].code, heard[0].note) == ("reviewer-denied", "Keep it.")


def test_a_web_process_that_is_asked_to_end_publishes_what_it_has_and_holds_nobody(
    desk: Installation, robo: Robo, visit: type[Visitor]
) -> None:
    """With an agent that waits for 25 seconds, an open line and a half request."""
    rui = visit(desk, "rui")
    with robo.gate() as gate, open_line(desk, rui) as line, connection(desk) as half:
        half.sendall(b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        asked = gate.submit("delete_file", {"path": "/project/reports/ending.csv"})
        line.hears(asked.id)
        heard: list[str] = []

        def look() -> None:
            while not heard or heard[-1] == "PENDING":
                with suppress(ServerError):  # the next process may take longer than one call goes on trying
                    heard.append(gate.look(asked.id, 25)["state"])

        waiting = threading.Thread(target=look, daemon=True)
        waiting.start()
        done = gate.submit("read_file", {"path": "/project/src/last.js"})
        web = kill(desk, "web", signal.SIGTERM)
        eventually(lambda: not alive(web), seconds=60)
        assert done.receipt
        assert_receipt_stands(desk, dict(done.receipt))
        assert rows(desk, "select max(size) from audit_checkpoint")[0][0] > done.receipt["index"]
        # The client that waited asks again, and is answered by the next process.
        again(desk, "web", web)
        ready(desk)
        gate.cancel(asked)
        waiting.join(90)
    assert heard[-1] == "CANCELLED"
