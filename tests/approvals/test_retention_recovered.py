"""After a restored backup, what came back of the log counts for erasing too: its holds, and what it had erased."""

from __future__ import annotations

import pytest

from approvals.models import ActionRequest
from audit import fsck, publisher, recovery
from audit.errors import Declined, PublishRefused
from audit.models import Checkpoint, Entry, Hold, LogHead, Opening
from tests.append_only import lifted
from tests.approvals.test_retention import denied, hold, lift, wish
from tests.conftest import World


class Backup:
    """The database of a moment, to be put back: the published files stay as they are."""

    def __init__(self, world: World) -> None:
        world.publish()
        self.size = LogHead.objects.get().size
        self.rows = [*Hold.objects.all(), *Opening.objects.all(), *ActionRequest.objects.all()]

    def restore_and_recover(self) -> None:
        publisher.Publisher().publish_once()
        Hold.objects.all().delete()
        for row in self.rows:
            row.save()
        with lifted():
            last = Entry.objects.get(index=self.size - 1)
            Entry.objects.filter(index__gte=self.size).delete()
            Checkpoint.objects.filter(size__gt=self.size).delete()
            LogHead.objects.update(size=self.size, last_leaf=last.leaf, last_time=last.time)
        with pytest.raises(PublishRefused, match="restored backup"):
            publisher.Publisher().publish_once()
        recovery.recover()
        recovery.reopen()


def test_a_hold_that_came_back_holds_and_is_lifted_once(world: World) -> None:
    row = denied(world)
    old = hold(world, "everything")
    backup = Backup(world)
    lift(world, old)
    hold(world, "request", row.id)
    backup.restore_and_recover()
    with pytest.raises(Declined, match="legal hold"):
        wish(world, row.id)
    with pytest.raises(Declined, match="already"):
        lift(world, old)
    assert fsck.run().findings == []
    lift(world, Hold.objects.get(lifted_at=None))
    wish(world, row.id)
    assert publisher.Publisher().publish_once() == LogHead.objects.get().size


def test_words_that_a_backup_brought_back_are_erased_again(world: World) -> None:
    row = denied(world)
    backup = Backup(world)
    erasure = wish(world, row.id)
    backup.restore_and_recover()
    left = Opening.objects.filter(subject=row.id)
    assert set(left.values_list("value", "erased_at")) == {(None, erasure.at)}
    assert set(ActionRequest.objects.get(pk=row.id).card) == {"erased"}
    assert fsck.run().findings == []
