from __future__ import annotations

from audit.models import Entry, LogHead


def test_the_cast_can_be_brought_in_and_every_step_is_in_the_log(world):
    kinds = list(Entry.objects.values_list("kind", flat=True))
    assert kinds[0] == "log.genesis"
    assert kinds.count("person.added") == len(world.people)
    assert kinds[-1] == "delegation.issued"
    assert LogHead.objects.get().size == len(kinds)
