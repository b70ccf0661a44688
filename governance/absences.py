"""Who is out of office, and who is asked instead. It changes who is told, and never who may answer."""

from __future__ import annotations

from datetime import datetime, timedelta

from governance.models import Away, Person

LONGEST = timedelta(days=90)


def away_at(now: datetime) -> dict[str, Away]:
    """Who is away now, by their id, with whoever stands in. In one query."""
    rows = Away.objects.select_related("delegate", "person").filter(ended_at=None, starts_at__lte=now, ends_at__gt=now)
    return {row.person_id: row for row in rows}


def standing(person: Person, now: datetime) -> Away | None:
    """The one absence of this person that has not ended: they are away now, or will be."""
    return Away.objects.select_related("delegate").filter(person=person, ended_at=None, ends_at__gt=now).first()


def standing_of_all(now: datetime) -> dict[str, Away]:
    """The same for everybody who has one, by their id. In one query."""
    rows = Away.objects.select_related("delegate").filter(ended_at=None, ends_at__gt=now)
    return {row.person_id: row for row in rows}
