"""What the newest start of the server said it is made of, as its entry has it."""

from __future__ import annotations

from typing import Any

from audit.actions.note_started import KIND
from audit.models import Entry
from audit.selectors import payload_of


def newest() -> dict[str, Any] | None:
    """The body of the newest ``server.started``; None before there is one."""
    entry = Entry.objects.filter(kind=KIND).order_by("-index").first()
    body: dict[str, Any] | None = payload_of(entry)["body"] if entry else None
    return body


def wrong(body: dict[str, Any] | None) -> list[str]:
    """Which installed files were not what their packages say they are."""
    return list(body["packages"]["wrong"]) if body else []
