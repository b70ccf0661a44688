"""On a real PostgreSQL, with two processes: who is asked by agents cannot publish, and who publishes cannot decide."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from imprimatur.formats import note
from tests.audit.test_durability import BEGIN
from tests.audit.test_roles import ROOT, picture
from tests.audit.test_roles import Desk as Machine
from tests.postgres import fresh_database, postgres_server

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="brings its own server, once is enough"),
]

OWNER, APP, PUBLISHER = "gate_owner", "gate-app", "gate-publisher"
APART = {"IMPRIMATUR_PUBLISHER": "apart", "IMPRIMATUR_DATABASE_ROLES": "yes"}
PATIENCE = 60  # seconds; only what is broken takes them

# The web process, which answers agents, tries to publish.
BY_APP = {
    "a checkpoint": "INSERT INTO audit_checkpoint SELECT 9, repeat('9', 64), 'x', now()",
    "an old checkpoint": "INSERT INTO audit_checkpoint SELECT * FROM audit_checkpoint",
    "change a checkpoint": "UPDATE audit_checkpoint SET note = 'x'",
    "delete a checkpoint": "DELETE FROM audit_checkpoint",
    "a cosignature": "INSERT INTO audit_cosignature (size, witness, line, time) VALUES (1, 'w', 'x', now())",
    "what a witness is said to hold": "INSERT INTO audit_witnessstate (witness, size, error) VALUES ('w', 9, '')",
    "change an entry": "UPDATE audit_entry SET subject = 'x'",
    "delete an entry": "DELETE FROM audit_entry",
    "become the publisher": 'SET ROLE "gate-publisher"',
}
# The publisher tries everything else.
BY_PUBLISHER = {
    "an entry": "INSERT INTO audit_entry SELECT 1, repeat('9', 64), envelope, time, kind, subject, actor_type, "
    "actor_id, agent, verdict, risk FROM audit_entry LIMIT 1",
    "grow the head": "UPDATE audit_loghead SET size = size + 1",
    "raise the epoch": "UPDATE audit_loghead SET epoch = epoch + 1",
    "a second head": "INSERT INTO audit_loghead SELECT 2, 'other', 0, '', NULL, 0, 'open', '' ",
    "change an entry": "UPDATE audit_entry SET subject = 'x'",
    "delete an entry": "DELETE FROM audit_entry",
    "change a checkpoint": "UPDATE audit_checkpoint SET note = 'x'",
    "delete a checkpoint": "DELETE FROM audit_checkpoint",
    "become the application": 'SET ROLE "gate-app"',
    "become the owner": "SET ROLE gate_owner",
    "disable the triggers": "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
    "create a table": "CREATE TABLE other (x int)",
    "shadow the table": "CREATE TEMP TABLE audit_entry (x int)",
}
# Tables it may not even read: votes, people, their keys and sessions, authority, and what opens commitments.
CLOSED = [
    *("approvals_vote", "approvals_grant", "approvals_actionrequest", "audit_opening", "audit_outbox"),
    *("governance_person", "governance_personkey", "governance_agent", "governance_agentkey", "governance_policy"),
    *("governance_delegation", "governance_tool", "governance_service", "governance_pause"),
    *("auth_user", "django_session", "mfa_authenticator"),
]


@dataclass(frozen=True)
class Two:
    """A begun installation in two folders: one with the decision key, one with the log's."""

    admin: str
    app: str
    publisher: str
    web: Machine
    other: Machine


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with postgres_server(own=True) as server, fresh_database(server) as admin:
        parts = urlsplit(admin)

        def url(role: str) -> str:
            return urlunsplit(parts._replace(netloc=parts.netloc.replace(parts.username or "", role, 1)))

        web = Machine(admin, url(APP), tmp_path_factory.mktemp("web"))
        other = Machine(admin, url(PUBLISHER), tmp_path_factory.mktemp("publisher"))
        done = web.run(admin, BEGIN)
        assert done.returncode == 0, done.stderr
        done = web.manage(admin, "log_keys", "keep-public")
        assert done.stdout.split() == ["decision.pub", "log.pub"], done.stderr
        keys, theirs = web.data / "keys", other.data / "keys"
        theirs.mkdir(mode=0o700)
        shutil.move(keys / "log.key", theirs / "log.key")
        shutil.copy(keys / "decision.pub", theirs / "decision.pub")
        (other.data / "log").mkdir()
        if (web.data / "log").exists():
            shutil.rmtree(web.data / "log")
        (web.data / "log").symlink_to(other.data / "log")
        for _ in range(2):  # again changes nothing more
            done = web.manage(admin, "audit_roles", "--owner", OWNER, "--app", APP, "--publisher", PUBLISHER)
            assert done.returncode == 0, done.stderr
        assert f"{PUBLISHER} alone adds checkpoints" in done.stdout
        try:
            yield Two(admin, url(APP), url(PUBLISHER), web, other)
        finally:
            with psycopg.connect(admin, autocommit=True) as root:
                root.execute(f"REASSIGN OWNED BY {OWNER} TO postgres; DROP OWNED BY {OWNER}")
                root.execute(f'DROP OWNED BY "{APP}"; DROP OWNED BY "{PUBLISHER}"')
                root.execute(f'DROP ROLE "{APP}"; DROP ROLE "{PUBLISHER}"; DROP ROLE {OWNER}')


