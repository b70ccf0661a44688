from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from audit import log, proofs, publisher, signer
from audit.errors import LogFrozen, NotPublished, PublishRefused
from audit.models import Checkpoint, Entry, LogHead
from audit.publisher import Publisher
from imprimatur.formats import canonical, merkle, note, tiles, tlog_proof
from imprimatur.formats.checkpoint import open_checkpoint
from tests.append_only import lifted
from tests.audit.acts import append, append_together
from tests.audit.conftest import REALM

STEPS = ("tiles", "bundle", "tile", "mark", "sign", "row", "show")


class Crash(Exception):
    """The process died here."""


def vkey() -> note.Vkey:
    return note.Vkey(REALM, signer.log_key().public_key)


def crash_at(step: str, time: int = 1):
    left = [time]

    def at_step(name: str) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(name)

    return at_step


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_published(folder: Path, size: int) -> None:
    """The published log is complete and right, by other code than that which wrote it."""
    checkpoint, _ = open_checkpoint((folder / "log" / "checkpoint").read_bytes(), [vkey()], origin=REALM)
    envelopes = [bytes(row.envelope) for row in Entry.objects.all()[:size]]
    hashes = [merkle.leaf_hash(raw) for raw in envelopes]
    assert checkpoint.size == size == Checkpoint.objects.order_by("-size")[0].size
    assert checkpoint.root == merkle.root_of(hashes)
    for level, index, width in tiles.tiles_for(0, size):
        raw = (folder / "log" / tiles.tile_path(level, index, width)).read_bytes()
        assert len(raw) == 32 * width
        if level == 0:
            assert raw == b"".join(hashes[256 * index : 256 * index + width])
    read: list[bytes] = []
    for index, width in tiles.bundles_for(0, size):
        read += tiles.bundle_decode((folder / "log" / tiles.entries_path(index, width)).read_bytes())
    assert read == envelopes
    assert tiles.HashReader(publisher.read_tile, size).root() == checkpoint.root


def test_every_committed_entry_is_published_in_tiles_under_a_signed_checkpoint(begun, folders) -> None:
    assert Publisher().publish_once() == 1
    append(3)
    assert publisher.lag() == 3
    assert Publisher().publish_once() == 4
    assert publisher.lag() == 0
    assert_published(folders, 4)


def test_a_publisher_that_runs_on_gives_the_same_files_as_one_that_starts_anew(begun, folders) -> None:
    running = Publisher()
    for count in (200, 100, 1, 300, 700):
        append_together(count, f"p{count}_")
        running.publish_once()
        Publisher().publish_once()
        assert_published(folders, LogHead.objects.get().size)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [0, 5])
def test_invariant_6_a_crash_before_any_step_is_repaired_by_the_next_start(begun, folders, step, before) -> None:
    if before:
        append(before, "before_")
        Publisher().publish_once()
    append_together(260)
    with pytest.raises(Crash):
        Publisher(crash_at(step)).publish_once()
    shown = folders / "log" / "checkpoint"
    if shown.exists():
        seen, _ = open_checkpoint(shown.read_bytes(), [vkey()], origin=REALM)
        assert seen.size == before + 1
    append(2, "after_")
    assert Publisher().publish_once() == before + 263
    assert_published(folders, before + 263)


@pytest.mark.parametrize("step", ["bundle", "tile"])
def test_invariant_6_a_crash_between_two_files_is_repaired(begun, folders, step) -> None:
    append_together(520)
    for time in (2, 3):
        with pytest.raises(Crash):
            Publisher(crash_at(step, time)).publish_once()
    Publisher().publish_once()
    assert_published(folders, 521)


def test_invariant_6_after_a_crash_exactly_the_marked_tree_is_signed(begun, folders) -> None:
    append(3)
    with pytest.raises(Crash):
        Publisher(crash_at("sign")).publish_once()
    mark = canonical.loads((folders / "high-water.json").read_bytes())
    append(4, "later_")
    seen: list[int] = []
    Publisher(lambda step: seen.append(Checkpoint.objects.count()) if step == "tiles" else None).publish_once()
    assert seen == [1]
    first = Checkpoint.objects.order_by("size")[0]
    assert (first.size, first.root) == (mark["size"], mark["root"]) == (4, first.root)
    old, _ = open_checkpoint(first.note, [vkey()])
    new, _ = open_checkpoint(proofs.latest_checkpoint().note, [vkey()])
    assert merkle.verify_consistency(old.size, new.size, old.root, new.root, proofs.consistency(4))


