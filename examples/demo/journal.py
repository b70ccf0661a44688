"""What the agent did and what it was told, one JSON object a line, for people and tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imprimatur.formats.timestamps import format_time


class Journal:
    """Appends to ``agent.log``. Fields of a deed: time, action, target, verdict, code, note, decided_by, id."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, **fields: Any) -> None:
        """One line; fields without a value are left out."""
        line = {"time": format_time(datetime.now(UTC)), **{k: v for k, v in fields.items() if v is not None}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
