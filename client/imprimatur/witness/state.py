"""What a witness remembers: of each log, the newest checkpoint it cosigned. One SQLite file.

Invariants: a change is on the disk before `changing` returns, and of two changes at once, by threads or processes, one
waits for the other. The file itself refuses to remember less, or another root for the same size. A witness that forgot
would sign a second history, so a file that is missing is an error and never made again by itself: `create` makes it
together with the key, and it serves that key only.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imprimatur.formats import note

PATIENCE = 5.0  # seconds to wait for another thread's or process's change
EXTRA = 3

_SCHEMA = """
CREATE TABLE witness (vkey TEXT NOT NULL);
CREATE TABLE seen (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL, note TEXT NOT NULL
);
CREATE TRIGGER seen_never_shrinks BEFORE UPDATE ON seen
WHEN NEW.origin IS NOT OLD.origin OR NEW.size < OLD.size OR NEW.time < OLD.time
  OR (NEW.size = OLD.size AND NEW.root IS NOT OLD.root)
BEGIN SELECT RAISE(ABORT, 'a witness never signs backwards or sideways'); END;
CREATE TRIGGER seen_never_forgotten BEFORE DELETE ON seen
BEGIN SELECT RAISE(ABORT, 'a witness never forgets'); END;
"""


class StateError(Exception):
    """The file of what the witness remembers cannot be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest cosigned checkpoint of a log: its tree, when it was cosigned (Unix seconds), and the signed note."""

    size: int
    root: bytes
    time: int
    note: str


class Change:
    """An open transaction: what is read stays true until what is written is on the disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def seen(self, origin: str) -> Seen | None:
        """What is remembered of this log."""
        return _seen(self._connection, origin)

    def remember(self, origin: str, seen: Seen) -> None:
        """Put it in the place of what was remembered. Raises StateError when that would be a step back."""
        try:
            self._connection.execute(
                "INSERT INTO seen (origin, size, root, time, note) VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) "
                "DO UPDATE SET size = excluded.size, root = excluded.root, time = excluded.time, note = excluded.note",
                (origin, seen.size, seen.root, seen.time, seen.note),
            )
        except sqlite3.Error as error:
            raise StateError(str(error)) from error


class State:
    """The file. Every call opens it anew, so threads share nothing, and a file that was taken away is noticed."""

    def __init__(self, path: Path, vkey: note.Vkey) -> None:
        """Open a file that `create` made for this key. Raises StateError."""
        self._path = path
        with self._connection() as connection:
            try:
                rows = connection.execute("SELECT vkey FROM witness").fetchall()
            except sqlite3.Error as error:
                raise StateError(f"{path} is not the state of a witness ({error})") from error
        if rows != [(vkey.format(),)]:
            raise StateError(f"{path} is the state of another witness's key, not of {vkey.name} with this one")

    @classmethod
    def create(cls, path: Path, vkey: note.Vkey) -> State:
        """Make the file for a new key. Raises StateError when there is one already: it may remember something."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise StateError(f"{path} exists already; what a witness remembers is never overwritten") from None
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}") from None
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA synchronous=EXTRA")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO witness (vkey) VALUES (?)", (vkey.format(),))
            connection.commit()
        return cls(path, vkey)

    def seen(self, origin: str) -> Seen | None:
        """What is remembered of this log. Raises StateError."""
        with self._connection() as connection:
            return _seen(connection, origin)

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """A transaction that excludes all others; what it wrote is on the disk once it ended without an error.

        Raises StateError when the file cannot be read or written, and whatever is raised inside: then nothing changed.
        """
        with self._connection() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise StateError(f"{self._path} cannot be changed ({error})") from error
            try:
                yield Change(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StateError(f"{self._path} cannot be written ({error})") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise StateError(
                f"{self._path} is missing. A witness that does not remember what it signed must not sign with this key "
                "again: bring back this very file, never an older copy, or make a new key and file with keygen"
            )
        try:
            connection = sqlite3.connect(
                f"{self._path.resolve().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None
            )
        except sqlite3.Error as error:
            raise StateError(f"{self._path} cannot be opened ({error})") from error
        with closing(connection):
            try:
                # FULL would not sync the removal of the journal: a power cut could undo what was answered already.
                connection.execute("PRAGMA synchronous=EXTRA")
                level = connection.execute("PRAGMA synchronous").fetchone()
            except sqlite3.Error as error:
                raise StateError(f"{self._path} is not the state of a witness ({error})") from error
            if level != (EXTRA,):
                raise StateError("this SQLite cannot promise that what was written is on the disk")
            yield connection


def _seen(connection: sqlite3.Connection, origin: str) -> Seen | None:
    try:
        row = connection.execute("SELECT size, root, time, note FROM seen WHERE origin = ?", (origin,)).fetchone()
    except sqlite3.Error as error:
        raise StateError(f"the state cannot be read ({error})") from error
    return Seen(*row) if row else None