def test_invariant_6_a_publisher_object_that_failed_goes_on_by_itself(begun, folders) -> None:
    append(3)
    failing = Publisher(crash_at("mark"))
    with pytest.raises(Crash):
        failing.publish_once()
    assert failing.publish_once() == 4
    assert_published(folders, 4)


def test_invariant_6_a_restored_backup_freezes_the_log(begun, folders) -> None:
    append(5)
    Publisher().publish_once()
    with lifted():
        Entry.objects.filter(index__gte=3).delete()
        Checkpoint.objects.all().delete()
        LogHead.objects.update(size=3, last_leaf=Entry.objects.get(index=2).leaf)
    with pytest.raises(PublishRefused, match="restored backup"):
        Publisher().publish_once()
    with pytest.raises(LogFrozen, match="restored backup"):
        append(1, "forked_")


def test_invariant_6_a_backup_that_grew_again_is_a_fork_and_freezes_the_log(begun, folders) -> None:
    append(5)
    Publisher().publish_once()
    with lifted():
        Entry.objects.filter(index__gte=3).delete()
        LogHead.objects.update(size=3, last_leaf=Entry.objects.get(index=2).leaf)
    append(8, "forked_")
    with pytest.raises(PublishRefused):
        Publisher().publish_once()
    assert LogHead.objects.get().state == LogHead.FROZEN
    shown, _ = open_checkpoint((folders / "log" / "checkpoint").read_bytes(), [vkey()])
    assert shown.size == 6


def test_invariant_6_bytes_changed_in_the_database_are_never_signed(begun, folders) -> None:
    append(3)
    with lifted():
        Entry.objects.filter(index=2).update(envelope=b"{}")
    with pytest.raises(PublishRefused, match="entry 2 were changed"):
        Publisher().publish_once()
    assert not (folders / "log" / "checkpoint").exists()


def test_invariant_6_a_lost_high_water_mark_freezes_instead_of_signing_again(begun, folders) -> None:
    append(3)
    Publisher().publish_once()
    (folders / "high-water.json").unlink()
    with pytest.raises(PublishRefused, match="lost or old"):
        Publisher().publish_once()


def test_invariant_6_a_tile_that_was_changed_on_disk_is_noticed(begun, folders) -> None:
    append(3)
    Publisher().publish_once()
    tile = folders / "log" / tiles.tile_path(0, 0, 4)
    raw = tile.read_bytes()
    tile.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(PublishRefused, match="root that was signed last"):
        Publisher().publish_once()


def test_lost_tiles_are_written_again_with_the_same_bytes(begun, folders) -> None:
    append_together(300)
    Publisher().publish_once()
    before = files(folders / "log" / "tile")
    for path in (folders / "log" / "tile").rglob("*"):
        if path.is_file():
            path.unlink()
    Publisher().publish_once()
    assert files(folders / "log" / "tile") == before


def test_the_notary_refuses_to_sign_a_history_that_breaks_a_rule(begun, folders) -> None:
    append(2)
    Publisher().publish_once()
    append(1, "pe_")  # the same person a second time
    with pytest.raises(PublishRefused, match="entry 3 breaks rule"):
        Publisher().publish_once()
    head = LogHead.objects.get()
    assert head.state == LogHead.FROZEN
    assert "entry 3" in head.frozen_reason
    assert_published(folders, 3)


def test_the_notary_takes_up_its_snapshot_and_reads_all_again_without_it(begun, folders, monkeypatch) -> None:
    monkeypatch.setattr("audit.notary.ENTRIES_BETWEEN_SNAPSHOTS", 10)
    append_together(30)
    Publisher().publish_once()
    snapshot = folders / "notary.json"
    assert canonical.loads(snapshot.read_bytes())["size"] == 31
    append(1)
    assert Publisher().publish_once() == 32
    snapshot.write_bytes(b"{broken")
    append(1, "again_")
    assert Publisher().publish_once() == 33
    assert_published(folders, 33)


