"""Which commitments of a log came before: a set on disk, since a large log has more of them than memory should hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

MEMORY = 16_000  # kilobytes that the set may keep of itself


class Seen:
    """Texts that were met, in a file that is of no use to anybody afterwards. Use it in a ``with`` block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{MEMORY}"):
            self._database.execute(f"PRAGMA {setting}").fetchall()
        self._database.execute("CREATE TABLE seen (text TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()
        self._path.unlink(missing_ok=True)

    def first(self, texts: Iterable[str]) -> list[str]:
        """Those of these texts that are met for the first time, in their order."""
        found = []
        with closing(self._database.cursor()) as cursor:
            for text in texts:
                cursor.execute("INSERT OR IGNORE INTO seen VALUES (?)", (text,))
                if cursor.rowcount:
                    found.append(text)
        return found
