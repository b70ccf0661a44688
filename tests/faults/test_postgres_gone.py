"""PostgreSQL cuts every connection, and for a while takes no new ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from imprimatur.formats import dsse
from tests.faults.group import ROBOS_DELEGATIONS, Robo, Visitor
from tests.installation import Installation, eventually, installation
from tests.postgres import fresh_database, postgres_server

pytestmark = [pytest.mark.e2e, pytest.mark.postgres]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as uri:
        yield uri


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[str]:
    with fresh_database(server, migrated=True) as url:
        yield url


@pytest.fixture(scope="module")
def desk(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    data = tmp_path_factory.mktemp("postgres") / "data"
    environment = {"IMPRIMATUR_DEMO_SCRIPT": "once", "IMPRIMATUR_DATABASE_URL": database}
    with installation(data, environment=environment) as running:
        yield running


@pytest.fixture
def robo(desk: Installation, database: str) -> Robo:
    with psycopg.connect(database) as connection:
        found = eventually(lambda: connection.execute(ROBOS_DELEGATIONS).fetchone(), seconds=60)
    return Robo(desk, str(found[0]), desk.data / "demo")


def cut(server: str, database: str) -> None:
    """End every connection to the database."""
    with psycopg.connect(server, autocommit=True) as connection:
        name = urlsplit(database).path.lstrip("/")
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])


@contextmanager
def closed(server: str, database: str) -> Iterator[None]:
    """The database takes no connection."""
    name = urlsplit(database).path.lstrip("/")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'alter database "{name}" allow_connections false')
        try:
            cut(server, database)
            yield
        finally:
            connection.execute(f'alter database "{name}" allow_connections true')


def test_invariant_6_cut_connections_lose_nothing(desk: Installation, robo: Robo, server: str, database: str) -> None:
    told = []
    with robo.gate(run="cut") as gate:
        for number in range(30):
            if number % 10 == 5:
                cut(server, database)
            # The client asks again by itself; the server must not need a restart.
            told.append(gate.submit("read_file", {"path": f"/project/src/{number}.js"}, call=f"call-{number}"))
    with psycopg.connect(database) as connection:
        for decision in told:
            assert decision.receipt
            query = 'select envelope from audit_entry where "index" = %s'
            [envelope] = connection.execute(query, [decision.receipt["index"]]).fetchone() or [b""]
            assert bytes(envelope) == str(decision.receipt["envelope"]).encode()
        stored = connection.execute('select "index", envelope from audit_entry order by "index"').fetchall()
    assert [index for index, _ in stored] == list(range(len(stored)))
    opened = [json.loads(dsse.open_envelope(bytes(envelope)).payload) for _, envelope in stored]
    keys = [one["body"]["request"]["idempotency_key"] for one in opened if one["kind"] == "action.decided"]
    assert len(keys) == len(set(keys))


def test_a_database_that_is_gone_decides_nothing_and_comes_back_by_itself(
    desk: Installation, robo: Robo, server: str, database: str
) -> None:
    agent, rui = robo.raw(), Visitor(desk, "rui")
    with closed(server, database):
        refused = agent.read("/project/src/cart.js")
        assert (refused.status, refused.code) == (503, "busy")
        status, body = desk.get("/readyz")
        assert status == 503
        assert b"the database does not answer" in body
        assert desk.get("/healthz")[0] == 200
        page = rui.get("/")
        assert page.status_code == 503
        assert "The database does not answer right now" in page.text
        for secret in (urlsplit(database).password, urlsplit(database).username):
            assert not secret or secret not in page.text + refused.raw.decode() + body.decode()
    eventually(desk.ready)
    assert agent.read("/project/src/cart.js").json["verdict"] == "allow"
    assert rui.get("/").status_code == 200
    rui.close()
