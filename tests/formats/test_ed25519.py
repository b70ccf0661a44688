"""Both verification paths, PyNaCl and pure Python, against Wycheproof, each other and hostile signatures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

import imprimatur
from imprimatur.formats import checkpoint, dsse, ed25519, keys, merkle, note
from tests.vectors import vectors

Verifier = Callable[[bytes, bytes, bytes], bool]
both_paths = pytest.mark.parametrize("verify", [ed25519.verify, ed25519.verify_pure], ids=["nacl", "pure"])
seeds = st.binary(min_size=32, max_size=32)

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME

# The eight points of low order, and the encodings of them that are not canonical.
LOW_ORDER = [
    bytes.fromhex(item)
    for item in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
]
NOT_CANONICAL = [
    bytes.fromhex(item)
    for item in (
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
]

Affine = tuple[int, int]


def add(p: Affine, q: Affine) -> Affine:
    """Add two points by the plain affine formulas of RFC 8032: slow, and independent of the code under test."""
    product = D * p[0] * q[0] * p[1] * q[1]
    x = (p[0] * q[1] + q[0] * p[1]) * pow(1 + product, -1, PRIME) % PRIME
    y = (p[1] * q[1] + p[0] * q[0]) * pow(1 - product, -1, PRIME) % PRIME
    return x, y


def multiply(scalar: int, p: Affine) -> Affine:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, p)
        p = add(p, p)
        scalar >>= 1
    return result


def encode(p: Affine) -> bytes:
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


BASE: Affine = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)
# Order 8: y as in LOW_ORDER[4], x from the curve equation.
EIGHTH: Affine = (
    14399317868200118260347934320527232580618823971194345261214217575416788799818,
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
)


def challenge(r: bytes, public_key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little")


def forge(secret: int, nonce: int, message: bytes, *, twist_key: bool, twist_r: bool) -> tuple[bytes, bytes, int]:
    """Return public key, signature and challenge; a twisted part gets a point of order 8 added."""
    key, r = multiply(secret, BASE), multiply(nonce, BASE)
    public_key = encode(add(key, EIGHTH) if twist_key else key)
    r_bytes = encode(add(r, EIGHTH) if twist_r else r)
    h = challenge(r_bytes, public_key, message) % ORDER
    return public_key, r_bytes + ((nonce + h * secret) % ORDER).to_bytes(32, "little"), h


@both_paths
def test_wycheproof_is_judged_as_expected(verify: Verifier) -> None:
    document = json.loads((vectors() / "ed25519/wycheproof_ed25519_test.json").read_text())
    count = 0
    for group in document["testGroups"]:
        public_key = bytes.fromhex(group["publicKey"]["pk"])
        ed25519.check_public_key(public_key)
        for case in group["tests"]:
            verdict = verify(public_key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert verdict is (case["result"] == "valid"), case["tcId"]
            count += 1
    assert count == document["numberOfTests"] == 151


@given(seeds, st.binary(max_size=200), st.integers(0, 511))
def test_invariant_7_both_paths_and_openssl_agree_on_good_and_flipped_signatures(
    seed: bytes, message: bytes, position: int
) -> None:
    public_key, signature = ed25519.public_key(seed), ed25519.sign(seed, message)
    ed25519.check_public_key(public_key)
    assert ed25519.verify(public_key, message, signature)
    assert ed25519.verify_pure(public_key, message, signature)
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)

    flipped = (int.from_bytes(signature, "little") ^ (1 << position)).to_bytes(64, "little")
    assert not ed25519.verify(public_key, message, flipped)
    assert not ed25519.verify_pure(public_key, message, flipped)
    assert not ed25519.verify_pure(public_key, message + b"\0", signature)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public_key).verify(flipped, message)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=20), st.binary(min_size=64, max_size=64))
def test_invariant_7_the_pure_path_accepts_no_noise(public_key: bytes, message: bytes, signature: bytes) -> None:
    assert not ed25519.verify_pure(public_key, message, signature)
    assert not ed25519.verify(public_key, message, signature)


@both_paths
def test_a_scalar_that_is_not_reduced_is_refused(verify: Verifier) -> None:
    seed, message = bytes(range(32)), b"once"
    public_key, signature = ed25519.public_key(seed), ed25519.sign(seed, message)
    scalar = int.from_bytes(signature[32:], "little")
    assert verify(public_key, message, signature)
    for times in range(1, 15):
        changed = signature[:32] + (scalar + times * ORDER).to_bytes(32, "little")
        assert not verify(public_key, message, changed)


@both_paths
def test_a_low_order_or_non_canonical_key_signs_nothing(verify: Verifier) -> None:
    # With a low-order key, S*B = R + h*A is easy to satisfy: R = S*B whenever h*A vanishes.
    r, scalar = encode(multiply(7, BASE)), (7).to_bytes(32, "little")
    for public_key in [*LOW_ORDER, *NOT_CANONICAL]:
        for number in range(32):
            assert not verify(public_key, bytes([number]), r + scalar)


@both_paths
def test_a_low_order_or_non_canonical_r_is_refused(verify: Verifier) -> None:
    secret = 123456789
    public_key = encode(multiply(secret, BASE))
    for r in [*LOW_ORDER, *NOT_CANONICAL]:
        for number in range(16):
            message = bytes([number])
            scalar = challenge(r, public_key, message) * secret % ORDER
            assert not verify(public_key, message, r + scalar.to_bytes(32, "little"))


@both_paths
def test_a_signature_that_holds_only_with_the_cofactor_is_refused(verify: Verifier) -> None:
    public_key, signature, _ = forge(11**40, 13**40, b"m", twist_key=False, twist_r=False)
    assert verify(public_key, b"m", signature)
    public_key, signature, _ = forge(11**40, 13**40, b"m", twist_key=False, twist_r=True)
    assert not verify(public_key, b"m", signature)


def test_invariant_7_both_paths_agree_about_keys_with_a_low_order_part() -> None:
    verdicts = set()
    for number in range(40):
        message = bytes([number])
        public_key, signature, h = forge(11**40, 13**40, message, twist_key=True, twist_r=False)
        verdict = ed25519.verify_pure(public_key, message, signature)
        assert verdict is ed25519.verify(public_key, message, signature) is (h % 8 == 0)
        verdicts.add(verdict)
    assert verdicts == {True, False}


def test_invariant_7_both_paths_agree_on_every_mix_of_low_order_parts() -> None:
    """Build a signature for each key a*B + T and each R = r*B + T', zero a and r included, as C2SP CCTV does."""
    torsion = [multiply(times, EIGHTH) for times in range(8)]
    keys_by_secret = {secret: [add(multiply(secret, BASE), part) for part in torsion] for secret in (0, 11**40)}
    rs_by_nonce = {nonce: [add(multiply(nonce, BASE), part) for part in torsion] for nonce in (0, 13**40)}
    accepted = 0
    for secret, key_points in keys_by_secret.items():
        for nonce, r_points in rs_by_nonce.items():
            for public_key in map(encode, key_points):
                for r in map(encode, r_points):
                    for message in (b"one", b"two"):
                        scalar = (nonce + challenge(r, public_key, message) % ORDER * secret) % ORDER
                        signature = r + scalar.to_bytes(32, "little")
                        verdict = ed25519.verify_pure(public_key, message, signature)
                        assert verdict is ed25519.verify(public_key, message, signature)
                        assert not verdict or (secret and nonce)
                        accepted += verdict
    assert accepted


