"""A log that cannot go on is continued by another, which says so in its first entry."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit import genesis, signer
from audit.evidence import anchors, bundle
from audit.models import Checkpoint, Entry, LogHead, LogKey
from audit.publisher import Publisher
from audit.selectors import payload_of
from imprimatur.formats import canonical, note, trust
from imprimatur.formats.keys import KeyPair
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.report import human
from tests.append_only import lifted

NEW = "next.imprimatur"


def restart(*words: str) -> str:
    out = StringIO()
    call_command("log_restart", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def ended(db: None, folders: Path) -> tuple[Path, str]:
    """The data folder of an old log, and its log key; the settings still name it."""
    call_command("begin", stdout=StringIO())
    Publisher().publish_once()
    return folders, genesis.log_vkey("test.imprimatur")


@pytest.fixture
def elsewhere(ended: tuple[Path, str], settings: Any) -> tuple[Path, str]:
    """The same, with the settings of a new and empty installation beside it."""
    old, vkey = ended
    kept = old / "old"
    kept.mkdir()
    shutil.move(old / "log", kept / "log")
    shutil.move(old / "keys", kept / "keys")
    shutil.move(old / "high-water.json", kept / "high-water.json")
    with lifted():
        call_command("flush", "--no-input", verbosity=0)
        LogHead.objects.all().delete()
        Entry.objects.all().delete()
        Checkpoint.objects.all().delete()
        LogKey.objects.all().delete()
    settings.REALM = NEW
    signer.forget()
    return kept, vkey


def arguments(old: Path, vkey: str, **changes: str) -> list[str]:
    given = {"from": str(old), "old-vkey": vkey, "reason": "the log key leaked", "realm": NEW, **changes}
    return [f"--{name}={value}" for name, value in given.items()]


def test_the_first_entry_of_the_new_log_holds_the_end_of_the_old_one(elsewhere, tmp_path) -> None:
    old, vkey = elsewhere
    signed = (old / "log" / "checkpoint").read_text()
    said = restart(*arguments(old, vkey))
    assert "continues test.imprimatur" in said
    assert "One-time password" in said
    first = payload_of(Entry.objects.get(index=0))
    assert first["realm"] == NEW
    assert first["body"]["continues"] == {"log_vkey": vkey, "checkpoint": signed, "reason": "the log key leaked"}
    assert first["body"]["log_vkey"] != vkey
    Publisher().publish_once()
    path = tmp_path / "bundle.zip"
    bundle.build(path)
    report = verify_bundle(path, trust.parse(canonical.dumps(anchors.document())))
    assert report.ok, human(report)
    [limit] = [line for line in report.limits if "continues" in line]
    size, root = signed.split("\n")[1:3]
    assert "ended honestly" in limit
    assert f"of {size} entries" in limit
    assert "test.imprimatur" in limit
    assert root


def test_the_checkpoint_may_be_given_by_itself_and_the_answer_is_read_by_programs(elsewhere) -> None:
    old, vkey = elsewhere
    said = json.loads(restart(*arguments(old / "log" / "checkpoint", vkey), "--json"))
    assert said["realm"] == NEW


def test_a_checkpoint_that_the_old_key_did_not_sign_begins_nothing(elsewhere, tmp_path) -> None:
    old, vkey = elsewhere
    stranger = note.Vkey("test.imprimatur", KeyPair.generate().public_key).format()
    (tmp_path / "empty").mkdir()
    for wrong, why in (
        (arguments(old, stranger), "does not hold under this key"),
        (arguments(old, "x"), "does not hold under this key"),
        (arguments(tmp_path / "empty", vkey), "cannot be read"),
        (arguments(old, vkey, realm="test.imprimatur"), "realm of its own"),
    ):
        with pytest.raises(CommandError, match=why):
            restart(*wrong)
    assert not LogHead.objects.exists()
    assert not (tmp_path / "keys").exists()


def test_it_begins_nothing_where_there_is_a_log(ended) -> None:
    old, vkey = ended
    with pytest.raises(CommandError, match="new, empty data folder"):
        restart(*arguments(old, vkey))
    assert Entry.objects.filter(kind="log.genesis").count() == 1
