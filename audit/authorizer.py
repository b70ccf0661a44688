"""On SQLite, which has no roles: what an application's connection may never be asked to do to the log.

Any connection could otherwise drop the triggers that guard the log. So each one refuses, when a statement is prepared,
to change or delete entries and checkpoints, to drop or alter the log's tables and their triggers, and to write the
schema by hand. Migrations, and the tests' flush, lift this for themselves alone with :func:`opened`.

It binds this program's connections. Whoever can open the file with another program is not bound: against them there
are checkpoints held by others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from audit.errors import LogUnguarded
from audit.guards import HEAD, TABLES

_TABLES = frozenset(TABLES)
_NEVER_CHANGED = _TABLES - {HEAD}

# Which of the two arguments names the table, for the actions that reshape a table or what hangs on it.
_RESHAPING = {
    sqlite3.SQLITE_DROP_TABLE: 0,
    sqlite3.SQLITE_ALTER_TABLE: 1,
    sqlite3.SQLITE_DROP_TRIGGER: 1,
    sqlite3.SQLITE_DROP_INDEX: 1,
    # A trigger may swallow an insert without a word, so none is added either.
    sqlite3.SQLITE_CREATE_TRIGGER: 1,
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER: 1,
}


def _judge(action: int, first: str | None, second: str | None, schema: str | None, trigger: str | None) -> int:
    """SQLite asks this once per thing a statement does, when the statement is prepared, not when it runs."""
    if action == sqlite3.SQLITE_READ:
        return sqlite3.SQLITE_OK
    table = (first or "").lower()
    if action == sqlite3.SQLITE_UPDATE:
        allowed = table not in _NEVER_CHANGED
    elif action == sqlite3.SQLITE_DELETE:
        allowed = table not in _TABLES
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = table != "writable_schema" or second is None
    elif action in _RESHAPING:
        allowed = ((first, second)[_RESHAPING[action]] or "").lower() not in _TABLES
    else:
        allowed = True
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def bind(sender: Any = None, connection: BaseDatabaseWrapper | None = None, **kwargs: Any) -> None:
    """Called for every connection that is opened (`connection_created`)."""
    if connection is not None and connection.vendor == "sqlite":
        _set(connection, _judge)


@contextmanager
def opened(using: BaseDatabaseWrapper | None = None) -> Iterator[None]:
    """Lift it on this one connection: for migrations, and tests that empty the tables. The triggers still stand."""
    open_one = using or connection
    if open_one.vendor != "sqlite":
        yield
        return
    open_one.ensure_connection()
    _set(open_one, None)
    try:
        yield
    finally:
        if open_one.connection is not None:
            _set(open_one, _judge)


def check_bound() -> None:
    """Called at start, asks by trying (EXPLAIN deletes nothing). Raises LogUnguarded when a connection is not bound."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        try:
            cursor.execute("EXPLAIN DELETE FROM audit_entry")
        except DatabaseError as error:
            if "not authorized" in str(error):
                return
            raise
    raise LogUnguarded("SQLite lets this program delete entries: its connections are opened past `audit.authorizer`.")


def _set(using: BaseDatabaseWrapper, judge: Callable[..., int] | None) -> None:
    using.connection.set_authorizer(judge)
