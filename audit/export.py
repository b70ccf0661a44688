"""The log for other tools: JSON lines and CSV, streamed page by page, oldest first."""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Iterator

from django.db.models import QuerySet

from audit import kinds
from audit.models import Entry
from audit.selectors import payload_of
from imprimatur.formats import canonical
from imprimatur.formats.encoding import b64
from imprimatur.formats.timestamps import format_time
from imprimatur.inert import inert

PAGE = 500

COLUMNS = ("index", "time", "kind", "subject", "actor_type", "actor", "agent", "verdict", "risk", "sentence", "leaf")


def pages(found: QuerySet[Entry]) -> Iterator[list[Entry]]:
    """The rows in pages by index. Stable while the log grows, and constant in memory."""
    after = -1
    while True:
        page = list(found.order_by("index").filter(index__gt=after)[:PAGE])
        if not page:
            return
        yield page
        after = page[-1].index


def jsonl(found: QuerySet[Entry]) -> Iterator[bytes]:
    """One JSON object per line: index, leaf hash, payload, and the exact envelope in base64, to verify it by."""
    for page in pages(found):
        yield b"".join(
            canonical.dumps(
                {
                    "index": row.index,
                    "leaf": row.leaf,
                    "entry": payload_of(row),
                    "envelope": b64(bytes(row.envelope)),
                }
            )
            + b"\n"
            for row in page
        )


def csv(found: QuerySet[Entry]) -> Iterator[bytes]:
    """Comma-separated values with a heading, in UTF-8. Every text is inert: no formula, no hidden character."""
    yield _lines([COLUMNS])
    for page in pages(found):
        yield _lines([_row(row) for row in page])


def _row(row: Entry) -> tuple[str, ...]:
    texts = (
        row.kind,
        row.subject,
        row.actor_type,
        row.actor_id,
        row.agent,
        row.verdict,
        row.risk,
        kinds.sentence(payload_of(row)),
        row.leaf,
    )
    return (str(row.index), format_time(row.time), *(inert(text, "csv") for text in texts))


def _lines(rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    csv_module.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8")
