"""What the log room must know about requests to erase their words, and where else this room keeps those words."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import F

from approvals import transitions
from approvals.models import ActionRequest
from audit import retention
from audit.log import Writer
from audit.retention import Erasure, Subject
from governance.models import Ceremony
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states

ENDED = states.TERMINAL | {"UNREPORTED"}
"""Nothing of it can run any more. What stays silent after its redemption has ended too: its report may never come."""


class Requests:
    """Action requests, for retention."""

    def find(self, subjects: Collection[str]) -> dict[str, Subject]:
        """By id; the state is that of the row, so that what time has closed ends when the clock has written it."""
        rows = ActionRequest.objects.filter(pk__in=subjects).order_by().values_list("id", "agent_id", "state")
        return {name: Subject(name, agent, state in ENDED, state) for name, agent, state in rows}

    def forget(self, writer: Writer, erasure: Erasure) -> None:
        """Empty the cards as they were rendered, their targets, and words that wait beside ceremonies."""
        mark = {
            "index": erasure.index,
            "at": format_time(erasure.at),
            "rule": erasure.rule,
            "reason": erasure.reason,
        }
        rows = ActionRequest.objects.filter(pk__in=erasure.subjects)
        rows.filter(state="REFUSED").update(why=[])  # why a parameter was refused may quote it
        rows.update(card={"erased": mark}, target="", version=F("version") + 1)
        for row in rows.order_by():
            transitions.announce(writer, row)
        # Ceremonies live for minutes, so there are few; JSON is searched in Python because SQLite cannot.
        for ceremony in Ceremony.objects.exclude(kept={}):
            if any(packed.get("subject") in erasure.subjects for packed in ceremony.kept.get("openings", [])):
                ceremony.delete()


def hook() -> None:
    """Called once, when the application starts."""
    retention.register(_requests)


_requests = Requests()
