"""A service's folder and ledger: made once, held by one process, never shorter, never anybody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from imprimatur.errors import ConfigError
from imprimatur.formats import attestation, ids
from imprimatur.formats.digests import sha256
from imprimatur.formats.keys import KeyPair
from imprimatur.service import folder as folders
from imprimatur.service.folder import Folder, FolderBusy
from imprimatur.service.ledger import Ledger, LedgerError
from tests.runtime.desk import REALM

AT = "2026-01-31T09:00:00.000Z"


def observation(folder: Folder, own: Any, launch: str = "lau_1") -> bytes:
    """The smallest statement that a monitor signs."""
    predicate = {
        "realm": REALM,
        "service": folder.service,
        "own": dict(own),
        "at": AT,
        "node": {"name": "host", "kernel": "Linux"},
        "host": {"pid": 1},
        "log": {"size": 0, "root": sha256(b"")},
        "processes": [],
        "launch": launch,
    }
    return attestation.seal(attestation.OBSERVATION, {"launch": "00" * 32}, predicate, folder.key)


def fill(folder: Folder, count: int) -> Ledger:
    ledger = Ledger(folder)
    for number in range(count):
        ledger.append(lambda own, number=number: observation(folder, own, f"lau_{number}"))  # type: ignore[misc]
    return ledger


@pytest.mark.parametrize("role", attestation.ROLES)
def test_a_new_folder_opens_again_with_the_same_key_and_id(tmp_path: Path, role: str) -> None:
    made = folders.create(tmp_path / "s", role)

    found = folders.load(tmp_path / "s", role, REALM)

    assert found.service == made.service == ids.service_id(made.key.public_key)
    assert found.role == role
    assert found.realm == REALM
    for path in (tmp_path / "s").glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "s" / folders.COSIGNER).exists() is (role == attestation.MONITOR)


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    folders.create(tmp_path, "monitor")
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(ConfigError, match="never overwritten"):
        folders.create(tmp_path, "monitor")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_folder_serves_one_role_and_one_realm(tmp_path: Path) -> None:
    folders.create(tmp_path, "monitor")
    folder = folders.load(tmp_path, "monitor", REALM)
    folder.statements.write_bytes(b"signed\n")

    with pytest.raises(ConfigError, match="role monitor"):
        folders.load(tmp_path, "orchestrator", REALM)
    with pytest.raises(ConfigError, match=f"belongs to the realm {REALM}"):
        folders.load(tmp_path, "monitor", "other.example.org")


def test_a_wrong_trust_file_binds_no_folder_that_signed_nothing_yet(tmp_path: Path) -> None:
    folders.create(tmp_path, "monitor")
    folders.load(tmp_path, "monitor", "wrong.example.org")

    assert folders.load(tmp_path, "monitor", REALM).realm == REALM
    folders.load(tmp_path, "monitor").statements.unlink()
    with pytest.raises(ConfigError, match=f"belongs to the realm {REALM}"):
        folders.load(tmp_path, "monitor", "wrong.example.org")


def test_a_folder_with_another_key_is_refused(tmp_path: Path) -> None:
    folders.create(tmp_path, "canary")
    (tmp_path / folders.KEY).unlink()
    KeyPair.generate().save(tmp_path / folders.KEY)

    with pytest.raises(ConfigError, match="not the key"):
        folders.load(tmp_path)


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="imprimatur service keygen"):
        folders.load(tmp_path / "none", "monitor")


def test_the_repr_of_a_folder_shows_no_key(tmp_path: Path) -> None:
    made = folders.create(tmp_path, "canary")

    assert made.key.seed.hex() not in repr(made)
    assert "key=" not in repr(made)


def test_two_processes_do_not_sign_with_one_folder(tmp_path: Path) -> None:
    made = folders.create(tmp_path, "canary")

    with made.locked(), pytest.raises(FolderBusy, match="Another process"), made.locked(patience=0.0):
        pass
    with made.locked(patience=0.0):  # it is free again
        pass


def test_every_statement_names_the_tree_of_all_before_it(tmp_path: Path) -> None:
    made = folders.create(tmp_path, "monitor")
    fill(made, 3)

    again = Ledger(made)

    assert again.size == 3
    opened = [attestation.open_statement(each).predicate["own"] for each in again.envelopes()]
    assert opened == [again.head_at(size) for size in range(3)]
    assert again.head == again.head_at(3)


def test_a_line_that_a_crash_cut_off_is_cut_away_and_the_rest_stays(tmp_path: Path) -> None:
    made = folders.create(tmp_path, "monitor")
    ledger = fill(made, 2)
    with made.statements.open("ab") as stream:
        stream.write(b'{"payload":"half')

    again = Ledger(made)

    assert again.envelopes() == ledger.envelopes()
    assert made.statements.read_bytes() == b"".join(each + b"\n" for each in ledger.envelopes())
    again.append(lambda own: observation(made, own))
    assert Ledger(made).size == 3


@pytest.mark.parametrize("fault", ["left out", "swapped", "doubled", "foreign", "no statement"])
def test_a_ledger_that_was_changed_is_refused(tmp_path: Path, fault: str) -> None:
    made = folders.create(tmp_path / "s", "monitor")
    lines = fill(made, 3).envelopes()
    other = folders.create(tmp_path / "other", "monitor")
    changed = {
        "left out": lines[1:],
        "swapped": [lines[1], lines[0], lines[2]],
        "doubled": [lines[0], lines[0]],
        "foreign": fill(other, 1).envelopes(),
        "no statement": [b"{}"],
    }[fault]
    made.statements.write_bytes(b"".join(line + b"\n" for line in changed))

    with pytest.raises(LedgerError):
        Ledger(made)


def test_a_ledger_that_is_gone_is_never_begun_anew(tmp_path: Path) -> None:
    made = folders.create(tmp_path, "monitor")
    made.statements.unlink()

    with pytest.raises(LedgerError, match="second history"):
        Ledger(made)


def test_a_statement_is_on_the_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folders.create(tmp_path, "monitor")
    ledger = Ledger(made)
    synced: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(made.statements.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    envelope = ledger.append(lambda own: observation(made, own))

    assert synced == [envelope + b"\n"]


def test_what_the_disk_did_not_take_was_never_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folders.create(tmp_path, "monitor")
    ledger = fill(made, 1)

    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            ledger.append(lambda own: observation(made, own))

    assert ledger.size == Ledger(made).size == 1


def test_a_statement_that_names_another_tree_is_not_written(tmp_path: Path) -> None:
    made = folders.create(tmp_path, "monitor")
    ledger = fill(made, 1)

    with pytest.raises(ValueError, match="names the tree"):
        ledger.append(lambda own: observation(made, {"size": 0, "root": sha256(b"")}))

    assert Ledger(made).size == 1
