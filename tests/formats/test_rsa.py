"""RS256 against `cryptography`, forged paddings and weak keys."""

from __future__ import annotations

import functools
import hashlib
from itertools import count

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as library_rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.formats import rsa

MESSAGE = b"approve payment 7"
SIZE = 256
INFO = bytes.fromhex("3031300d060960864801650304020105000420")
DIGEST = hashlib.sha256(MESSAGE).digest()
SHA512_INFO = bytes.fromhex("3051300d060960864801650304020305000440")
SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")


@functools.cache
def key(bits: int = 2048, exponent: int = 65537) -> library_rsa.RSAPrivateKey:
    return library_rsa.generate_private_key(exponent, bits)


def public(private: library_rsa.RSAPrivateKey) -> tuple[int, int]:
    numbers = private.public_key().public_numbers()
    return numbers.n, numbers.e


def sign(message: bytes, private: library_rsa.RSAPrivateKey) -> bytes:
    return private.sign(message, padding.PKCS1v15(), hashes.SHA256())


def raw(block: bytes) -> bytes:
    """The private operation on a block of our choosing: a signer that pads wrongly."""
    numbers = key().private_numbers()
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(SIZE, "big")


def block(tail: bytes, *, head: bytes = b"\0\1", filler: bytes = b"\xff", size: int = SIZE) -> bytes:
    return head + filler * (size - len(head) - 1 - len(tail)) + b"\0" + tail


def library(n: int, e: int, message: bytes, signature: bytes) -> bool:
    try:
        library_rsa.RSAPublicNumbers(e, n).public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


FORGED = {
    "type 2 block": block(INFO + DIGEST, head=b"\0\2"),
    "first byte not zero": block(INFO + DIGEST, head=b"\x01\1"),
    "filler of zeros": block(INFO + DIGEST, filler=b"\0"),
    "one wrong filler byte": block(INFO + DIGEST)[:9] + b"\xfe" + block(INFO + DIGEST)[10:],
    "no separator": b"\0\1" + b"\xff" * (SIZE - 2 - 51) + INFO + DIGEST,
    "short filler, garbage after the digest": b"\0\1" + b"\xff" * 8 + b"\0" + INFO + DIGEST + b"\xaa" * (SIZE - 62),
    "garbage inside the algorithm": block(INFO[:2] + INFO[2:17] + b"\x00" * 4 + INFO[17:] + DIGEST),
    "without the NULL parameters": block(bytes.fromhex("302f300b0609608648016503040201") + b"\4\x20" + DIGEST),
    "the OID of SHA-512": block(bytes.fromhex("3031300d060960864801650304020305000420") + DIGEST),
    "a SHA-512 signature": block(SHA512_INFO + hashlib.sha512(MESSAGE).digest()),
    "a SHA-1 signature": block(SHA1_INFO + hashlib.sha1(MESSAGE).digest()),
    "the digest alone": block(DIGEST),
    "BER lengths": block(bytes.fromhex("308131300d060960864801650304020105000420") + DIGEST),
    "another digest": block(INFO + hashlib.sha256(b"x").digest()),
    "zero": bytes(SIZE),
    "one": bytes(SIZE - 1) + b"\1",
}


def test_a_good_signature_verifies_and_only_over_its_message_by_its_key() -> None:
    n, e = public(key())
    signature = sign(MESSAGE, key())

    assert rsa.verify(n, e, MESSAGE, signature)
    assert raw(block(INFO + DIGEST)) == signature
    assert not rsa.verify(n, e, MESSAGE + b"!", signature)
    assert not rsa.verify(n + 2, e, MESSAGE, signature)
    assert not rsa.verify(n, e + 2, MESSAGE, signature)


@pytest.mark.parametrize("name", sorted(FORGED))
def test_a_forged_block_is_refused_as_the_library_refuses_it(name: str) -> None:
    n, e = public(key())
    signature = raw(FORGED[name])

    assert not rsa.verify(n, e, MESSAGE, signature)
    assert not library(n, e, MESSAGE, signature)


