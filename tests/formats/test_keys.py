"""Key names that other tools compute too, and key files that stay private."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # public, but not in an __all__

from imprimatur.formats import ed25519, keys
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    public = un_b64u("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert keys.thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_dsse_key_id_is_the_one_securesystemslib_computes() -> None:
    pair = KeyPair.from_seed(b"k" * 32)
    theirs = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(pair.public_key))
    assert pair.keyid == keys.dsse_keyid(pair.public_key) == theirs.keyid


def test_a_key_pair_signs_what_its_public_half_verifies() -> None:
    pair = KeyPair.generate()
    assert ed25519.verify(pair.public_key, b"message", pair.sign(b"message"))
    assert pair.sign(b"message") == ed25519.sign(pair.seed, b"message")
    assert not ed25519.verify(pair.public_key, b"another", pair.sign(b"message"))


def test_a_saved_key_is_private_to_its_owner_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    pair = KeyPair.generate()
    pair.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeyPair.load(path).seed == pair.seed


def test_the_name_of_a_saved_key_survives_a_power_cut_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log whose key file was gone after it had signed would have to end."""
    synced: list[bool] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.path.samestat(os.fstat(descriptor), tmp_path.stat()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    KeyPair.generate().save(tmp_path / "agent.key")
    assert synced == [False, True]


def test_saving_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    KeyPair.generate().save(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        KeyPair.generate().save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_that_others_may_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "agent.key"
    KeyPair.generate().save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        KeyPair.load(path)


def test_a_link_to_a_key_is_refused(tmp_path: Path) -> None:
    KeyPair.generate().save(tmp_path / "real.key")
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(KeyFileError):
        KeyPair.load(tmp_path / "link.key")


def test_a_missing_key_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot open"):
        KeyPair.load(tmp_path / "none.key")


@pytest.mark.parametrize(
    "change",
    [{"kty": "EC"}, {"crv": "X25519"}, {"d": "AAAA"}, {"d": 1}, {"x": b64u(b"x" * 32)}, {"extra": 1}, {"x": None}],
    ids=str,
)
def test_invariant_11_a_damaged_key_file_is_refused_without_showing_the_key(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "agent.key"
    pair = KeyPair.generate()
    pair.save(path)
    document = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps(document))
    with pytest.raises(KeyFileError) as caught:
        KeyPair.load(path)
    assert b64u(pair.seed) not in str(caught.value)
    assert caught.value.__suppress_context__


def test_invariant_11_a_key_pair_never_shows_or_pickles_its_seed() -> None:
    pair = KeyPair.from_seed(b"secret-seed-secret-seed-secret!!")
    for text in (repr(pair), str(pair), f"{[pair]}"):
        assert "secret" not in text
        assert b64u(pair.seed) not in text
        assert pair.seed.hex() not in text
        assert pair.thumbprint in text
    with pytest.raises(TypeError):
        pickle.dumps(pair)


@pytest.mark.parametrize("seed", [b"", b"k" * 31, b"k" * 33])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyPair.from_seed(seed)