@pytest.mark.parametrize("public_key", [*LOW_ORDER, *NOT_CANONICAL], ids=bytes.hex)
def test_low_order_and_non_canonical_keys_cannot_be_registered(public_key: bytes) -> None:
    with pytest.raises(ValueError, match=r"low order|canonical"):
        ed25519.check_public_key(public_key)


def test_keys_that_verifiers_would_disagree_about_cannot_be_registered() -> None:
    ed25519.check_public_key(encode(BASE))
    with pytest.raises(ValueError, match="low-order part"):
        ed25519.check_public_key(encode(add(BASE, EIGHTH)))
    off_curve = (2).to_bytes(32, "little")
    with pytest.raises(ValueError, match="canonical"):
        ed25519.check_public_key(off_curve)
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            ed25519.check_public_key(bytes(length))


@both_paths
def test_wrong_lengths_are_refused_without_an_exception(verify: Verifier) -> None:
    seed = bytes(32)
    public_key, signature = ed25519.public_key(seed), ed25519.sign(seed, b"")
    assert verify(public_key, b"", signature)
    assert not verify(public_key, b"", signature[:-1])
    assert not verify(public_key, b"", signature + b"\0")
    assert not verify(public_key[:-1], b"", signature)
    assert not verify(public_key + b"\0", b"", signature)
    assert not verify(b"", b"", b"")


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519.sign(bytes(31), b"")
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519.public_key(bytes(64))


PROGRAM = """
import json, sys
folder, text, vkey, entry, public_key = json.load(sys.stdin)
sys.path.insert(0, folder)
from imprimatur.formats import checkpoint, dsse, ed25519, merkle, note
try:
    import nacl
except ImportError:
    pass
else:
    raise SystemExit("PyNaCl is importable here, so this proves nothing")
found, _ = checkpoint.open_checkpoint(text, [note.Vkey.parse(vkey)])
assert found.size == 1 and found.root == merkle.leaf_hash(entry.encode())
assert dsse.verify(dsse.open_envelope(entry.encode()), bytes.fromhex(public_key))
try:
    ed25519.sign(bytes(32), b"")
except ed25519.SigningUnavailableError as error:
    print(error)
"""


def test_everything_verifies_with_the_standard_library_alone() -> None:
    pair = keys.KeyPair.from_seed(bytes(range(32)))
    entry = dsse.seal(b'{"n":1}', pair.sign, pair.keyid)
    signed = checkpoint.Checkpoint("log.example", 1, merkle.leaf_hash(entry)).sign(bytes(32))
    vkey = note.Vkey("log.example", ed25519.public_key(bytes(32))).format()
    folder = str(Path(str(imprimatur.__file__)).parent.parent)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM],
        input=json.dumps([folder, signed, vkey, entry.decode(), pair.public_key.hex()]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install PyNaCl" in done.stdout