def test_a_signature_has_exactly_the_length_of_the_modulus_and_is_below_it() -> None:
    n, e = public(key())
    signature = sign(MESSAGE, key())
    plus = int.from_bytes(signature, "big") + n

    for other in (
        b"",
        signature[1:],
        signature[:-1],
        b"\0" + signature,
        signature + b"\0",
        plus.to_bytes(SIZE + 1, "big"),
        n.to_bytes(SIZE, "big"),
    ):
        assert not rsa.verify(n, e, MESSAGE, other)


def test_a_signature_plus_the_modulus_is_no_second_signature_though_it_has_the_same_length() -> None:
    n, e = public(key())
    made = (
        (message, int.from_bytes(sign(message, key()), "big") + n) for message in map(str.encode, map(str, count()))
    )
    message, plus = next((message, plus) for message, plus in made if plus < 1 << 8 * SIZE)

    assert rsa.verify(n, e, message, (plus - n).to_bytes(SIZE, "big"))
    assert not rsa.verify(n, e, message, plus.to_bytes(SIZE, "big"))
    assert not library(n, e, message, plus.to_bytes(SIZE, "big"))


@pytest.mark.parametrize("bits", [2048, 2056, 3072, 4096])
def test_moduli_from_2048_to_4096_bits_verify(bits: int) -> None:
    n, e = public(key(bits))

    assert rsa.verify(n, e, MESSAGE, sign(MESSAGE, key(bits)))


@pytest.mark.parametrize(
    ("n", "e"),
    [
        (2**2047 - 1, 65537),
        (2**1024 - 1, 65537),
        (2**4097 - 1, 65537),
        (2**2048 - 2, 65537),
        (-(2**2048 - 1), 65537),
        (0, 65537),
        (2**2048 - 1, 1),
        (2**2048 - 1, 3),
        (2**2048 - 1, 17),
        (2**2048 - 1, 65535),
        (2**2048 - 1, 65538),
        (2**2048 - 1, 2**32 + 1),
        (2**2048 - 1, -65537),
    ],
    ids=lambda value: hex(value)[:12] if isinstance(value, int) else None,
)
def test_a_weak_or_strange_key_is_refused_and_verifies_nothing(n: int, e: int) -> None:
    with pytest.raises(ValueError, match="RSA"):
        rsa.check_public_key(n, e)
    assert not rsa.verify(n, e, MESSAGE, b"\1" * SIZE)


def test_exponent_3_and_its_cube_root_forgery_are_refused() -> None:
    # Bleichenbacher's 2006 forgery needs a small exponent and a verifier that ignores what follows the digest.
    numbers = key().public_key().public_numbers()
    wanted = int.from_bytes(b"\0\1" + b"\xff" * 8 + b"\0" + INFO + DIGEST + bytes(SIZE - 62), "big")
    low, high = 0, 1 << 700
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < wanted else (low, middle)
    assert (low**3).to_bytes(SIZE, "big")[:62] == wanted.to_bytes(SIZE, "big")[:62]

    assert not rsa.verify(numbers.n, 3, MESSAGE, low.to_bytes(SIZE, "big"))


@settings(max_examples=30, deadline=None)
@given(message=st.binary(max_size=200), at=st.integers(0, 8 * SIZE - 1))
def test_it_agrees_with_the_library_on_good_and_on_damaged_signatures(message: bytes, at: int) -> None:
    n, e = public(key())
    signature = sign(message, key())
    damaged = bytearray(signature)
    damaged[at // 8] ^= 1 << at % 8

    assert rsa.verify(n, e, message, signature)
    assert not rsa.verify(n, e, message, bytes(damaged))
    assert not library(n, e, message, bytes(damaged))


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, SIZE - 1), patch=st.binary(min_size=1, max_size=24))
def test_it_accepts_exactly_the_blocks_that_the_library_accepts(at: int, patch: bytes) -> None:
    n, e = public(key())
    wrong = bytearray(block(INFO + DIGEST))
    wrong[at : at + len(patch)] = patch[: SIZE - at]
    signature = raw(bytes(wrong)) if int.from_bytes(wrong, "big") < n else bytes(wrong)

    assert rsa.verify(n, e, MESSAGE, signature) == library(n, e, MESSAGE, signature)
