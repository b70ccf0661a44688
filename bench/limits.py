"""The limits that rates are held against: what this machine, its database and its libraries do without the product."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprimatur.formats import ed25519, merkle
from imprimatur.formats.keys import KeyPair

CHUNK = 1 << 20


@dataclass(frozen=True)
class Took:
    """What something took: seconds on the clock, and seconds of this process's processor."""

    wall: float
    cpu: float


def took(work: Callable[[], object]) -> Took:
    """Do it once, and tell what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


class Bare:
    """A table of bytes and nothing else, written by the driver alone, as durably as the product writes: SQLite with a
    write-ahead log and ``synchronous=FULL``, PostgreSQL with ``synchronous_commit=on``."""

    def __init__(self, place: str) -> None:
        """Make the table in this file (SQLite), or behind this address (PostgreSQL)."""
        self._connection: Any
        if "://" in place:
            import psycopg

            self._connection = psycopg.connect(place, autocommit=True)
            self._connection.execute("SET synchronous_commit = on")
            self._insert = "INSERT INTO bench_bare VALUES (%s, %s)"
            self._transaction: Callable[[], AbstractContextManager[object]] = self._connection.transaction
            self._connection.execute("CREATE TABLE bench_bare (id bigint PRIMARY KEY, raw bytea NOT NULL)")
        else:
            self._connection = sqlite3.connect(place, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._insert = "INSERT INTO bench_bare VALUES (?, ?)"
            self._transaction = nullcontext
            self._connection.execute("CREATE TABLE bench_bare (id integer PRIMARY KEY, raw blob NOT NULL)")
        self._rows = 0

    def insert(self, raws: Sequence[bytes], each: int) -> None:
        """Insert these rows, so many in a transaction."""
        cursor = self._connection.cursor()
        for start in range(0, len(raws), each):
            rows = [(self._rows + at, raw) for at, raw in enumerate(raws[start : start + each])]
            self._rows += len(rows)
            with self._transaction():
                if isinstance(self._connection, sqlite3.Connection):
                    cursor.execute("BEGIN IMMEDIATE")
                    cursor.executemany(self._insert, rows)
                    cursor.execute("COMMIT")
                else:
                    cursor.executemany(self._insert, rows)

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()


def hash_and_write(folder: Path, raws: Sequence[bytes], files: int) -> None:
    """Hash every one of these as a leaf, and write all of them into so many new files, each synced to the disk."""
    for raw in raws:
        merkle.leaf_hash(raw)
    whole = b"".join(raws)
    share = -(-len(whole) // files)
    folder.mkdir(parents=True)
    for number in range(files):
        with (folder / str(number)).open("wb") as stream:
            stream.write(whole[number * share : (number + 1) * share])
            stream.flush()
            os.fsync(stream.fileno())


def copy_and_hash(source: Path, target: Path) -> None:
    """Copy a file, hash it with SHA-256 on the way, and sync the copy to the disk."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(CHUNK):
            digest.update(chunk)
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
    digest.digest()
    target.unlink()


def verify_signatures(message: bytes, count: int, *, pure: bool = False) -> None:
    """Verify so many Ed25519 signatures over such a message: with libsodium, or in pure Python."""
    key = KeyPair.generate()
    signature, public = key.sign(message), key.public_key
    verify = ed25519.verify_pure if pure else ed25519.verify
    for _ in range(count):
        if not verify(public, message, signature):
            raise AssertionError("a good signature was refused")
