"""What ended real Certificate Transparency logs, done to this one (the list is C2SP issue 79).

Each must end in one of two ways: the log goes on with exactly the tree that it signed, or it stops and says why.
Whatever happens, no second tree is signed for a size, and the newest checkpoint that others hold stays a beginning of
every later one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from audit import fsck, genesis, log, mirrors, recovery, signer
from audit.errors import LogFrozen, PublishRefused
from audit.models import Checkpoint, Entry, LogHead
from audit.publisher import HighWater, Publisher, read_tile
from imprimatur.formats import canonical, digests, dsse, merkle, note, tiles
from imprimatur.formats.checkpoint import open_checkpoint
from tests.append_only import lifted
from tests.audit.acts import append, append_together
from tests.audit.conftest import REALM
from tests.audit.test_publisher import assert_published, files
from tests.audit.test_recovery import restore_backup_of

SIZE = 301


@pytest.fixture(autouse=True)
def entries_without_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entries of these tests speak of people who have no rows."""
    monkeypatch.setattr(mirrors, "_registered", {})


@pytest.fixture
def published(begun: object, folders: Path) -> bytes:
    """A log of 301 entries under a checkpoint, and that checkpoint as its witnesses and readers hold it."""
    append_together(SIZE - 1)
    Publisher().publish_once()
    return (folders / "log" / "checkpoint").read_bytes()


def tree_head(raw: bytes) -> tuple[int, bytes]:
    opened, _ = open_checkpoint(raw, [note.Vkey(REALM, signer.log_key().public_key)], origin=REALM)
    return opened.size, opened.root


def assert_stopped(folders: Path, held: bytes) -> None:
    """Nothing was signed since, and nothing more is decided."""
    assert (folders / "log" / "checkpoint").read_bytes() == held
    assert not Checkpoint.objects.exclude(size=tree_head(held)[0]).exists()
    with pytest.raises(LogFrozen):
        append(1, "after_all_")


def assert_continues(folders: Path, held: bytes) -> None:
    """What is published now began as whoever held the earlier checkpoint remembers it."""
    old_size, old_root = tree_head(held)
    size, root = tree_head((folders / "log" / "checkpoint").read_bytes())
    assert_published(folders, size)
    proof = tiles.HashReader(read_tile, size).consistency_proof(old_size)
    assert size > old_size
    assert merkle.verify_consistency(old_size, size, old_root, root, proof)


def rewrite_history_from(index: int) -> None:
    """What only whoever holds the database and the decision key can do: other entries, well formed and well signed."""
    key = signer.decision_key()
    with lifted():
        last = Entry.objects.get(index=index - 1).leaf
        for row in Entry.objects.filter(index__gte=index).order_by("index"):
            payload = canonical.loads(dsse.open_envelope(bytes(row.envelope)).payload)
            payload["prev"] = last
            if row.index == index:
                payload["body"]["name"] = "Somebody else"
            raw = dsse.seal(canonical.dumps(payload), key.sign, key.keyid, dsse.PAYLOAD_TYPE)
            last = merkle.leaf_hash(raw).hex()
            Entry.objects.filter(index=row.index).update(envelope=raw, leaf=last)
        LogHead.objects.update(last_leaf=last)


# --- Venafi, TrustAsia 2020 and 2021: a tree that contradicts what was incorporated before was signed ---------------


def test_invariant_6_venafi_and_trustasia_no_tree_is_signed_that_contradicts_an_incorporated_entry(
    published: bytes, folders: Path
) -> None:
    rewrite_history_from(10)
    append(3, "later_")
    with pytest.raises(PublishRefused):
        Publisher().publish_once()
    assert_stopped(folders, published)
    assert {"file tile/0/000", "checkpoint 301", "high-water.json"} <= {one.where for one in fsck.run().findings}


def test_invariant_6_venafi_and_trustasia_not_even_when_tiles_and_mark_were_rewritten_alike(
    published: bytes, folders: Path
) -> None:
    rewrite_history_from(10)
    for path in (folders / "log" / "tile").rglob("*"):
        if path.is_file():
            path.unlink()
    forged = merkle.root_of(
        bytes.fromhex(leaf) for leaf in Entry.objects.order_by("index").values_list("leaf", flat=True)
    )
    HighWater(REALM, SIZE, forged).write(folders / "high-water.json")
    with pytest.raises(PublishRefused, match="another root was already signed"):
        Publisher().publish_once()
    assert_stopped(folders, published)


