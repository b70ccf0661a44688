"""COSE keys and the CBOR they stand in: three kinds, one spelling each."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa as library_rsa
from fido2 import cbor as ctap
from fido2.cose import CoseKey as LibraryKey
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.formats import cbor, keys
from imprimatur.formats.cose import ALGORITHMS, CoseError, CoseKey
from imprimatur.formats.encoding import b64u, un_b64u
from tests.formats.soft_authenticator import Algorithm, SoftAuthenticator
from tests.formats.soft_authenticator import cbor as encode

KINDS: list[Algorithm] = ["ES256", "EdDSA", "RS256"]


@functools.cache
def authenticator(alg: Algorithm) -> SoftAuthenticator:
    return SoftAuthenticator(alg)


def document(alg: Algorithm) -> dict[int, Any]:
    found: dict[int, Any] = cbor.loads(authenticator(alg).public_key)
    return found


values = st.recursive(
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=40) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-9, 30) | st.text(max_size=4), inner),
    max_leaves=8,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@settings(max_examples=200, deadline=None)
@given(values)
def test_canonical_cbor_of_another_library_reads_back(value: Any) -> None:
    raw = ctap.encode(value)
    if depth(value) > cbor.MAX_DEPTH:
        return

    assert encode(value) == raw
    assert cbor.loads(raw) == value


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=40))
def test_whatever_reads_has_exactly_one_spelling(raw: bytes) -> None:
    try:
        value = cbor.loads(raw)
    except cbor.CborError:
        return
    assert encode(value) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "1801",
        "190018",
        "1a0000ffff",
        "1b00000000ffffffff",
        "5801ff",
        "3800",
        "5f41004100ff",
        "7f6161ff",
        "9f01ff",
        "bf0101ff",
        "ff",
        "a2020001 00",
        "a201000100",
        "a2616100 0100",
        "a2626161 00 6162 00",
        "a1f500",
        "a1810000",
        "c001",
        "d8184100",
        "f90000",
        "fa00000000",
        "fb0000000000000000",
        "f7",
        "f0",
        "f814",
        "f8ff",
        "1c",
        "1f",
        "62c328",
        "0000",
        "4200",
        "8201",
        "a101",
        "9bffffffffffffffff",
        "bbffffffffffffffff",
        "5bffffffffffffffff",
        "81" * 9 + "00",
        "81" * 5000,
    ],
)
def test_cbor_of_any_other_form_is_refused(raw: str) -> None:
    with pytest.raises(cbor.CborError):
        cbor.loads(bytes.fromhex(raw))


@pytest.mark.parametrize("alg", KINDS)
def test_each_kind_parses_and_its_key_verifies(alg: Algorithm) -> None:
    maker = authenticator(alg)
    key = CoseKey.parse(maker.public_key)
    answer = maker.sign(b"c" * 32)["response"]
    signature = un_b64u(answer["signature"])
    message = un_b64u(answer["authenticatorData"]) + hashlib.sha256(un_b64u(answer["clientDataJSON"])).digest()

    assert (key.kind, key.raw) == (alg, maker.public_key)
    assert key.alg in ALGORITHMS
    assert key.verify(message, signature)
    assert not key.verify(message + b"x", signature)
    assert not key.verify(message, b"")
    LibraryKey.parse(cbor2.loads(maker.public_key)).verify(message, signature)


def test_an_ed25519_key_is_named_as_everywhere_else() -> None:
    assert authenticator("EdDSA").thumbprint == keys.thumbprint(document("EdDSA")[-2])


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_thumbprint_is_that_of_rfc_7638(alg: Algorithm) -> None:
    raw = document(alg)
    if alg == "ES256":
        jwk = {"crv": "P-256", "kty": "EC", "x": b64u(raw[-2]), "y": b64u(raw[-3])}
    else:
        jwk = {"e": b64u(raw[-2]), "kty": "RSA", "n": b64u(raw[-1])}

    expected = b64u(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())
    assert authenticator(alg).thumbprint == expected


def test_the_thumbprint_of_the_rfc_s_own_example() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn"
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qM"
        "QvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJz"
        "KnqDKgw"
    )
    raw = encode({1: 3, 3: -257, -1: un_b64u(modulus), -2: un_b64u("AQAB")})

    assert CoseKey.parse(raw).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("alg", KINDS)
def test_another_spelling_of_the_same_key_is_refused(alg: Algorithm) -> None:
    raw, parts = authenticator(alg).public_key, document(alg)
    backwards = bytes([0xA0 | len(parts)]) + b"".join(
        encode(name) + encode(value) for name, value in reversed(list(parts.items()))
    )
    for other in (
        raw + b"\0",
        raw[:-1],
        backwards,
        b"\xbf" + raw[1:] + b"\xff",
        bytes([0xB8, len(parts)]) + raw[1:],
        raw.replace(b"\1", b"\x18\1", 1),
        encode(parts | {2: b"an id"}),
        encode(parts | {4: [2]}),
        encode(parts | {-9: 0}),
        encode({str(name): value for name, value in parts.items()}),
        encode([raw]),
        encode(raw),
        b"",
    ):
        with pytest.raises(CoseError):
            CoseKey.parse(other)


@pytest.mark.parametrize(
    ("alg", "changes", "words"),
    [
        ("EdDSA", {3: -7}, "disagree"),
        ("EdDSA", {3: -19}, "not accepted"),
        ("EdDSA", {3: -8.0}, "canonical form"),
        ("EdDSA", {1: 2}, "disagree"),
        ("EdDSA", {1: True}, "disagree"),
        ("EdDSA", {-1: 7}, "Ed25519"),
        ("EdDSA", {-2: b"\1" + bytes(31)}, "low order"),
        ("EdDSA", {-2: b"\xff" * 32}, "canonical"),
        ("EdDSA", {-2: bytes(31)}, "length"),
        ("EdDSA", {-2: "x" * 32}, "length"),
        ("ES256", {3: -35}, "not accepted"),
        ("ES256", {3: -47}, "not accepted"),
        ("ES256", {3: None}, "not accepted"),
        ("ES256", {-1: 2}, "P-256"),
        ("ES256", {-1: True}, "P-256"),
        ("ES256", {-2: bytes(32)}, "curve"),
        ("ES256", {-3: True}, "length"),
        ("ES256", {-3: bytes(33)}, "length"),
        ("RS256", {3: -65535}, "not accepted"),
        ("RS256", {3: -37}, "not accepted"),
        ("RS256", {-2: b"\3"}, "exponent"),
        ("RS256", {-2: b"\0\1\0\1"}, "zero byte"),
        ("RS256", {-2: b""}, "zero byte"),
        ("RS256", {-1: b"\xff" * 128}, "bits"),
        ("RS256", {-1: b"\xff" * 513}, "bits"),
        ("RS256", {-1: b"\0" + b"\xff" * 256}, "zero byte"),
        ("RS256", {-1: b"\xff" * 1100}, "at most"),
    ],
)
def test_another_kind_of_key_is_refused_with_words(alg: Algorithm, changes: dict[int, Any], words: str) -> None:
    raw = cbor2.dumps(document(alg) | changes, canonical=True)

    with pytest.raises(CoseError, match=words):
        CoseKey.parse(raw)


@pytest.mark.parametrize("alg", KINDS)
@pytest.mark.parametrize("missing", [1, 3, -1, -2])
def test_a_key_with_a_part_missing_is_refused(alg: Algorithm, missing: int) -> None:
    parts = document(alg)
    del parts[missing]

    with pytest.raises(CoseError):
        CoseKey.parse(encode(parts))


def test_a_key_of_one_kind_never_verifies_a_signature_of_another() -> None:
    for alg in KINDS:
        answer = authenticator(alg).sign(b"c" * 32)["response"]
        message = un_b64u(answer["authenticatorData"]) + hashlib.sha256(un_b64u(answer["clientDataJSON"])).digest()
        for other in KINDS:
            verified = CoseKey.parse(authenticator(other).public_key).verify(message, un_b64u(answer["signature"]))
            assert verified == (alg == other)


def test_the_biggest_rsa_key_fits() -> None:
    numbers = library_rsa.generate_private_key(65537, 4096).public_key().public_numbers()

    CoseKey.parse(encode({1: 3, 3: -257, -1: numbers.n.to_bytes(512, "big"), -2: b"\1\0\1"}))
