"""Cosignatures against the transparency-dev vectors, the C2SP text, and what a hostile witness may answer."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import checkpoint, cosignature, ed25519, merkle, note
from imprimatur.formats.checkpoint import Checkpoint
from imprimatur.formats.cosignature import CosignatureError, Cosigner
from imprimatur.formats.key_files import KeyFileError
from tests.vectors import vectors

LOG_SEED = bytes(range(32))
ORIGIN = "log.example"
WITNESS = Cosigner("witness.example/w1", bytes(range(1, 33)))
OTHER = Cosigner("witness.example/w2", bytes(range(2, 34)))
CHECKPOINT = Checkpoint(ORIGIN, 7, merkle.leaf_hash(b"seven"))
TEXT, SIGNED = CHECKPOINT.text(), CHECKPOINT.sign(LOG_SEED)
NOW = 1_700_000_000


@pytest.fixture
def vector() -> Any:
    return json.loads((vectors() / "note" / "cosignature_v1.json").read_text())


def test_the_time_of_a_cosignature_made_by_others_is_read(vector: Any) -> None:
    raw = base64.b64decode(vector["timestamp"]["sig_base64"])
    assert cosignature.timestamp(raw[4:]) == vector["timestamp"]["unix_time"]
    with pytest.raises(CosignatureError):
        cosignature.timestamp(base64.b64decode(vector["not_a_cosignature_base64"])[4:])


def test_verifier_keys_of_others_are_read(vector: Any) -> None:
    kinds = [note.Vkey.parse(text).algorithm for text in vector["vkeys_accept"]]
    assert note.COSIGNATURE in kinds


def test_what_is_signed_is_header_time_and_the_text_of_the_checkpoint() -> None:
    line = WITNESS.cosign(TEXT, NOW)
    raw = base64.b64decode(line.split(" ")[2])
    assert line.startswith("— witness.example/w1 ")
    assert raw[:4] == WITNESS.vkey.id
    assert int.from_bytes(raw[4:12], "big") == NOW
    message = f"cosignature/v1\ntime {NOW}\n{TEXT}".encode()
    assert ed25519.verify(WITNESS.vkey.public_key, message, raw[12:])


def test_a_cosigned_checkpoint_opens_under_log_and_witness() -> None:
    cosigned = cosignature.attach(SIGNED, [WITNESS.cosign(TEXT, NOW), OTHER.cosign(TEXT, NOW + 1)])
    log_key = note.Vkey(ORIGIN, ed25519.public_key(LOG_SEED))
    found, opened = checkpoint.open_checkpoint(cosigned, [log_key], witnesses=[WITNESS.vkey, OTHER.vkey])
    assert found == CHECKPOINT
    assert opened.cosigned_at == {WITNESS.vkey.name: NOW, OTHER.vkey.name: NOW + 1}
    assert cosignature.attach(cosigned, [WITNESS.cosign(TEXT, NOW)]) == cosigned


def test_of_an_answer_only_lines_by_known_keys_are_taken() -> None:
    stranger = Cosigner("witness.example/w1", bytes(range(3, 35)))
    answer = stranger.cosign(TEXT, NOW) + WITNESS.cosign(TEXT, NOW)
    [found] = cosignature.accept(TEXT, answer, [WITNESS.vkey])
    assert (found.witness, found.time, found.line) == (WITNESS.vkey, NOW, WITNESS.cosign(TEXT, NOW))
    assert cosignature.accept(TEXT, stranger.cosign(TEXT, NOW), [WITNESS.vkey]) == []
    with pytest.raises(CosignatureError, match="no line of the witness"):
        cosignature.verify(TEXT, stranger.cosign(TEXT, NOW), WITNESS.vkey)


def test_a_plain_signature_by_the_witness_key_is_no_cosignature() -> None:
    plain = note.Vkey(WITNESS.vkey.name, WITNESS.vkey.public_key)
    assert cosignature.accept(TEXT, note.signature_line(TEXT, plain.name, bytes(range(1, 33))), [plain]) == []


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "ok\n",
        WITNESS.cosign(TEXT, NOW).removesuffix("\n"),
        WITNESS.cosign(TEXT, NOW) + "\n",
        "\n" + WITNESS.cosign(TEXT, NOW),
        f"log.example\n9\nAAAA\n\n{WITNESS.cosign(TEXT, NOW)}",
        WITNESS.cosign(TEXT, NOW) * 101,
        WITNESS.cosign(Checkpoint(ORIGIN, 8, CHECKPOINT.root).text(), NOW),
    ],
)
def test_an_answer_that_is_something_else_is_refused(answer: str) -> None:
    with pytest.raises(CosignatureError):
        cosignature.accept(TEXT, answer, [WITNESS.vkey])


@given(st.data())
def test_no_changed_byte_of_a_cosignature_is_accepted(data: st.DataObject) -> None:
    line = WITNESS.cosign(TEXT, NOW)
    raw = bytearray(base64.b64decode(line.split(" ")[2]))
    raw[data.draw(st.integers(4, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    changed = f"— {WITNESS.vkey.name} {base64.b64encode(raw).decode()}\n"
    with pytest.raises(CosignatureError):
        cosignature.accept(TEXT, changed, [WITNESS.vkey])


def test_a_time_beyond_the_range_is_neither_signed_nor_believed() -> None:
    for wrong in (-1, 2**63):
        with pytest.raises(note.NoteError):
            WITNESS.cosign(TEXT, wrong)
    late = 2**63
    signed = ed25519.sign(bytes(range(1, 33)), f"cosignature/v1\ntime {late}\n{TEXT}".encode())
    assert not WITNESS.vkey.verify(TEXT, late.to_bytes(8, "big") + signed)


def test_only_checkpoints_are_cosigned() -> None:
    with pytest.raises(checkpoint.CheckpointError):
        WITNESS.cosign("hello\n", NOW)


def test_a_key_file_comes_back_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    WITNESS.save(path)
    assert Cosigner.load(path).vkey == WITNESS.vkey
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="never overwritten"):
        OTHER.save(path)


def test_a_key_file_that_others_may_read_or_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    WITNESS.save(path)
    good = path.read_text()
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Cosigner.load(path)
    path.chmod(0o600)
    for wrong in ("", "x", good.replace("w1", "w2"), good.removeprefix("PRIVATE+KEY+"), good[:-6] + "AAAA=\n"):
        path.write_text(wrong)
        with pytest.raises(KeyFileError, match="keygen") as caught:
            Cosigner.load(path)
        assert caught.value.__cause__ is None
    with pytest.raises(KeyFileError, match="cannot open"):
        Cosigner.load(tmp_path / "none")


def test_invariant_11_a_witness_key_shows_and_pickles_its_private_half_nowhere() -> None:
    assert bytes(range(1, 33)).hex() not in repr(WITNESS)
    with pytest.raises(TypeError):
        pickle.dumps(WITNESS)
