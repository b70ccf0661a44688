"""A bar on the terminal that says how far a verification is, from work that is done: bytes read, entries checked."""

from __future__ import annotations

import time
from typing import TextIO

_WIDTH = 30
_BETWEEN = 0.1  # seconds
STAGES = {
    "files": "reading every byte",
    "tree": "checking the tree",
    "entries": "applying the rules",
}
"""What a verification does one after the other, and the words for it."""


class Bar:
    """Draws over one line, a few times a second, and leaves nothing behind. Call it with what is done so far."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0
        self._last = 0.0
        self._stage = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what == self._stage and now - self._last < _BETWEEN and done < total:
            return
        self._stage, self._last = what, now
        share = min(1.0, done / total) if total else 1.0
        full = int(share * _WIDTH)
        place = list(STAGES).index(what) + 1
        line = f"[{'#' * full}{'-' * (_WIDTH - full)}] {share:4.0%} {place}/{len(STAGES)} {STAGES[what]}"
        self._draw(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._draw("")
            self._stream.write("\r")
            self._stream.flush()

    def _draw(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(line)