# --- Yeti 2022 #2, Yeti 2023: the database was deleted by accident --------------------------------------------------


def delete_database() -> None:
    """Every table of the log is empty, as after a migration."""
    with lifted():
        for model in (Checkpoint, Entry, LogHead):
            model.objects.all().delete()


@pytest.mark.parametrize("grown", [0, SIZE + 50], ids=["shorter", "longer"])
def test_invariant_6_yeti_a_log_that_is_begun_again_over_the_files_of_a_deleted_one_signs_nothing(
    published: bytes, folders: Path, grown: int
) -> None:
    delete_database()
    before = files(folders / "log")
    genesis.begin(realm=REALM, roster=[], policy_digest=digests.sha256(b"policy"), software="imprimatur")
    append(grown, "again_")
    with pytest.raises(PublishRefused):
        Publisher().publish_once()
    assert_stopped(folders, published)
    assert files(folders / "log") == before


def test_invariant_6_yeti_a_deleted_database_comes_back_from_an_old_copy_and_the_published_files(
    published: bytes, folders: Path
) -> None:
    leaves = list(Entry.objects.values_list("index", "leaf"))
    restore_backup_of(1)  # the oldest copy that there can be: the founding alone
    with pytest.raises(PublishRefused, match="restored backup"):
        Publisher().publish_once()
    assert recovery.recover() == recovery.Recovered(1, SIZE)
    assert list(Entry.objects.values_list("index", "leaf")) == leaves
    recovery.reopen()
    append(1, "later_")
    Publisher().publish_once()
    assert_continues(folders, published)


# --- Yeti 2022, Nessie 2024: a bit flipped in what was incorporated already -----------------------------------------


def flip_file(path: str) -> Callable[[Path], str]:
    def flip(folders: Path) -> str:
        file = folders / "log" / path
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 0x10
        file.write_bytes(raw)
        return f"file {path}"

    return flip


def flip_row(index: int) -> Callable[[Path], str]:
    def flip(folders: Path) -> str:
        raw = bytearray(Entry.objects.get(index=index).envelope)
        raw[len(raw) // 2] ^= 0x10
        with lifted():
            Entry.objects.filter(index=index).update(envelope=bytes(raw))
        return f"entry {index}"

    return flip


FLIPS = {
    "row in a full tile": flip_row(100),
    "row in the tile that grows": flip_row(SIZE - 1),
    "full tile": flip_file("tile/0/000"),
    "tile that grows": flip_file("tile/0/001.p/45"),
    "upper tile": flip_file("tile/1/000.p/1"),
    "full entry bundle": flip_file("tile/entries/000"),
    "entry bundle that grows": flip_file("tile/entries/001.p/45"),
}


@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS.keys())
def test_invariant_6_yeti_and_nessie_a_flipped_bit_is_named_and_never_signed(
    begun: object, folders: Path, flip: Callable[[Path], str], restarted: bool
) -> None:
    publisher = Publisher()
    append_together(SIZE - 1)
    publisher.publish_once()
    held = (folders / "log" / "checkpoint").read_bytes()
    leaves = [bytes.fromhex(leaf) for leaf in Entry.objects.order_by("index").values_list("leaf", flat=True)]

    where = flip(folders)
    assert where in {one.where for one in fsck.run().findings}
    made = append(1, "later_")
    try:
        size = (Publisher() if restarted else publisher).publish_once()
    except PublishRefused:
        assert_stopped(folders, held)
    else:
        # The bit was not needed: what was signed is the tree of the true bytes.
        shown = tree_head((folders / "log" / "checkpoint").read_bytes())
        assert shown == (size, merkle.root_of([*leaves, bytes.fromhex(made[0].leaf)]))


# --- Mammoth 2024h1: queued entries were damaged when the disk was full ---------------------------------------------


