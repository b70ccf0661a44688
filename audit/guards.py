"""The guards that keep the log append-only inside the database, and the checks that they stand.

They stop accidents and the application's own role, not the owner of the database: against the owner there are
checkpoints held by others. Both vendors refuse UPDATE, DELETE, REPLACE and gaps; PostgreSQL also TRUNCATE, and there
the triggers fire ALWAYS, since `session_replication_role = replica` would otherwise skip them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from audit.errors import LogUnguarded

ENTRY, CHECKPOINT, HEAD = "audit_entry", "audit_checkpoint", "audit_loghead"
COSIGNATURE = "audit_cosignature"
FIRST = (ENTRY, CHECKPOINT, HEAD)  # guarded from the beginning
TABLES = (*FIRST, COSIGNATURE)

_SQLITE = {
    "audit_entry_no_update": """
        CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry
        BEGIN SELECT RAISE(ABORT, 'the log is append-only: an entry never changes'); END""",
    "audit_entry_no_delete": """
        CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry
        BEGIN SELECT RAISE(ABORT, 'the log is append-only: an entry is never deleted'); END""",
    # REPLACE deletes without firing delete triggers, so the next index and a new leaf are demanded before any insert.
    "audit_entry_append": """
        CREATE TRIGGER audit_entry_append BEFORE INSERT ON audit_entry
        WHEN NEW."index" IS NOT (SELECT coalesce(max("index") + 1, 0) FROM audit_entry)
          OR EXISTS (SELECT 1 FROM audit_entry WHERE leaf = NEW.leaf)
        BEGIN SELECT RAISE(ABORT, 'the log is append-only: an entry gets the next index and is new'); END""",
    "audit_checkpoint_no_update": """
        CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE ON audit_checkpoint
        BEGIN SELECT RAISE(ABORT, 'a published checkpoint never changes'); END""",
    "audit_checkpoint_no_delete": """
        CREATE TRIGGER audit_checkpoint_no_delete BEFORE DELETE ON audit_checkpoint
        BEGIN SELECT RAISE(ABORT, 'a published checkpoint is never deleted'); END""",
    "audit_checkpoint_append": """
        CREATE TRIGGER audit_checkpoint_append BEFORE INSERT ON audit_checkpoint
        WHEN NEW.size <= (SELECT coalesce(max(size), -1) FROM audit_checkpoint)
        BEGIN SELECT RAISE(ABORT, 'a checkpoint is larger than all before it'); END""",
    "audit_loghead_no_delete": """
        CREATE TRIGGER audit_loghead_no_delete BEFORE DELETE ON audit_loghead
        BEGIN SELECT RAISE(ABORT, 'the head of the log is never deleted'); END""",
    "audit_loghead_grows": """
        CREATE TRIGGER audit_loghead_grows BEFORE UPDATE ON audit_loghead
        WHEN NEW.size < OLD.size OR NEW.realm IS NOT OLD.realm OR NEW.epoch < OLD.epoch
        BEGIN SELECT RAISE(ABORT, 'the head of the log only grows, and its realm never changes'); END""",
    "audit_loghead_single": """
        CREATE TRIGGER audit_loghead_single BEFORE INSERT ON audit_loghead
        WHEN EXISTS (SELECT 1 FROM audit_loghead)
        BEGIN SELECT RAISE(ABORT, 'there is one log, and it has begun'); END""",
    "audit_cosignature_no_update": """
        CREATE TRIGGER audit_cosignature_no_update BEFORE UPDATE ON audit_cosignature
        BEGIN SELECT RAISE(ABORT, 'a cosignature never changes'); END""",
    "audit_cosignature_no_delete": """
        CREATE TRIGGER audit_cosignature_no_delete BEFORE DELETE ON audit_cosignature
        BEGIN SELECT RAISE(ABORT, 'a cosignature is never deleted'); END""",
    "audit_cosignature_append": """
        CREATE TRIGGER audit_cosignature_append BEFORE INSERT ON audit_cosignature
        WHEN EXISTS (SELECT 1 FROM audit_cosignature
          WHERE id = NEW.id OR (size = NEW.size AND witness = NEW.witness))
        BEGIN SELECT RAISE(ABORT, 'a witness has one cosignature for each checkpoint'); END""",
}

_POSTGRESQL_FUNCTIONS = {
    "audit_refuse": """
        CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$""",
    "audit_entry_append": """
        CREATE OR REPLACE FUNCTION audit_entry_append() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW."index" IS DISTINCT FROM (SELECT coalesce(max("index") + 1, 0) FROM audit_entry) THEN
                RAISE EXCEPTION 'the log is append-only: an entry gets the next index'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""",
    "audit_checkpoint_append": """
        CREATE OR REPLACE FUNCTION audit_checkpoint_append() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.size <= (SELECT coalesce(max(size), -1) FROM audit_checkpoint) THEN
                RAISE EXCEPTION 'a checkpoint is larger than all before it' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""",
    "audit_loghead_grows": """
        CREATE OR REPLACE FUNCTION audit_loghead_grows() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.size < OLD.size OR NEW.realm IS DISTINCT FROM OLD.realm OR NEW.epoch < OLD.epoch THEN
                RAISE EXCEPTION 'the head of the log only grows, and its realm never changes'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""",
    "audit_loghead_single": """
        CREATE OR REPLACE FUNCTION audit_loghead_single() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM audit_loghead) THEN
                RAISE EXCEPTION 'there is one log, and it has begun' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""",
}

FUNCTIONS = frozenset(_POSTGRESQL_FUNCTIONS)

# trigger: (table, when, function)
_POSTGRESQL = {
    "audit_entry_no_change": (ENTRY, "BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW", "audit_refuse"),
    "audit_entry_no_truncate": (ENTRY, "BEFORE TRUNCATE ON audit_entry FOR EACH STATEMENT", "audit_refuse"),
    "audit_entry_append": (ENTRY, "BEFORE INSERT ON audit_entry FOR EACH ROW", "audit_entry_append"),
    "audit_checkpoint_no_change": (
        CHECKPOINT,
        "BEFORE UPDATE OR DELETE ON audit_checkpoint FOR EACH ROW",
        "audit_refuse",
    ),
    "audit_checkpoint_no_truncate": (
        CHECKPOINT,
        "BEFORE TRUNCATE ON audit_checkpoint FOR EACH STATEMENT",
        "audit_refuse",
    ),
    "audit_checkpoint_append": (
        CHECKPOINT,
        "BEFORE INSERT ON audit_checkpoint FOR EACH ROW",
        "audit_checkpoint_append",
    ),
    "audit_loghead_no_delete": (HEAD, "BEFORE DELETE ON audit_loghead FOR EACH ROW", "audit_refuse"),
    "audit_loghead_no_truncate": (HEAD, "BEFORE TRUNCATE ON audit_loghead FOR EACH STATEMENT", "audit_refuse"),
    "audit_loghead_grows": (HEAD, "BEFORE UPDATE ON audit_loghead FOR EACH ROW", "audit_loghead_grows"),
    "audit_cosignature_no_change": (
        COSIGNATURE,
        "BEFORE UPDATE OR DELETE ON audit_cosignature FOR EACH ROW",
        "audit_refuse",
    ),
    "audit_cosignature_no_truncate": (
        COSIGNATURE,
        "BEFORE TRUNCATE ON audit_cosignature FOR EACH STATEMENT",
        "audit_refuse",
    ),
    "audit_loghead_single": (HEAD, "BEFORE INSERT ON audit_loghead FOR EACH ROW", "audit_loghead_single"),
}


def install_statements(vendor: str, tables: Collection[str] = TABLES) -> list[str]:
    """The SQL that installs the guards of these tables. Raises NotImplementedError for a database without guards."""
    if vendor == "sqlite":
        return [statement for name, statement in _SQLITE.items() if _table(name) in tables]
    if vendor == "postgresql":
        statements = list(_POSTGRESQL_FUNCTIONS.values())
        for name, (table, when, function) in _POSTGRESQL.items():
            if table not in tables:
                continue
            statements.append(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {function}()")
            statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
        return statements
    raise NotImplementedError(f"the log cannot be kept append-only on {vendor}: use SQLite or PostgreSQL")


def remove_statements(vendor: str, tables: Collection[str] = TABLES) -> list[str]:
    """The SQL that removes the guards: for undoing a migration, and for tests that must empty the tables.

    The functions go with the guards of the first tables, which all others share them with.
    """
    if vendor == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name in _SQLITE if _table(name) in tables]
    if vendor == "postgresql":
        standing = [(name, table) for name, (table, _, _) in _POSTGRESQL.items() if table in tables]
        triggers = [f"DROP TRIGGER IF EXISTS {name} ON {table}" for name, table in standing]
        functions = _POSTGRESQL_FUNCTIONS if ENTRY in tables else ()
        return triggers + [f"DROP FUNCTION IF EXISTS {name}()" for name in functions]
    raise NotImplementedError(f"there are no guards on {vendor}")


def _table(guard: str) -> str:
    """The table that a guard on SQLite is named after."""
    return "_".join(guard.split("_", 2)[:2])


def run(statements: Sequence[str], using: BaseDatabaseWrapper | None = None) -> None:
    """Execute the statements on this connection."""
    with (using or connection).cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def check_installed() -> None:
    """Called at start: every guard exists, as installed, and an acknowledged commit is on disk. Raises LogUnguarded."""
    found = problems()
    if found:
        raise LogUnguarded(" ".join(found))


def problems() -> list[str]:
    """Say what is wrong with the guards and with durability: an empty list means that all is well."""
    return [*_missing(), *_not_durable()]


def _missing() -> list[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            found = {name: " ".join(sql.split()) for name, sql in cursor.fetchall()}
            bad = [name for name, sql in _SQLITE.items() if found.get(name) != " ".join(sql.split())]
        else:
            cursor.execute(
                "SELECT t.tgname, c.relname, p.proname, p.prosrc, t.tgenabled::text FROM pg_trigger t "
                "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal"
            )
            standing = {name: (*rest, state) for name, *rest, state in cursor.fetchall()}
            bad = [
                name
                for name, (table, _, function) in _POSTGRESQL.items()
                if standing.get(name) != (table, function, _source(function), "A")
            ]
    return [
        f"The guard {name} that keeps the log append-only is missing, altered or switched off. Find out who did it, "
        "compare the log with a checkpoint that somebody else holds, then run `manage.py audit_guards`, which installs "
        "it again."
        for name in bad
    ]


def _source(function: str) -> str:
    """What PostgreSQL keeps as the source of the function: the text between the dollars."""
    return _POSTGRESQL_FUNCTIONS[function].split("$$")[1]


def _not_durable() -> list[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA synchronous")
            synchronous = int(cursor.fetchone()[0])
            if synchronous >= 2 or connection.is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's wrapper only
                return []
            return ["SQLite runs with `synchronous` below FULL: a power cut could undo a decision. Set it to FULL."]
        cursor.execute("SHOW synchronous_commit")
        setting = cursor.fetchone()[0]
        cursor.execute("SHOW fsync")
        fsync = cursor.fetchone()[0]
    problems = []
    if setting not in {"on", "remote_apply", "remote_write"}:
        problems.append(f"PostgreSQL runs with synchronous_commit={setting}: a crash could undo a decision. Set it on.")
    if fsync != "on":
        problems.append("PostgreSQL runs with fsync=off: a power cut could destroy the log. Set it on.")
    return problems