@contextmanager
def publishing(two: Two) -> Iterator[subprocess.Popen[str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "publish"],
        cwd=ROOT,
        env={
            **clean,
            **APART,
            "IMPRIMATUR_DATA": str(two.other.data),
            "IMPRIMATUR_DATABASE_URL": two.publisher,
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "Publishing.\n"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("sql", BY_APP.values(), ids=BY_APP)
def test_the_process_that_answers_agents_is_refused_to(two: Two, sql: str) -> None:
    before = picture(two.admin)
    with psycopg.connect(two.app, autocommit=True) as session, pytest.raises(psycopg.Error):
        session.execute(sql)
    assert picture(two.admin) == before


@pytest.mark.parametrize("sql", BY_PUBLISHER.values(), ids=BY_PUBLISHER)
def test_the_publisher_is_refused_to(two: Two, sql: str) -> None:
    before = picture(two.admin)
    with psycopg.connect(two.publisher, autocommit=True) as session, pytest.raises(psycopg.Error):
        session.execute(sql)
    assert picture(two.admin) == before


@pytest.mark.parametrize("table", CLOSED)
def test_the_publisher_neither_reads_nor_writes_who_may_do_what(two: Two, table: str) -> None:
    for sql in (f"SELECT 1 FROM {table}", f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}"):
        with (
            psycopg.connect(two.publisher, autocommit=True) as session,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            session.execute(sql)


def test_one_process_decides_and_the_other_publishes_it(two: Two) -> None:
    with publishing(two):
        done = two.web._python(
            two.app,
            ["-c", _setup("from tests.audit.acts import append; append(3)")],
            {**APART, "DJANGO_SETTINGS_MODULE": "server.settings"},
        )
        assert done.returncode == 0, done.stderr
        assert "W003" not in done.stderr
        deadline = time.monotonic() + PATIENCE
        with psycopg.connect(two.admin, autocommit=True) as root:
            found = None
            while time.monotonic() < deadline and found is None:
                found = root.execute("SELECT note FROM audit_checkpoint WHERE size = 4").fetchone()
                time.sleep(0.05)
    assert found is not None
    note.parse_note(found[0])
    assert (two.web.data / "log" / "checkpoint").read_text() == found[0]


def test_the_web_process_cannot_sign_a_checkpoint_it_has_no_key(two: Two) -> None:
    body = "from audit import signer\nprint(len(signer.log_key().sign(b'x')))"
    done = two.web._python(two.app, ["-c", _setup(body)], {**APART, "DJANGO_SETTINGS_MODULE": "server.settings"})
    assert done.returncode != 0
    assert "log.key is not in the folder of keys" in done.stderr


def test_neither_process_starts_with_the_key_of_the_other(two: Two) -> None:
    ask = _setup("from server import checks; checks.assert_keys_apart()")
    environment = {**APART, "DJANGO_SETTINGS_MODULE": "server.settings"}
    assert two.web._python(two.app, ["-c", ask], environment).returncode == 0
    stolen = two.web.data / "keys" / "log.key"
    shutil.copy(two.other.data / "keys" / "log.key", stolen)
    try:
        done = two.web._python(two.app, ["-c", ask], environment)
    finally:
        stolen.unlink()
    assert done.returncode != 0 and "log.key lies in the keys of this process" in done.stderr
    stolen = two.other.data / "keys" / "decision.key"
    shutil.copy(two.web.data / "keys" / "decision.key", stolen)
    try:
        done = two.other.manage(two.publisher, "publish", **APART)
    finally:
        stolen.unlink()
    assert done.returncode != 0 and "decision.key lies in the keys of this process" in done.stderr


def test_neither_process_starts_as_the_role_of_the_other(two: Two) -> None:
    ask = _setup("from server import checks; checks.assert_durable()")
    done = two.web._python(two.publisher, ["-c", ask], {**APART, "DJANGO_SETTINGS_MODULE": "server.settings"})
    assert done.returncode != 0 and "may add to audit_checkpoint" in done.stderr
    done = two.other.manage(two.app, "publish", **APART)
    assert done.returncode != 0 and "may add to audit_entry" in done.stderr


def test_the_publisher_wants_to_be_asked_for(two: Two) -> None:
    done = two.other.manage(two.publisher, "publish")
    assert done.returncode != 0 and "IMPRIMATUR_PUBLISHER=apart" in done.stderr


def test_on_sqlite_one_process_writes_everything(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**clean, "IMPRIMATUR_DATA": str(tmp_path), "IMPRIMATUR_PUBLISHER": "apart"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0 and "needs PostgreSQL" in done.stderr


def _setup(body: str) -> str:
    return f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport django; django.setup()\n{body}"
