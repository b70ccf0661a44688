"""What many tests begin with, built once through the real actions and put back for each test: its rows and its files.

Building an installation and its cast takes a hundred times as long as inserting the rows it left behind. What is put
back is exactly what was built: the same entries, signed by the same keys, which lie in the same files of the test's own
folders. A template is at most ``OLDEST`` old, so that its times are those of an installation that began just now, and
it is not used by a test that moved the clock or changed what the template was built under.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.db import connection, transaction

from audit.guards import HEAD
from audit.log import utc_now
from audit.models import Entry, LogHead

T = TypeVar("T")
OLDEST = timedelta(seconds=20)

# What the building of an installation reads, besides its arguments. Folders are the test's own, and are compared apart.
READ = ("REALM", "ORIGINS", "RP_ID", "ATTESTATION_ROOTS", "PASSWORD_HASHERS", "SIGNER")


@dataclass(frozen=True)
class _Table:
    """The rows a build added to a table, as SQLite stores them."""

    statement: str
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class _Template(Generic[T]):
    built_at: datetime
    tables: list[_Table]
    folders: list[tuple[str, int]]
    files: list[tuple[str, int, bytes]]
    result: T


_templates: dict[Hashable, _Template[Any]] = {}


def begun(name: Hashable, build: Callable[[], T], again: Callable[[T], T]) -> T:
    """What ``build`` gives, built now or put back. ``again`` makes a test's own copy of what it returned.

    Needs a database and folders in which nothing has begun.
    """
    folder = Path(settings.DATA_DIR)
    if connection.vendor != "sqlite" or not _usual(folder):
        return build()
    key = (name, *(repr(getattr(settings, each, None)) for each in READ))
    found: _Template[T] | None = _templates.get(key)
    if found is not None and timedelta() <= utc_now() - found.built_at <= OLDEST:
        _put_back(found, folder)
        return again(found.result)
    built_at, before, there = utc_now(), _dump(), set(folder.rglob("*"))
    result = build()
    tables = [_added(table, rows, before[table]) for table, rows in _dump().items() if rows != before[table]]
    _templates[key] = _Template(built_at, tables, *_read(folder, there), again(result))
    return result


def _usual(folder: Path) -> bool:
    """Whether the folders lie where all tests have them, and nothing has begun."""
    places = {"LOG_DIR": "log", "KEYS_DIR": "keys"}
    if any(Path(getattr(settings, each)) != folder / name for each, name in places.items()):
        return False
    return not LogHead.objects.exists() and not Entry.objects.exists() and not (folder / "keys").exists()


def _dump() -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, the head of the log last: triggers move it when the rows of others are inserted."""
    tables = sorted(connection.introspection.table_names(), key=lambda table: (table == HEAD, table))
    return {table: _raw(f'SELECT {_plain(table)} FROM "{table}" ORDER BY rowid') for table in tables}


def _added(table: str, rows: list[tuple[Any, ...]], before: list[tuple[Any, ...]]) -> _Table:
    known = set(before)
    added = [row for row in rows if row not in known]
    assert len(added) + len(before) == len(rows), f"what was in {table} before was changed: it cannot be put back"
    marks = ", ".join("?" * len(rows[0]))
    return _Table(f'INSERT INTO "{table}" ({", ".join(_columns(table))}) VALUES ({marks})', added)


def _plain(table: str) -> str:
    """The columns without their declared types, so that values come as they are stored and go back unchanged."""
    return ", ".join(f"+{column}" for column in _columns(table))


def _columns(table: str) -> list[str]:
    return [f'"{row[1]}"' for row in _raw(f'PRAGMA table_info("{table}")')]


def _raw(statement: str) -> list[tuple[Any, ...]]:
    connection.ensure_connection()
    found: list[tuple[Any, ...]] = connection.connection.execute(statement).fetchall()
    return found


def _read(folder: Path, there: set[Path]) -> tuple[list[tuple[str, int]], list[tuple[str, int, bytes]]]:
    folders: list[tuple[str, int]] = []
    files: list[tuple[str, int, bytes]] = []
    for path in sorted(set(folder.rglob("*")) - there):
        name, mode = str(path.relative_to(folder)), path.stat().st_mode & 0o777
        if path.is_dir():
            folders.append((name, mode))
        else:
            files.append((name, mode, path.read_bytes()))
    return folders, files


def _put_back(template: _Template[Any], folder: Path) -> None:
    for name, mode in template.folders:
        (folder / name).mkdir(mode=mode, exist_ok=True)
    for name, mode, content in template.files:
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    with transaction.atomic():
        for table in template.tables:
            connection.connection.executemany(table.statement, table.rows)