def test_only_one_publisher_works_at_a_time(begun, folders) -> None:
    append(2)
    with publisher._only_publisher() as alone:
        assert alone
        assert Publisher().publish_once() == 0
    assert Publisher().publish_once() == 3


def test_partial_tiles_are_kept_for_a_moment_and_no_longer(begun, folders) -> None:
    running = Publisher()
    for number in range(12):
        append(1, f"p{number}_")
        running.publish_once()
    partials = folders / "log" / "tile" / "entries" / "000.p"
    assert sorted(int(path.name) for path in partials.iterdir()) == list(range(6, 14))
    append_together(256)
    running.publish_once()
    assert not partials.exists()
    assert_published(folders, 269)


def test_a_proof_file_proves_one_entry_offline(begun, folders) -> None:
    append_together(300)
    with pytest.raises(NotPublished):
        proofs.proof_for(3)
    Publisher().publish_once()
    for index in (0, 3, 255, 256, 300):
        proof = tlog_proof.parse(proofs.proof_for(index))
        envelope = bytes(Entry.objects.get(index=index).envelope)
        checkpoint, _ = tlog_proof.verify(proof, envelope, [vkey()], origin=REALM)
        assert checkpoint.size == 301
        with pytest.raises(tlog_proof.ProofError):
            tlog_proof.verify(proof, envelope + b" ", [vkey()], origin=REALM)
    with pytest.raises(NotPublished):
        proofs.proof_for(301)


def test_nothing_is_published_before_the_log_has_begun(db, folders) -> None:
    assert Publisher().publish_once() == 0
    assert publisher.lag() == 0


def test_the_thread_publishes_what_is_committed_before_it_ends(folders, monkeypatch) -> None:
    rounds: list[str] = []
    monkeypatch.setattr(Publisher, "publish_once", lambda self: rounds.append("round"))
    monkeypatch.setattr("audit.publisher.close_old_connections", lambda: None)
    running = Publisher()
    running.start()
    publisher.kick()
    running.stop()
    assert not running.is_alive()
    assert rounds


def test_a_commit_kicks_the_publisher(begun, django_capture_on_commit_callbacks) -> None:
    publisher._kicked.clear()
    with django_capture_on_commit_callbacks(execute=True):
        append(1)
    assert publisher._kicked.is_set()


def test_invariant_11_no_private_key_is_in_the_published_files(begun, folders) -> None:
    append(3)
    Publisher().publish_once()
    secrets = [signer.decision_key().seed, signer.log_key().seed]
    published = b"".join([*files(folders / "log").values(), (folders / "high-water.json").read_bytes()])
    for secret in secrets:
        for form in (secret, secret.hex().encode(), canonical.dumps({"d": secret.hex()})[5:-2]):
            assert form not in published
        assert secret.hex() not in repr(signer.decision_key()) + repr(signer.log_key())


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the shape of the head is the same on both")
def test_a_frozen_log_publishes_nothing_more(begun, folders) -> None:
    Publisher().publish_once()
    append(1)
    log.freeze("by hand")
    assert Publisher().publish_once() == 1


def test_nothing_but_tiles_is_read_from_the_folder_of_the_log(begun, folders) -> None:
    Publisher().publish_once()
    assert publisher.read_tile("tile/0/000.p/1")
    for path in (
        "checkpoint",
        "../keys/log.key",
        "tile/../checkpoint",
        "tile/0/../../checkpoint",
        "tile/0/000.p/0",
        "",
    ):
        with pytest.raises(FileNotFoundError):
            publisher.read_tile(path)


def test_new_work_is_refused_when_too_much_waits_to_be_published(begun, monkeypatch) -> None:
    monkeypatch.setattr(publisher, "_looked", (float("-inf"), False))
    assert not publisher.behind()
    monkeypatch.setattr(publisher, "MOST_UNPUBLISHED", 0)
    monkeypatch.setattr(publisher, "PAUSE", 0)
    assert publisher.behind()
    Publisher().publish_once()
    assert not publisher.behind()
