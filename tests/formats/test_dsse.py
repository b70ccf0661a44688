"""Envelopes against the DSSE vector and securesystemslib, and against every other way to write them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # public, but not in an __all__

from imprimatur.formats import dsse
from imprimatur.formats.keys import KeyPair
from tests.vectors import vectors

PAIR = KeyPair.from_seed(bytes(range(32)))
PAYLOAD = b'{"kind":"log.genesis","v":1}'
RAW = dsse.seal(PAYLOAD, PAIR.sign, PAIR.keyid)


def their_key(pair: KeyPair) -> SSlibKey:
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(pair.public_key))


def rewrite(**changes: Any) -> bytes:
    document = json.loads(RAW) | changes
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def signature(**changes: Any) -> list[dict[str, Any]]:
    return [json.loads(RAW)["signatures"][0] | changes]


def test_pae_and_signature_of_the_protocol_vector_agree() -> None:
    vector = json.loads((vectors() / "dsse/protocol_v1.json").read_text())
    encoded = dsse.pae(vector["payload_type"], vector["body"].encode())
    assert encoded.decode() == vector["pae"]
    curve = vector["ecdsa_p256"]
    key = ec.EllipticCurvePublicNumbers(int(curve["x"]), int(curve["y"]), ec.SECP256R1()).public_key()
    raw = base64.b64decode(curve["sig_raw_r_s_base64"])
    both = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.verify(both, encoded, ec.ECDSA(SHA256()))


def test_pae_counts_bytes_and_not_characters() -> None:
    assert dsse.pae("té", b"\xff") == b"DSSEv1 3 t\xc3\xa9 1 \xff"


@given(st.binary(max_size=300), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_what_we_seal_opens_and_securesystemslib_accepts_it(payload: bytes, payload_type: str) -> None:
    raw = dsse.seal(payload, PAIR.sign, PAIR.keyid, payload_type)
    envelope = dsse.open_envelope(raw)
    assert (envelope.payload, envelope.payload_type, envelope.keyid) == (payload, payload_type, PAIR.keyid)
    assert envelope.to_bytes() == raw
    assert dsse.verify(envelope, PAIR.public_key)

    theirs = TheirEnvelope.from_dict(json.loads(raw))
    assert theirs.pae() == dsse.pae(payload_type, payload)
    assert theirs.verify([their_key(PAIR)], 1)


@given(st.binary(max_size=100))
def test_what_securesystemslib_would_refuse_we_refuse(payload: bytes) -> None:
    other = KeyPair.from_seed(bytes(32))
    cases = [
        dsse.seal(payload, other.sign, PAIR.keyid),
        dsse.seal(payload, PAIR.sign, other.keyid),
        dsse.seal(payload, PAIR.sign, "no such key"),
        dsse.seal(payload, lambda body: PAIR.sign(body + b"!"), PAIR.keyid),
        dsse.seal(payload, lambda body: PAIR.sign(payload), PAIR.keyid),
        dsse.seal(payload, lambda body: PAIR.sign(body)[:-1], PAIR.keyid),
    ]
    for raw in cases:
        assert not dsse.verify(dsse.open_envelope(raw), PAIR.public_key)
        with pytest.raises(VerificationError):
            TheirEnvelope.from_dict(json.loads(raw)).verify([their_key(PAIR)], 1)


def test_the_bytes_are_canonical_json_with_padded_base64() -> None:
    encoded = base64.b64encode(PAYLOAD).decode()
    assert RAW.startswith(
        f'{{"payload":"{encoded}","payloadType":"{dsse.PAYLOAD_TYPE}","signatures":[{{"keyid":'.encode()
    )
    assert rewrite() == RAW


LOOSE = base64.b64encode(PAYLOAD + b"x").decode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        RAW + b"\n",
        b" " + RAW,
        b"\xef\xbb\xbf" + RAW,
        RAW.replace(b":", b": ", 1),
        RAW.replace(b"application", b"\\u0061pplication"),
        RAW.replace(b"/vnd", b"\\/vnd"),
        RAW.replace(b'"payload":', b'"payload":"","payload":', 1),
        json.dumps(dict(reversed(json.loads(RAW).items())), separators=(",", ":")).encode(),
        rewrite(extra=1),
        rewrite(payloadType=None),
        rewrite(payload=5),
        rewrite(payload=LOOSE.rstrip("=")),
        rewrite(payload=LOOSE + "="),
        rewrite(payload=LOOSE[:-3] + "B=="),
        rewrite(payload=base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()),
        rewrite(payload=LOOSE[:4] + "\n" + LOOSE[4:]),
        rewrite(signatures=[]),
        rewrite(signatures={}),
        rewrite(signatures=signature() * 2),
        rewrite(signatures=signature(cert="x")),
        rewrite(signatures=signature(keyid=None)),
        rewrite(signatures=[{"sig": signature()[0]["sig"]}]),
        rewrite(signatures=signature(sig=signature()[0]["sig"].rstrip("="))),
        rewrite(signatures=signature(sig="****")),
    ],
)
def test_every_other_way_to_write_an_envelope_is_refused(raw: bytes) -> None:
    assert raw != RAW
    with pytest.raises(dsse.DsseError):
        dsse.open_envelope(raw)


@settings(max_examples=300)
@given(st.data())
def test_invariant_7_no_changed_byte_of_an_envelope_passes(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(RAW) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda item: item != RAW[position]))
    changed = RAW[:position] + bytes([value]) + RAW[position + 1 :]
    try:
        envelope = dsse.open_envelope(changed)
    except dsse.DsseError:
        return
    assert not dsse.verify(envelope, PAIR.public_key)


def test_a_key_of_another_length_verifies_nothing() -> None:
    envelope = dsse.open_envelope(RAW)
    assert not dsse.verify(envelope, b"")
    assert not dsse.verify(envelope, PAIR.public_key + b"\0")
