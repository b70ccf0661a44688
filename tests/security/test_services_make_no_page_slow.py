"""However much services have said, a page reads what it shows and no more (query plans on SQLite, bounds on both)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from audit.log import utc_now
from governance.runtime import reading
from governance.runtime.models import Launch, Observation
from imprimatur.formats import ids
from tests.attesting.conftest import monitor, orchestrator
from tests.attesting.service import ServiceUnderTest
from tests.conftest import World

__all__ = ["monitor", "orchestrator"]


def many(orchestrator: ServiceUnderTest, count: int) -> None:
    """One launch that was attested, and rows that look like it."""
    orchestrator.attest()
    first = Launch.objects.get()
    now = utc_now()
    rows = []
    for number in range(1, count):
        row = Launch.objects.get()
        row.pk, row.index = ids.new_id("lau", now), first.index + 1_000 + number
        row.attested_at = now - timedelta(minutes=10)
        rows.append(row)
    Launch.objects.bulk_create(rows)


def test_no_list_reads_what_was_signed(orchestrator: ServiceUnderTest, world: World) -> None:
    many(orchestrator, 3)
    for launch in [*reading.live(), *reading.unmatched(utc_now()).launches]:
        assert "document" in launch.get_deferred_fields()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans are read as SQLite words them")
def test_no_list_walks_through_every_launch_or_sorts_every_observation_of_one(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, world: World
) -> None:
    now = utc_now()
    queries: list[QuerySet[Any]] = [
        reading.live()[: reading.MOST_LIVE],
        reading.launches().filter(state=Launch.ENDED).order_by("-ended_at")[: reading.SHOWN],
        reading.unseen(now),
        Observation.objects.filter(launch="lau_x").order_by("-index")[:50],
    ]
    for query in queries:
        steps = query.explain().splitlines()
        assert not [step for step in steps if re.search(r"SCAN governance_(launch|observation)\b", step)], steps
        within = [step for step in steps if "TEMP B-TREE" in step and step.split()[1] != "0"]
        assert not within, "the newest observation of each launch is found, and not sorted out"
    plain = queries[-1].explain()
    assert "TEMP B-TREE" not in plain, plain
