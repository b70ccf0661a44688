from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit import authorizer, genesis, guards, signer
from audit.errors import LogUnguarded
from audit.models import Checkpoint, Cosignature, Entry, LogHead
from tests.append_only import let_tests_flush, lifted
from tests.audit.acts import append

COLUMNS = '"index", leaf, envelope, time, kind, subject, actor_type, actor_id, agent, verdict, risk'


def refused(sql: str, *parameters: object) -> str:
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
    return str(caught.value)


def insert(index: int, leaf: str, verb: str = "INSERT") -> tuple[object, ...]:
    sql = f"{verb} INTO audit_entry ({COLUMNS}) VALUES (%s, %s, %s, %s, 'k', 's', 'system', 'x', '', '', '')"
    return sql, index, leaf, b"{}", timezone.now()


@pytest.fixture
def entries(begun) -> Iterator[list[Entry]]:
    """Three entries, on a connection that nothing but the triggers guards."""
    append(2)
    Checkpoint.objects.create(size=3, root="0" * 64, note="n", published_at=timezone.now())
    with authorizer.opened():
        yield list(Entry.objects.all())


def test_invariant_6_an_entry_is_never_updated_or_deleted(entries) -> None:
    assert "append-only" in refused("UPDATE audit_entry SET subject = 'other' WHERE \"index\" = 1")
    assert "append-only" in refused('DELETE FROM audit_entry WHERE "index" = 2')
    with pytest.raises(DatabaseError), transaction.atomic():
        Entry.objects.all().update(kind="other")
    assert list(Entry.objects.all()) == entries


def test_invariant_6_an_entry_has_the_next_index_and_no_other(entries) -> None:
    for index in (0, 1, 2, 4, 100, -1):
        assert "next index" in refused(*insert(index, f"{index:064}"))
    with connection.cursor() as cursor:
        sql, *parameters = insert(3, "3" * 64)
        cursor.execute(sql, parameters)
    assert Entry.objects.count() == 4


def test_invariant_6_many_entries_inserted_at_once_are_checked_one_by_one(entries) -> None:
    def row(index: int) -> Entry:
        return Entry(index=index, leaf=f"{index:064}", envelope=b"{}", time=timezone.now(), kind="k", subject="s")

    with pytest.raises(DatabaseError), transaction.atomic():
        Entry.objects.bulk_create([row(3), row(5)])
    Entry.objects.bulk_create([row(3), row(4)])
    assert Entry.objects.count() == 5


def test_invariant_6_a_checkpoint_is_never_changed_deleted_or_smaller(entries) -> None:
    assert refused("UPDATE audit_checkpoint SET note = 'other'")
    assert refused("DELETE FROM audit_checkpoint")
    for size in (2, 3):
        assert refused("INSERT INTO audit_checkpoint (size, root, note, published_at) VALUES (%s, 'r', 'n', %s)",
                       size, timezone.now())  # fmt: skip


def cosigned(size: int, witness: str, verb: str = "INSERT", identifier: str = "") -> tuple[object, ...]:
    columns, values = ("id, ", f"{identifier}, ") if identifier else ("", "")
    sql = f"{verb} INTO audit_cosignature ({columns}size, witness, line, time) VALUES ({values}%s, %s, 'other', %s)"
    return sql, size, witness, timezone.now()


def test_invariant_6_a_cosignature_is_never_changed_deleted_or_replaced(entries) -> None:
    kept = Cosignature.objects.create(size=3, witness="one", line="l", time=timezone.now())
    assert refused("UPDATE audit_cosignature SET line = 'other'")
    assert refused("DELETE FROM audit_cosignature")
    assert refused(*cosigned(3, "one"))
    if connection.vendor == "sqlite":
        assert "one cosignature" in refused(*cosigned(3, "one", "INSERT OR REPLACE"))
        assert "one cosignature" in refused(*cosigned(3, "two", "REPLACE", str(kept.pk)))
    else:
        assert refused("TRUNCATE audit_cosignature")
    assert Cosignature.objects.get().line == "l"
    Cosignature.objects.create(size=3, witness="two", line="l", time=timezone.now())


def test_invariant_6_the_head_never_shrinks_and_there_is_only_one(entries) -> None:
    assert refused("UPDATE audit_loghead SET size = 1")
    assert refused("UPDATE audit_loghead SET realm = 'other'")
    assert refused("DELETE FROM audit_loghead")
    with pytest.raises(DatabaseError), transaction.atomic():
        LogHead.objects.create(realm="second")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="REPLACE is SQLite's")
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_invariant_6_replace_overwrites_nothing_under_any_pragma(entries, recursive) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA recursive_triggers = {recursive}")
    assert "append-only" in refused(*insert(1, "9" * 64, "INSERT OR REPLACE"))
    # The next index is allowed, but the leaf is one that exists: REPLACE would silently drop the older entry.
    assert "append-only" in refused(*insert(3, entries[1].leaf, "INSERT OR REPLACE"))
    assert "append-only" in refused(*insert(3, entries[1].leaf, "REPLACE"))
    assert "append-only" in refused('UPDATE OR REPLACE audit_entry SET "index" = 0 WHERE "index" = 1')
    assert list(Entry.objects.all()) == entries


@pytest.mark.postgres
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL as the database of the tests")
def test_invariant_6_postgresql_refuses_truncate_upsert_and_replica_sessions(entries) -> None:
    assert "append-only" in refused("TRUNCATE audit_entry CASCADE")
    assert refused("TRUNCATE audit_checkpoint")
    assert refused("TRUNCATE audit_loghead")
    sql, *parameters = insert(1, "9" * 64)
    assert refused(f"{sql} ON CONFLICT (\"index\") DO UPDATE SET subject = 'other'", *parameters)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        assert refused('DELETE FROM audit_entry WHERE "index" = 2')


def test_the_start_up_check_names_a_guard_that_is_missing(begun) -> None:
    guards.check_installed()
    with authorizer.opened(), connection.cursor() as cursor:
        suffix = " ON audit_entry" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER audit_entry_append{suffix}")
    with pytest.raises(LogUnguarded, match=r"audit_entry_append .* run `manage.py audit_guards`"):
        guards.check_installed()


def test_a_guard_that_is_missing_is_put_back_and_no_row_is_touched(entries) -> None:
    before = list(Entry.objects.values_list())
    with authorizer.opened(), connection.cursor() as cursor:
        suffix = " ON audit_entry" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER audit_entry_append{suffix}")
    call_command("audit_guards", stdout=StringIO())
    assert guards.problems() == []
    assert refused('DELETE FROM audit_entry WHERE "index" = 1')
    assert list(Entry.objects.values_list()) == before


def test_the_guards_can_be_lifted_in_a_test_and_stand_again_afterwards(entries) -> None:
    with lifted():
        Entry.objects.filter(index=2).delete()
    assert guards.problems() == []
    assert refused('DELETE FROM audit_entry WHERE "index" = 1')


@pytest.fixture
def flushed(transactional_db) -> None:
    let_tests_flush()


@pytest.mark.parametrize("time", ["first", "second"])
def test_a_test_with_real_transactions_can_be_flushed(flushed, folders, settings, time) -> None:
    assert not Entry.objects.exists()
    signer.make_keys(settings.KEYS_DIR)
    genesis.begin(realm="test.imprimatur", roster=[], policy_digest="sha256:" + "0" * 64, software="x")
    append(2)
    assert guards.problems() == []
    assert refused('DELETE FROM audit_entry WHERE "index" = 1')
