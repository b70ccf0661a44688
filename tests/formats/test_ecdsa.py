"""Both verification paths of ES256, `cryptography` and pure Python, against each other and hostile signatures."""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable
from itertools import count

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imprimatur.formats import ecdsa

Verifier = Callable[[bytes, bytes, bytes], bool]
both_paths = pytest.mark.parametrize("verify", [ecdsa.verify, ecdsa.verify_pure], ids=["cryptography", "pure"])

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MESSAGE = b"approve payment 7"
KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())

scalars = st.integers(min_value=1, max_value=N - 1)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def sign(message: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


@functools.cache
def good() -> tuple[int, int]:
    return decode_dss_signature(sign(MESSAGE))


def integer(value: int) -> bytes:
    """A DER INTEGER, negative ones included."""
    size = max(1, (value.bit_length() + 8) // 8 if value >= 0 else ((value + 1).bit_length() + 8) // 8)
    return tlv(2, value.to_bytes(size, "big", signed=True))


def tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content


def der(r: int, s: int) -> bytes:
    return tlv(0x30, integer(r) + integer(s))


def library(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True


def variants() -> dict[str, bytes]:
    """Signatures that differ from a good one in value or in encoding only; each must verify nothing."""
    r, s = good()
    first, second = integer(r), integer(s)
    body = first + second
    padded = tlv(2, b"\0" + r.to_bytes(33, "big").lstrip(b"\0"))
    return {
        "empty": b"",
        "r is 0": der(0, s),
        "s is 0": der(r, 0),
        "both 0": der(0, 0),
        "r is n": der(N, s),
        "s is n": der(r, N),
        "r plus n": der(r + N, s),
        "s plus n": der(r, s + N),
        "r negative": der(-r, s),
        "s negative": der(r, -s),
        "r minus n": der(r - N, s),
        "r is p": der(P, s),
        "r is 1": der(1, s),
        "both 1": der(1, 1),
        "r and s the other way round": der(s, r),
        "n minus r": der(N - r, s),
        "a very long r": der(r + (N << 800), s),
        "high bit without its zero byte": tlv(0x30, tlv(2, (r | 1 << 255).to_bytes(32, "big")) + second),
        "a zero byte too many": tlv(0x30, padded + second) if len(padded) != len(first) else b"\x30",
        "two zero bytes too many": tlv(0x30, tlv(2, b"\0\0" + r.to_bytes(32, "big")) + second),
        "an empty integer": tlv(0x30, tlv(2, b"") + second),
        "BER: long form of the outer length": bytes([0x30, 0x81, len(body)]) + body,
        "BER: long form of the inner length": tlv(0x30, bytes([2, 0x81, first[1]]) + first[2:] + second),
        "BER: indefinite length": b"\x30\x80" + body + b"\0\0",
        "trailing byte": der(r, s) + b"\0",
        "trailing byte inside": tlv(0x30, body + b"\0"),
        "a third integer": tlv(0x30, body + integer(1)),
        "only one integer": tlv(0x30, first),
        "cut short": der(r, s)[:-1],
        "outer length too long": bytes([0x30, len(body) + 1]) + body,
        "outer length too short": bytes([0x30, len(body) - 1]) + body,
        "inner length too long": tlv(0x30, bytes([2, first[1] + 1]) + first[2:] + second),
        "last length runs over": tlv(0x30, first + bytes([2, second[1] + 1]) + second[2:]),
        "a set instead of a sequence": tlv(0x31, body),
        "an octet string instead of an integer": tlv(0x30, tlv(4, first[2:]) + second),
        "raw r and s (IEEE P1363)": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "wrapped in an octet string": tlv(4, der(r, s)),
    }


@both_paths
def test_a_good_signature_verifies_and_only_over_its_message_by_its_key(verify: Verifier) -> None:
    signature = sign(MESSAGE)

    assert verify(point(KEY), MESSAGE, signature)
    assert not verify(point(KEY), MESSAGE + b"!", signature)
    assert not verify(point(ec.derive_private_key(2, ec.SECP256R1())), MESSAGE, signature)


@both_paths
def test_both_s_and_its_negative_verify_as_everywhere_in_webauthn(verify: Verifier) -> None:
    r, s = good()

    assert verify(point(KEY), MESSAGE, der(r, s))
    assert verify(point(KEY), MESSAGE, der(r, N - s))


@both_paths
@pytest.mark.parametrize("name", sorted(variants()))
def test_another_value_or_another_encoding_is_not_a_signature(verify: Verifier, name: str) -> None:
    assert not verify(point(KEY), MESSAGE, variants()[name])


@both_paths
def test_a_high_bit_without_its_zero_byte_is_a_negative_number_and_refused(verify: Verifier) -> None:
    made = (decode_dss_signature(sign(MESSAGE)) for _ in count())
    r, s = next((r, s) for r, s in made if r >> 255 and s >> 255)
    bare_r, bare_s = tlv(2, r.to_bytes(32, "big")), tlv(2, s.to_bytes(32, "big"))

    assert verify(point(KEY), MESSAGE, der(r, s))
    for body in (bare_r + integer(s), integer(r) + bare_s, bare_r + bare_s):
        assert not verify(point(KEY), MESSAGE, tlv(0x30, body))


@both_paths
@pytest.mark.parametrize("bit", range(0, 8 * 72, 7))
def test_every_changed_bit_makes_it_another_signature(verify: Verifier, bit: int) -> None:
    signature = bytearray(der(*good()))
    if bit >= 8 * len(signature):
        return
    signature[bit // 8] ^= 1 << bit % 8

    assert not verify(point(KEY), MESSAGE, bytes(signature))


def bad_keys() -> dict[str, bytes]:
    key = point(KEY)
    x, y = int.from_bytes(key[1:33], "big"), int.from_bytes(key[33:], "big")
    return {
        "empty": b"",
        "compressed": bytes([2 + y % 2]) + key[1:33],
        "hybrid": bytes([6 + y % 2]) + key[1:],
        "without its first byte": key[1:],
        "one byte too long": key + b"\0",
        "infinity": b"\0",
        "zeros": b"\4" + bytes(64),
        "off the curve": key[:-1] + bytes([key[-1] ^ 1]),
        "on the twist": b"\4" + x.to_bytes(32, "big") + ((y + 1) % P).to_bytes(32, "big"),
        "x not reduced": b"\4" + (P + 5).to_bytes(32, "big") + (P - 1).to_bytes(32, "big"),
        "y is p": b"\4" + bytes(32) + P.to_bytes(32, "big"),
    }


@both_paths
@pytest.mark.parametrize("name", sorted(bad_keys()))
def test_a_bad_key_verifies_nothing_and_is_refused_at_enrolment(verify: Verifier, name: str) -> None:
    key = bad_keys()[name]

    assert not verify(key, MESSAGE, der(*good()))
    with pytest.raises(ValueError, match="P-256"):
        ecdsa.check_public_key(key)


def test_x_beyond_the_prime_is_refused_where_its_residue_is_on_the_curve() -> None:
    # x = 5 lies on the curve; p + 5 still fits into 32 bytes and must not count as its second spelling.
    right = 5**3 - 3 * 5 + 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    y = pow(right, (P + 1) // 4, P)
    assert (y * y - right) % P == 0
    ecdsa.check_public_key(b"\4" + (5).to_bytes(32, "big") + y.to_bytes(32, "big"))

    with pytest.raises(ValueError, match="not a point"):
        ecdsa.check_public_key(b"\4" + (P + 5).to_bytes(32, "big") + y.to_bytes(32, "big"))


@settings(max_examples=60, deadline=None)
@given(secret=scalars, message=st.binary(max_size=200))
@example(secret=1, message=b"")
@example(secret=2, message=b"")
@example(secret=N - 1, message=b"")
def test_what_a_library_signs_verifies_on_both_paths(secret: int, message: bytes) -> None:
    key = ec.derive_private_key(secret, ec.SECP256R1())
    signature = sign(message, key)

    assert ecdsa.verify(point(key), message, signature)
    assert ecdsa.verify_pure(point(key), message, signature)
    assert not ecdsa.verify_pure(point(key), message + b"x", signature)


@settings(max_examples=60, deadline=None)
@given(secret=scalars, r=st.integers(-1, N + 1), s=st.integers(-1, N + 1), message=st.binary(max_size=8))
def test_both_paths_and_the_library_agree_on_made_up_numbers(secret: int, r: int, s: int, message: bytes) -> None:
    key, signature = point(ec.derive_private_key(secret, ec.SECP256R1())), der(r, s)

    answers = {check(key, message, signature) for check in (ecdsa.verify, ecdsa.verify_pure, library)}

    assert len(answers) == 1


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 71), st.binary(min_size=1, max_size=4))
def test_pure_python_accepts_nothing_that_the_library_rejects(noise: bytes, at: int, patch: bytes) -> None:
    signature = bytearray(der(*good()))
    signature[at : at + len(patch)] = patch
    for candidate in (bytes(signature), noise):
        accepted = ecdsa.verify_pure(point(KEY), MESSAGE, candidate)
        assert accepted == ecdsa.verify(point(KEY), MESSAGE, candidate)
        assert not accepted or library(point(KEY), MESSAGE, candidate)


@pytest.mark.parametrize("secret", [1, 2, 3, N - 1, N - 2])
@pytest.mark.parametrize("k", [*range(1, 40), N - 1, 2**255])
def test_sums_that_meet_the_same_the_opposite_or_no_point_come_out_right(secret: int, k: int) -> None:
    # Keys and nonces next to the base point make the two halves of the sum equal, opposite or cancel on the way.
    nonce = ec.derive_private_key(k, ec.SECP256R1()).public_key().public_numbers()
    r = nonce.x % N
    e = int.from_bytes(hashlib.sha256(MESSAGE).digest(), "big")
    s = pow(k, -1, N) * (e + r * secret) % N
    key = point(ec.derive_private_key(secret, ec.SECP256R1()))

    assert ecdsa.verify_pure(key, MESSAGE, der(r, s))
    assert library(key, MESSAGE, der(r, s))


def test_a_sum_at_infinity_is_refused() -> None:
    # With secret -e/r the sum u1*G + u2*Q is the point at infinity, whatever s is.
    e = int.from_bytes(hashlib.sha256(MESSAGE).digest(), "big")
    for r in (1, 7, N - 1):
        secret = -e * pow(r, -1, N) % N
        key = point(ec.derive_private_key(secret, ec.SECP256R1()))
        for s in (1, 2, N - 1, secrets.randbelow(N - 1) + 1):
            assert not ecdsa.verify_pure(key, MESSAGE, der(r, s))
            assert not ecdsa.verify(key, MESSAGE, der(r, s))


# From Wycheproof (C2SP, Apache-2.0), ecdsa_secp256r1_sha256, cases 350, 351, 427 and 428; the message is "123400".
_LARGE = (
    "040ad99500288d466940031d72a9f5445a4d43784640855bf0a69874d2de5fe103"
    "c5011e6ef2c42dcd50d5d3d29f99ae6eba2c80c9244f4c5422f0979ff0c3ba5e"
)
_DUPLICATE = (
    "045b812fd521aafa69835a849cce6fbdeb6983b442d2444fe70e134c027fc46963"
    "838a40f2a36092e9004e92d8d940cf5638550ce672ce8b8d4e15eba5499249e9"
)
_MIRRORED = (
    "045b812fd521aafa69835a849cce6fbdeb6983b442d2444fe70e134c027fc46963"
    "7c75bf0c5c9f6d17ffb16d2726bf30a9c7aaf31a8d317472b1ea145ab66db616"
)
_SUM = (
    "304502206f2347cab7dd76858fe0555ac3bc99048c4aacafdfb6bcbe05ea6c42c4934569"
    "022100bb726660235793aa9957a61e76e00c2c435109cf9a15dd624d53f4301047856b"
)


@both_paths
@pytest.mark.parametrize(
    ("key", "signature", "good"),
    [
        (
            _LARGE,
            "303502104319055358e8617b0c46353d039cdaab"
            "022100ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254e",
            True,
        ),
        (
            _LARGE,
            "3046022100ffffffff00000001000000000000000000000000fffffffffffffffffffffffc"
            "022100ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254e",
            False,
        ),
        (_DUPLICATE, _SUM, True),
        (_MIRRORED, _SUM, False),
    ],
    ids=["x beyond n", "r not reduced", "equal halves", "opposite halves"],
)
def test_the_rarest_cases_of_the_arithmetic_come_out_right(
    verify: Verifier, key: str, signature: str, good: bool
) -> None:
    assert verify(bytes.fromhex(key), b"123400", bytes.fromhex(signature)) == good
