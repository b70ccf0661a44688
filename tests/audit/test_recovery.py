from __future__ import annotations

import pytest

from audit import log, recovery
from audit.errors import LogFrozen, PublishRefused
from audit.models import Checkpoint, Entry, LogHead
from audit.publisher import Publisher
from tests.append_only import lifted
from tests.audit.acts import append
from tests.audit.test_publisher import assert_published


def restore_backup_of(size: int) -> None:
    """Put the database back to what it was when it held this many entries."""
    with lifted():
        last = Entry.objects.get(index=size - 1)
        Entry.objects.filter(index__gte=size).delete()
        Checkpoint.objects.filter(size__gt=size).delete()
        LogHead.objects.update(size=size, last_leaf=last.leaf, last_time=last.time)


@pytest.fixture
def published(begun, folders) -> list[tuple[int, str, str, str]]:
    append(300)
    Publisher().publish_once()
    return rows()


def rows() -> list[tuple[int, str, str, str]]:
    return list(Entry.objects.values_list("index", "leaf", "kind", "subject"))


def test_invariant_6_a_restored_backup_gets_its_entries_back_and_the_same_root(published, folders) -> None:
    restore_backup_of(40)
    with pytest.raises(PublishRefused):
        Publisher().publish_once()
    assert recovery.recover() == recovery.Recovered(40, 301)
    assert rows() == published
    with pytest.raises(LogFrozen):
        append(1, "early_")
    recovery.reopen()
    append(1, "later_")
    Publisher().publish_once()
    assert_published(folders, 302)


def test_invariant_6_a_fork_is_never_recovered_nor_reopened(published, folders) -> None:
    restore_backup_of(40)
    append(2, "forked_")
    with pytest.raises(PublishRefused):
        Publisher().publish_once()
    with pytest.raises(PublishRefused, match="forked"):
        recovery.recover()
    with pytest.raises(PublishRefused, match="restored backup"):
        recovery.reopen()
    assert LogHead.objects.get().state == LogHead.FROZEN


def test_invariant_6_damaged_files_are_not_recovered_from(published, folders) -> None:
    restore_backup_of(40)
    log.freeze("by hand")
    [path] = (folders / "log" / "tile" / "entries" / "001.p").iterdir()
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    with pytest.raises(PublishRefused, match="take them from a mirror"):
        recovery.recover()
    assert Entry.objects.count() == 40


def test_an_open_log_needs_no_recovery(published) -> None:
    with pytest.raises(PublishRefused, match="is open"):
        recovery.recover()
    log.freeze("by hand")
    assert recovery.recover() == recovery.Recovered(301, 301)
    recovery.reopen()
    append(1, "later_")