@pytest.mark.skipif(connection.vendor != "sqlite", reason="fills SQLite's own file")
def test_invariant_6_mammoth_an_entry_that_does_not_fit_on_the_disk_is_not_acknowledged_and_damages_none(
    published: bytes, folders: Path
) -> None:
    append(2, "queued_")
    queued = list(Entry.objects.values_list("index", "leaf"))
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        [pages] = cursor.fetchone()
        cursor.execute("PRAGMA freelist_count")
        [free] = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        try:
            with pytest.raises(OperationalError, match="full"):
                append_one_by_one_until_full(free)
        finally:
            cursor.execute("PRAGMA max_page_count = 1073741823")
    found = list(Entry.objects.values_list("index", "leaf"))
    assert found[: len(queued)] == queued
    append(1, "room_again_")
    assert Publisher().publish_once() == len(found) + 1
    assert fsck.run().findings == []
    assert_continues(folders, published)


def append_one_by_one_until_full(free: int) -> None:
    for number in range(free + 200):
        size = LogHead.objects.get().size
        [made] = append(1, f"tight_{number}_")
        assert made.index == size


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_invariant_6_mammoth_a_full_disk_leaves_no_half_a_tile(
    published: bytes, folders: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    append(2, "queued_")
    before = files(folders / "log")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "rename":
            patch.setattr(Path, "replace", full)
        elif call == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(os, "fdopen", full)
        with pytest.raises(OSError, match="No space"):
            Publisher().publish_once()
    assert files(folders / "log") == before
    assert LogHead.objects.get().state == LogHead.OPEN
    assert Publisher().publish_once() == SIZE + 2
    assert_continues(folders, published)


def test_invariant_6_mammoth_a_queued_entry_that_was_cut_short_is_never_incorporated(
    published: bytes, folders: Path
) -> None:
    append(3, "queued_")
    with lifted():
        row = Entry.objects.get(index=SIZE + 1)
        Entry.objects.filter(index=row.index).update(envelope=bytes(row.envelope)[:4096][:-50])
    with pytest.raises(PublishRefused, match=f"entry {SIZE + 1} "):
        Publisher().publish_once()
    assert_stopped(folders, published)


# --- StartCom, WoSign, Nessie 2023: queued entries were lost ---------------------------------------------------------


def test_invariant_6_startcom_and_wosign_what_was_queued_when_the_publisher_died_is_published_by_the_next(
    published: bytes, folders: Path
) -> None:
    class Died(Exception):
        pass

    def die(step: str) -> None:
        raise Died(step)

    queued = append(20, "queued_")
    with pytest.raises(Died):
        Publisher(die).publish_once()
    queued += append(20, "more_")
    assert Publisher().publish_once() == SIZE + 40
    reader = tiles.HashReader(read_tile, SIZE + 40)
    assert [reader.node(0, made.index).hex() for made in queued] == [made.leaf for made in queued]
    assert_continues(folders, published)


@pytest.mark.parametrize("lost", [SIZE, SIZE + 2, SIZE + 4], ids=["first", "middle", "last"])
def test_invariant_6_nessie_a_queued_entry_that_is_lost_stops_the_log(
    published: bytes, folders: Path, lost: int
) -> None:
    append(5, "queued_")
    with lifted():
        Entry.objects.filter(index=lost).delete()
    with pytest.raises(PublishRefused, match=f"entry {lost} is missing"):
        Publisher().publish_once()
    assert_stopped(folders, published)
    assert f"entry {lost}" in {one.where for one in fsck.run().findings}


# --- A database that was put back to an earlier day, and went on -----------------------------------------------------


@pytest.mark.parametrize("grown", [0, 10, 2 * SIZE], ids=["as it was", "shorter", "longer"])
def test_invariant_6_a_database_rewound_to_a_backup_never_gives_a_second_tree_of_one_size(
    published: bytes, folders: Path, grown: int
) -> None:
    before = files(folders / "log")
    restore_backup_of(40)
    append_together(grown, "another_history_")
    for _ in range(2):
        with pytest.raises(PublishRefused):
            Publisher().publish_once()
        LogHead.objects.update(state=LogHead.OPEN)  # even for whoever opens it by hand
    log.freeze("by hand")
    with pytest.raises(PublishRefused):
        recovery.reopen()
    assert files(folders / "log") == before
    assert_stopped(folders, published)
