"""What an operator must hear of without looking: each trouble under a name that stays, in one plain sentence."""

from __future__ import annotations

from datetime import datetime, timedelta

from audit import built, fsck, published, sinks, witnesses
from audit.models import Entry, LogHead

UNPUBLISHED_FOR = timedelta(minutes=1)


def standing(now: datetime) -> dict[str, str]:
    """The troubles there are now. Empty is good: open log, everything published, witnesses and sinks with us."""
    found: dict[str, str] = {}
    head = LogHead.objects.first()
    if head is None:
        return found
    if head.state == LogHead.FROZEN:
        found["frozen"] = f"The log is frozen, so nothing is decided: {head.frozen_reason}"
    oldest = Entry.objects.filter(index=published.size()).first()
    if oldest is not None and now - oldest.time > UNPUBLISHED_FOR:
        waits = head.size - oldest.index
        found["publication"] = f"{waits} entries wait to be published, the first of them since {oldest.time:%H:%M} UTC."
    quorum = witnesses.standing()
    if quorum is not None and quorum.alarm:
        found["witnesses"] = "The newest checkpoint has been without its quorum of witnesses for too long."
    for sink in sinks.standing():
        if sink.differs:
            found[f"sink {sink.name}"] = f"The copy at {sink.name} is not what this log says: {sink.error}"
        elif sink.late:
            found[f"sink {sink.name}"] = f"The sink {sink.name} has taken nothing for too long: {sink.error}"
    if wrong := built.wrong(built.newest()):
        found["packages"] = f"Installed files are not those of their packages, {len(wrong)} at least: {wrong[0]}."
    last = fsck.last()
    if last is not None and not last.get("good"):
        found["fsck"] = "The last integrity check found differences. Run manage.py audit_fsck to see them."
    return found
