"""SQLite has no roles, so every connection of ours refuses by itself what nobody may do to the log."""

from __future__ import annotations

import threading

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit import authorizer
from audit.errors import LogUnguarded
from audit.models import Checkpoint, Entry, LogHead
from tests.audit.acts import append

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has roles")

DENIED = {
    "update an entry": "UPDATE audit_entry SET subject = 'x'",
    "update or replace an entry": 'UPDATE OR REPLACE audit_entry SET "index" = 0 WHERE "index" = 1',
    "delete an entry": "DELETE FROM audit_entry",
    "delete an entry under another name": 'DELETE FROM "main"."AUDIT_ENTRY" WHERE "index" = 1',
    "upsert an entry": "INSERT INTO audit_entry SELECT * FROM audit_entry WHERE true "
    "ON CONFLICT DO UPDATE SET subject = 'x'",
    "update a checkpoint": "UPDATE audit_checkpoint SET note = 'x'",
    "delete a checkpoint": "DELETE FROM audit_checkpoint",
    "update a cosignature": "UPDATE audit_cosignature SET line = 'x'",
    "delete a cosignature": "DELETE FROM audit_cosignature",
    "drop the cosignatures": "DROP TABLE audit_cosignature",
    "delete the head": "DELETE FROM audit_loghead",
    "drop the entries": "DROP TABLE audit_entry",
    "drop the checkpoints": "DROP TABLE audit_checkpoint",
    "drop the head": "DROP TABLE audit_loghead",
    "rename the entries": "ALTER TABLE audit_entry RENAME TO other",
    "rename a column": "ALTER TABLE audit_entry RENAME COLUMN leaf TO other",
    "add a column": "ALTER TABLE audit_entry ADD COLUMN other text",
    "drop a column": "ALTER TABLE audit_checkpoint DROP COLUMN note",
    "drop a trigger": "DROP TRIGGER audit_entry_no_delete",
    "drop a trigger if it exists": "DROP TRIGGER IF EXISTS audit_checkpoint_no_update",
    "drop the head's trigger": "DROP TRIGGER audit_loghead_grows",
    "add a trigger": "CREATE TRIGGER t BEFORE INSERT ON audit_entry BEGIN SELECT RAISE(IGNORE); END",
    "add a trigger of the session": "CREATE TEMP TRIGGER t BEFORE INSERT ON audit_entry BEGIN SELECT RAISE(IGNORE); END",
    "write the schema": "PRAGMA writable_schema = ON",
}


@pytest.fixture
def entries(begun) -> list[Entry]:
    append(2)
    Checkpoint.objects.create(size=3, root="0" * 64, note="n", published_at=timezone.now())
    return list(Entry.objects.all())


def refused(sql: str) -> str:
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    return str(caught.value)


@pytest.mark.parametrize("sql", DENIED.values(), ids=DENIED)
def test_invariant_6_a_connection_refuses_to(entries, sql) -> None:
    assert "not authorized" in refused(sql)
    assert list(Entry.objects.all()) == entries
    assert Checkpoint.objects.count() == LogHead.objects.count() == 1


@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
def test_invariant_6_replacing_looks_like_an_insert_and_is_left_to_the_triggers(entries, verb) -> None:
    assert "append-only" in refused(f'{verb} INTO audit_entry SELECT * FROM audit_entry WHERE "index" = 1')
    assert list(Entry.objects.all()) == entries


def test_what_the_application_does_is_still_allowed(entries) -> None:
    append(1, "later_")
    LogHead.objects.update(state=LogHead.FROZEN)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA writable_schema")
        assert cursor.fetchone() == (0,)
    assert Entry.objects.count() == 4


def test_invariant_6_every_connection_is_bound_when_it_is_opened(transactional_db) -> None:
    said: list[BaseException | None] = []

    def elsewhere() -> None:
        try:
            authorizer.check_bound()
            said.append(None)
        except BaseException as error:
            said.append(error)
        finally:
            connection.close()

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join(60)
    assert said == [None]


def test_the_opening_is_for_one_connection_and_closes_again_after_an_error(entries) -> None:
    authorizer.check_bound()
    with pytest.raises(RuntimeError), authorizer.opened():
        with pytest.raises(LogUnguarded):
            authorizer.check_bound()
        assert "append-only" in refused("DELETE FROM audit_entry")
        raise RuntimeError
    authorizer.check_bound()
