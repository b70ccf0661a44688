"""One difference planted at a time: each is found, and named where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit import fsck, log, mirrors, signer
from audit.models import Checkpoint, Entry, LogHead, Opening
from audit.publisher import HighWater, Publisher
from imprimatur.formats import canonical, commitments, dsse, merkle
from imprimatur.formats.checkpoint import Checkpoint as TreeHead
from imprimatur.formats.keys import KeyPair
from tests.append_only import lifted
from tests.audit.acts import append, append_together
from tests.audit.conftest import REALM
from tests.audit.test_durability import BEGIN
from tests.audit.test_durability import run as in_a_process
from tests.audit.test_recovery import restore_backup_of


@pytest.fixture(autouse=True)
def entries_without_rows(monkeypatch) -> None:
    """The entries of these tests speak of people who have no rows: rows are compared in `test_fsck_rows`."""
    monkeypatch.setattr(mirrors, "_registered", {})


@pytest.fixture
def published(begun, folders) -> Path:
    """521 entries under three checkpoints, and one entry that is not published yet."""
    append(4)
    Publisher().publish_once()
    append_together(300, "first_")
    Publisher().publish_once()
    append_together(216, "second_")
    Publisher().publish_once()
    opening = commitments.Opening("reason", bytes(32), "because")
    Opening.objects.create(
        commitment=commitments.commitment_of(opening), subject="s", name="reason", key=bytes(32), value=b'"because"'
    )
    append(1, "last_")
    return folders


def found(**options: bool) -> dict[str, str]:
    return {finding.where: finding.what for finding in fsck.run(**options).findings}


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def change_entry(index: int, change: Callable[[bytes], bytes], *, leaf: bool = False) -> None:
    with lifted():
        raw = change(bytes(Entry.objects.get(index=index).envelope))
        more = {"leaf": merkle.leaf_hash(raw).hex()} if leaf else {}
        Entry.objects.filter(index=index).update(envelope=raw, **more)


def flipped(raw: bytes) -> bytes:
    return raw[:60] + bytes([raw[60] ^ 1]) + raw[61:]


def test_a_good_log_agrees_with_itself_and_the_result_is_kept(published) -> None:
    assert fsck.last() is None
    told: list[tuple[int, int]] = []
    result = fsck.run(progress=lambda done, total: told.append((done, total)))
    assert result.findings == []
    assert (result.size, result.published, result.checkpoints, result.openings) == (522, 521, 3, 1)
    assert told == [(256, 522), (512, 522), (522, 522)]
    assert fsck.last() == result.as_dict()
    assert found(quick=True) == {}
    assert fsck.last()["quick"] is True


def test_nothing_is_wrong_with_a_log_that_was_never_published(begun) -> None:
    append(2)
    assert found() == {}


@pytest.mark.parametrize(
    "path",
    ["tile/0/000", "tile/0/001", "tile/0/002.p/9", "tile/1/000.p/2", "tile/entries/000", "tile/entries/002.p/9"],
)
def test_invariant_6_a_bit_that_flipped_in_a_file_is_found(published, path) -> None:
    flip(published / "log" / path, 33)
    for quick in (False, True):
        [(where, what)] = found(quick=quick).items()
        assert where == f"file {path}"
        assert "from byte 33 on" in what


@pytest.mark.parametrize("path", ["tile/0/001", "tile/1/000.p/2", "tile/entries/000", "tile/entries/002.p/9"])
def test_invariant_6_a_missing_file_is_found(published, path) -> None:
    (published / "log" / path).unlink()
    assert found() == {f"file {path}": "it is missing"}


def test_invariant_6_a_bit_that_flipped_in_an_entry_is_found(published) -> None:
    change_entry(300, flipped)
    differences = found()
    assert "entry 300" in differences
    assert "from byte" in differences["file tile/entries/001"]
    assert "entry 299" not in differences
    assert "entry 301" not in differences


def test_invariant_6_an_entry_that_was_written_anew_with_its_hash_is_found(published) -> None:
    def resigned(raw: bytes) -> bytes:
        payload = canonical.loads(dsse.open_envelope(raw).payload)
        payload["body"]["name"] = "Somebody else"
        key = signer.decision_key()
        return dsse.seal(canonical.dumps(payload), key.sign, key.keyid, dsse.PAYLOAD_TYPE)

    change_entry(310, resigned, leaf=True)
    differences = found()
    assert "does not follow the entry before it" in differences["entry 311"]
    assert {"file tile/entries/001", "file tile/0/001", "checkpoint 521", "high-water.json"} <= set(differences)


def test_invariant_6_a_signature_by_another_key_is_found(published) -> None:
    other = KeyPair.generate()
    change_entry(
        521,
        lambda raw: dsse.seal(dsse.open_envelope(raw).payload, other.sign, other.keyid, dsse.PAYLOAD_TYPE),
        leaf=True,
    )
    assert "decision key did not sign" in found()["entry 521"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("kind", "other"), ("subject", "pe_other"), ("actor_id", "x"), ("actor_type", "agent"), ("verdict", "allow"),
     ("risk", "LOW"), ("leaf", "0" * 64), ("time", timezone.now())],
)  # fmt: skip
def test_a_column_that_says_something_else_than_the_bytes_is_found(published, column, value) -> None:
    with lifted():
        Entry.objects.filter(index=7).update(**{column: value})
    [(where, what)] = found().items()
    assert where == "entry 7"
    assert "leaf hash" in what or f"column {column}" in what


def test_invariant_6_a_missing_entry_is_found(published) -> None:
    with lifted():
        Entry.objects.filter(index=40).delete()
    assert found()["entry 40"] == "it is missing from the database"


def test_invariant_6_an_older_database_is_found(published) -> None:
    restore_backup_of(300)
    differences = found()
    assert "older copy" in differences.pop("database")
    assert set(differences) == {"file checkpoint"} or differences == {}


def test_invariant_6_a_lost_or_older_mark_is_found(published) -> None:
    HighWater(REALM, 5, bytes(32)).write(published / "high-water.json")
    assert "it says 5" in found()["high-water.json"] or "root" in found()["high-water.json"]
    (published / "high-water.json").unlink()
    assert "a checkpoint for 521 entries was signed" in found()["high-water.json"]


@pytest.mark.parametrize("quick", [False, True])
def test_invariant_6_a_checkpoint_of_another_tree_or_key_is_found(published, quick) -> None:
    row = Checkpoint.objects.get(size=305)
    forged = TreeHead(REALM, 305, bytes(32)).sign(signer.log_key().seed)
    stolen = TreeHead(REALM, 305, bytes.fromhex(row.root)).sign(KeyPair.generate().seed)
    for changes, said in (
        ({"note": forged}, "about another tree"),
        ({"note": stolen}, "does not hold"),
        ({"root": "0" * 64}, "its root is not that"),
    ):
        with lifted():
            Checkpoint.objects.filter(size=305).update(**changes)
        assert said in found(quick=quick)["checkpoint 305"]
        with lifted():
            Checkpoint.objects.filter(size=305).update(note=row.note, root=row.root)
    assert found(quick=quick) == {}


def test_a_checkpoint_file_that_shows_something_else_is_found(published) -> None:
    shown = published / "log" / "checkpoint"
    shown.write_text(TreeHead(REALM, 305, bytes(32)).sign(signer.log_key().seed))
    assert "no checkpoint that the database holds" in found()["file checkpoint"]
    shown.unlink()
    assert "cannot be read" in found()["file checkpoint"]


@pytest.mark.parametrize(
    "changes", [{"value": b'"other"'}, {"key": bytes([1]) * 32}, {"name": "other", "value": b"{"}, {"value": None}]
)
def test_a_changed_opening_is_found(published, changes) -> None:
    Opening.objects.update(**changes)
    [(where, _)] = found().items()
    assert where == f"opening {Opening.objects.get().commitment}"


def erase(writer: log.Writer, before: str) -> None:
    Opening.objects.update(value=None, key=b"", erased_at=writer.now)
    body = {"rule": "retention", "agent": "", "subjects": ["s"], "count": 1, "reason": "old", "before": before}
    writer.append("openings.erased", subject="requests", actor=log.SYSTEM, body=body)


def test_an_erased_opening_is_no_difference_when_an_entry_says_so(published) -> None:
    log.commit(erase, "2026-01-01T00:00:00.000Z")

    def of_openings() -> str:
        # This founder's log may not go on without the people it promised; that is not looked at here.
        return " ".join(what for where, what in found().items() if where.startswith("opening "))

    assert of_openings() == ""
    Opening.objects.update(key=bytes(32))
    assert "its key is still there" in of_openings()
    Opening.objects.update(key=b"", erased_at=timezone.now())
    assert "no entry of the log says so" in of_openings()


def test_a_head_that_disagrees_with_the_table_is_found(published) -> None:
    LogHead.objects.update(last_leaf="0" * 64)
    assert "last leaf" in found()["head"]
    LogHead.objects.update(size=523)
    differences = found()
    assert "523 entries, the table holds 522" in differences["head"]
    assert differences["entry 522"] == "it is missing from the database"


def test_an_installation_without_a_log_or_of_another_realm_says_so(db, settings, begun) -> None:
    settings.REALM = "other"
    assert "it is of the realm test.imprimatur" in found()["head"]


def test_the_command_tells_what_it_found_and_ends_with_one(published, capsys) -> None:
    out = StringIO()
    call_command("audit_fsck", stdout=out)
    assert "522 entries (521 published), 3 checkpoints, 1 openings" in out.getvalue()
    assert "All agree" in out.getvalue()
    flip(published / "log" / "tile" / "0" / "000", 0)
    out = StringIO()
    with pytest.raises(CommandError, match=r"1 difference\.") as caught:
        call_command("audit_fsck", "--json", stdout=out)
    assert caught.value.returncode == 1
    told = json.loads(out.getvalue())
    assert (told["good"], told["count"], told["findings"][0]["where"]) == (False, 1, "file tile/0/000")


def test_the_command_with_the_settings_of_another_installation_checks_nothing(published, settings) -> None:
    settings.REALM = "elsewhere.example"
    with pytest.raises(CommandError, match=r"holds the log of test\.imprimatur.*IMPRIMATUR_REALM=test\.imprimatur"):
        call_command("audit_fsck")


def test_it_changes_nothing_but_the_note_of_its_last_run(published) -> None:
    def picture() -> dict[str, tuple[bytes, int]]:
        files = (path for path in published.rglob("*") if path.is_file() and path.name != fsck.LAST)
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before, rows = picture(), list(Entry.objects.values_list())
    fsck.run()
    log.freeze("by hand")
    fsck.run()
    assert picture() == before
    assert list(Entry.objects.values_list()) == rows


# Somebody writes while the check reads: it sees one moment, and holds nobody up.
MEANWHILE = """
import threading
from django.db import connection
from audit import fsck, mirrors
from audit.models import LogHead
from audit.publisher import Publisher
from tests.audit.acts import append
mirrors._registered.clear()
append(3, "before_"); Publisher().publish_once()
def write():
    append(2, "meanwhile_"); Publisher().publish_once(); connection.close()
def progress(done, total):
    other = threading.Thread(target=write); other.start(); other.join(60)
    assert not other.is_alive(), "the writer was held up"
from django.conf import settings
settings.REALM = "test.imprimatur"
result = fsck.run(progress=progress)
print(result.size, result.good, LogHead.objects.get().size, fsck.run().good)
"""


def test_the_desk_goes_on_while_it_is_checked(tmp_path) -> None:
    in_a_process(BEGIN, tmp_path)
    assert in_a_process(MEANWHILE, tmp_path).split() == ["4", "True", "6", "True"]
