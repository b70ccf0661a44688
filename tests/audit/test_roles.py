"""On a real PostgreSQL: whatever the application's role tries on the log is refused, and the desk still works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from audit import roles
from tests.audit.test_durability import BEGIN
from tests.audit.test_fsck import MEANWHILE
from tests.postgres import fresh_database, postgres_server

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="brings its own server, once is enough"),
]

ROOT = Path(__file__).resolve().parent.parent.parent
OWNER, APP = "gate_owner", "gate-app"

ATTACKS = {
    "update": "UPDATE audit_entry SET subject = 'x'",
    "update a checkpoint": "UPDATE audit_checkpoint SET note = 'x'",
    "delete": "DELETE FROM audit_entry",
    "delete a checkpoint": "DELETE FROM audit_checkpoint",
    "update a cosignature": "UPDATE audit_cosignature SET line = 'x'",
    "delete a cosignature": "DELETE FROM audit_cosignature",
    "truncate the cosignatures": "TRUNCATE audit_cosignature",
    "delete the head": "DELETE FROM audit_loghead",
    "truncate": "TRUNCATE audit_entry",
    "truncate a checkpoint": "TRUNCATE audit_checkpoint CASCADE",
    "truncate the head": "TRUNCATE audit_loghead",
    "be a replica": "SET session_replication_role = replica",
    "upsert": "INSERT INTO audit_entry SELECT * FROM audit_entry ON CONFLICT (\"index\") DO UPDATE SET subject = 'x'",
    "merge": "MERGE INTO audit_entry e USING audit_loghead h ON true WHEN MATCHED THEN DELETE",
    "insert an old index": "INSERT INTO audit_entry SELECT * FROM audit_entry",
    "leave a gap": "INSERT INTO audit_entry SELECT 9, repeat('9', 64), envelope, time, kind, subject, actor_type, "
    "actor_id, agent, verdict, risk FROM audit_entry LIMIT 1",
    "shrink the head": "UPDATE audit_loghead SET size = 0",
    "lower the epoch": "UPDATE audit_loghead SET epoch = -1",
    "a second head": "INSERT INTO audit_loghead SELECT 2, 'other', 0, '', NULL, 0, 'open', '' ",
    "disable the triggers": "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
    "disable one trigger": "ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_no_change",
    "enable as replica": "ALTER TABLE audit_entry ENABLE REPLICA TRIGGER audit_entry_no_change",
    "drop a trigger": "DROP TRIGGER audit_entry_no_change ON audit_entry",
    "add a trigger": "CREATE TRIGGER t BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "replace the function": "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql "
    "AS 'BEGIN RETURN OLD; END'",
    "drop the function": "DROP FUNCTION audit_refuse() CASCADE",
    "alter the function": "ALTER FUNCTION audit_entry_append() SET search_path = pg_temp",
    "drop the table": "DROP TABLE audit_entry CASCADE",
    "drop the schema": "DROP SCHEMA public CASCADE",
    "rename the table": "ALTER TABLE audit_entry RENAME TO other",
    "own the table": 'ALTER TABLE audit_entry OWNER TO "gate-app"',
    "add a rule": "CREATE RULE r AS ON INSERT TO audit_entry DO INSTEAD NOTHING",
    "add a policy": "ALTER TABLE audit_entry ENABLE ROW LEVEL SECURITY",
    "shadow the table": "CREATE TEMP TABLE audit_entry (x int)",
    "create a table": "CREATE TABLE other (x int)",
    "create a schema": "CREATE SCHEMA other",
    "grant itself more": "GRANT UPDATE ON audit_entry TO \"gate-app\"; UPDATE audit_entry SET subject = 'x'",
    "become the owner": "SET ROLE gate_owner",
    "become a superuser": 'ALTER ROLE "gate-app" SUPERUSER',
    "forget a migration": "DELETE FROM django_migrations",
    "run a program": "COPY audit_entry FROM PROGRAM 'true'",
}


@dataclass(frozen=True)
class Desk:
    """A begun installation whose database was set up by the command. ``data`` is its folder."""

    admin: str
    app: str
    data: Path

    def manage(self, url: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self._python(url, [str(ROOT / "manage.py"), *words], more)

    def run(self, url: str, body: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport django; django.setup()\n{body}"
        return self._python(url, ["-c", code], {"DJANGO_SETTINGS_MODULE": "server.settings"})

    def _python(self, url: str, words: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
        environment = {**inherited, "IMPRIMATUR_DATA": str(self.data), "IMPRIMATUR_DATABASE_URL": url, **more}
        return subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with postgres_server(own=True) as server, fresh_database(server) as admin:
        parts = urlsplit(admin)
        app = urlunsplit(parts._replace(netloc=parts.netloc.replace(parts.username or "", APP, 1)))
        made = Desk(admin, app, tmp_path_factory.mktemp("data"))
        try:
            done = made.run(admin, BEGIN)
            assert done.returncode == 0, done.stderr
            for _ in range(2):  # again changes nothing more
                done = made.manage(admin, "audit_roles", "--owner", OWNER, "--app", APP)
                assert done.returncode == 0, done.stderr
            assert "can still lift the guards" in done.stdout
            yield made
        finally:
            with psycopg.connect(admin, autocommit=True) as root:
                root.execute(f'REASSIGN OWNED BY {OWNER} TO postgres; DROP OWNED BY {OWNER}; DROP OWNED BY "{APP}"')
                root.execute(f'DROP ROLE "{APP}"')
                root.execute(f"DROP ROLE {OWNER}")


def picture(url: str) -> list[object]:
    with psycopg.connect(url) as root:
        found: list[object] = []
        for table in ("audit_entry", "audit_checkpoint", "audit_loghead"):
            found += root.execute(f"SELECT * FROM {table}").fetchall()
        return found + root.execute("SELECT tgname, tgenabled FROM pg_trigger ORDER BY 1").fetchall()


@pytest.mark.parametrize("sql", ATTACKS.values(), ids=ATTACKS)
def test_invariant_6_the_applications_role_is_refused_to(desk: Desk, sql: str) -> None:
    before = picture(desk.admin)
    with psycopg.connect(desk.app, autocommit=True) as session, pytest.raises(psycopg.Error):
        session.execute(sql)
    assert picture(desk.admin) == before


def test_the_applications_role_still_adds_to_the_log_and_publishes_it(desk: Desk) -> None:
    done = desk.run(
        desk.app,
        "from server import checks; checks.assert_durable()\n"
        "from audit.publisher import Publisher\nfrom tests.audit.acts import append\n"
        "append(3); print(Publisher().publish_once())",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4"]
    assert "W003" not in done.stderr
    done = desk.manage(desk.app, "check", "--database", "default", IMPRIMATUR_DATABASE_ROLES="yes")
    assert done.returncode == 0, done.stderr


def test_the_whole_log_is_checked_in_one_snapshot_while_the_desk_goes_on(desk: Desk) -> None:
    done = desk.run(desk.app, MEANWHILE)
    assert done.returncode == 0, done.stderr
    size, good, later, again = done.stdout.split()
    assert (good, again) == ("True", "True")
    assert int(later) == int(size) + 2


def test_whoever_could_lift_the_guards_is_warned_about_and_refused_where_that_is_asked(desk: Desk) -> None:
    ask = "from server import checks; checks.assert_durable()"
    done = desk.run(desk.admin, ask)
    assert done.returncode == 0
    assert "imprimatur.W003" in done.stderr
    assert "is a superuser" in done.stderr
    strict = f"from django.conf import settings; settings.DATABASE_ROLES = True\n{ask}"
    done = desk.run(desk.admin, strict)
    assert done.returncode != 0
    assert "audit_roles" in done.stderr
    done = desk.manage(desk.admin, "check", "--database", "default", IMPRIMATUR_DATABASE_ROLES="yes")
    assert done.returncode != 0
    assert "imprimatur.E005" in done.stderr


@pytest.mark.parametrize(
    ("given", "taken", "said"),
    [
        ('GRANT gate_owner TO "gate-app"', 'REVOKE gate_owner FROM "gate-app"', "owns the table audit_entry"),
        ('GRANT UPDATE ON audit_entry TO "gate-app"', 'REVOKE UPDATE ON audit_entry FROM "gate-app"', "may do more"),
        ('GRANT UPDATE (note) ON audit_checkpoint TO "gate-app"',
         'REVOKE UPDATE (note) ON audit_checkpoint FROM "gate-app"', "may do more to audit_checkpoint"),
        ('ALTER ROLE "gate-app" CREATEROLE', 'ALTER ROLE "gate-app" NOCREATEROLE', "may create roles"),
    ],
)  # fmt: skip
def test_a_right_too_many_is_named_at_the_start(desk: Desk, given: str, taken: str, said: str) -> None:
    with psycopg.connect(desk.admin, autocommit=True) as root:
        root.execute(given)
        try:
            done = desk.run(desk.app, "from server import checks; checks.assert_durable()")
        finally:
            root.execute(taken)
    assert said in done.stderr


def test_the_owner_runs_migrations_and_the_owner_can_lift_the_guards_which_the_next_start_sees(desk: Desk) -> None:
    as_owner = f"{desk.admin}{'&' if '?' in desk.admin else '?'}role={OWNER}"
    done = desk.manage(as_owner, "migrate")
    assert done.returncode == 0, done.stderr
    with psycopg.connect(desk.admin, autocommit=True) as root:
        root.execute(f"SET ROLE {OWNER}")
        root.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_no_change")
        try:
            done = desk.run(desk.app, "from server import checks; checks.assert_durable()")
            assert "audit_entry_no_change" in done.stderr
        finally:
            root.execute("ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_no_change")
        root.execute(
            "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'"
        )
        done = desk.run(desk.app, "from server import checks; checks.assert_durable()")
        assert "missing, altered or switched off" in done.stderr


def test_the_command_wants_a_superuser_and_says_so(desk: Desk) -> None:
    done = desk.manage(desk.app, "audit_roles", "--owner", OWNER, "--app", APP)
    assert done.returncode != 0
    assert "connect as a superuser" in done.stderr


def test_one_role_for_both_or_another_database_is_refused(db: None) -> None:
    with pytest.raises(roles.RolesRefused, match="PostgreSQL's"):
        roles.set_up("one", "other")
