"""One running installation for the whole folder (one for each process of the test run): starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.group import MARKS, Robo, Visitor, assert_whole, children, find_robo, log_size, payloads, ready, rows
from tests.faults.postbox import Postbox
from tests.installation import Installation, eventually, installation


@pytest.fixture(scope="session")
def postbox() -> Iterator[Postbox]:
    """Where the installation's mail goes."""
    box = Postbox()
    box.start()
    yield box
    box.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, postbox: Postbox) -> Iterator[Installation]:
    """The installation with its demo, which does everything once and then rests."""
    data = tmp_path_factory.mktemp("faults") / "data"
    environment = {
        "IMPRIMATUR_DEMO_SCRIPT": "once",
        "IMPRIMATUR_SMTP_HOST": "127.0.0.1",
        "IMPRIMATUR_SMTP_PORT": str(postbox.port),
    }
    with installation(data, environment=environment) as running:
        find_robo(running)
        # Its day is over when what needs people has been asked; then the log moves by what tests do, and by time.
        eventually(
            lambda: rows(running, "select count(*) from approvals_actionrequest where verdict = 'pending'") == [(4,)]
        )
        yield running


@pytest.fixture
def desk(shared: Installation) -> Iterator[Installation]:
    """The installation before and after whatever a test does to it: ready, and with a log without a gap.

    Invariant 2 is held here for every fault: nothing that a person has to answer was allowed without a vote.
    """
    ready(shared)
    eventually(lambda: set(children(shared)) == set(MARKS))
    before = log_size(shared)
    yield shared
    ready(shared)
    assert_whole(shared)
    for entry in payloads(shared, before):
        body = entry["body"]
        if entry["kind"] == "action.decided" and body["verdict"] == "allow" and body["risk"] in {"HIGH", "CRITICAL"}:
            assert body["votes"], entry


@pytest.fixture
def robo(desk: Installation) -> Robo:
    """The agent's key and authority."""
    return find_robo(desk)


@pytest.fixture
def visit(desk: Installation) -> Iterator[type[Visitor]]:
    """Sign somebody in without a browser: ``visit(desk, "rui")``."""
    made: list[Visitor] = []

    class Known(Visitor):
        def __init__(self, where: Installation, who: str) -> None:
            super().__init__(where, who)
            made.append(self)

    yield Known
    for visitor in made:
        visitor.close()
