"""WebAuthn ceremonies, offline: every step of the verification fails on its own, and py_webauthn agrees on good ones."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import webauthn as library
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn.helpers.exceptions import InvalidAuthenticationResponse, InvalidRegistrationResponse
from webauthn.helpers.structs import AttestationFormat

from imprimatur.formats import webauthn
from imprimatur.formats.cose import CoseError, CoseKey
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.webauthn import Assertion, AuthenticatorData, ClientData, WebAuthnError
from tests.formats.soft_authenticator import (
    AT,
    BE,
    BS,
    ED,
    ORIGIN,
    UP,
    UV,
    Algorithm,
    AttestationRoot,
    SoftAuthenticator,
    cbor,
    client_data_json,
)

CHALLENGE = bytes(range(32))
KINDS: list[Algorithm] = ["ES256", "EdDSA", "RS256"]


@functools.cache
def authenticator(alg: Algorithm = "ES256", device_bound: bool = True) -> SoftAuthenticator:
    return SoftAuthenticator(alg, device_bound=device_bound)


def verify(answer: dict[str, Any], key: SoftAuthenticator | None = None, **changes: Any) -> Assertion:
    response = answer["response"]
    arguments: dict[str, Any] = {
        "credential": CoseKey.parse((key or authenticator()).public_key),
        "client_data": un_b64u(response["clientDataJSON"]),
        "authenticator_data": un_b64u(response["authenticatorData"]),
        "signature": un_b64u(response["signature"]),
        "challenge": CHALLENGE,
        "rp_id": "localhost",
        "origins": [ORIGIN],
    }
    return webauthn.verify_assertion(**(arguments | changes))


def library_verifies(answer: dict[str, Any], key: SoftAuthenticator | None = None) -> bool:
    try:
        library.verify_authentication_response(
            credential=answer,
            expected_challenge=CHALLENGE,
            expected_rp_id="localhost",
            expected_origin=ORIGIN,
            credential_public_key=(key or authenticator()).public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except InvalidAuthenticationResponse:
        return False
    return True


def refusal(answer: dict[str, Any], key: SoftAuthenticator | None = None, **changes: Any) -> str:
    with pytest.raises(WebAuthnError) as caught:
        verify(answer, key, **changes)
    assert caught.value.code in webauthn.CODES
    assert str(caught.value) == caught.value.message
    return caught.value.code


def rewritten(change: Callable[[bytes], bytes]) -> dict[str, Any]:
    """A good answer whose clientDataJSON was changed after it was signed."""
    answer = authenticator().sign(CHALLENGE)
    before = un_b64u(answer["response"]["clientDataJSON"])
    after = change(before)
    assert before != after
    answer["response"]["clientDataJSON"] = b64u(after)
    return answer


@pytest.mark.parametrize("alg", KINDS)
@pytest.mark.parametrize("device_bound", [True, False], ids=["device-bound", "synced"])
def test_a_good_assertion_verifies_here_and_in_py_webauthn(alg: Algorithm, device_bound: bool) -> None:
    key = authenticator(alg, device_bound)
    answer = key.sign(CHALLENGE)

    assert verify(answer, key) == Assertion(key.sign_count, device_bound, not device_bound, ORIGIN)
    assert library_verifies(answer, key)


def test_members_that_a_browser_may_add_change_nothing() -> None:
    answer = authenticator().sign(CHALLENGE, members={"other_keys_can_be_added_here": "do not compare", "n": None})

    assert verify(answer).origin == ORIGIN


def test_an_older_browser_may_leave_cross_origin_out() -> None:
    assert verify(authenticator().sign(CHALLENGE, cross_origin=None)).origin == ORIGIN


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"type": "webauthn.create"}, "type"),
        ({"type": "payment.get"}, "type"),
        ({"origin": "https://localhost.evil.example"}, "origin"),
        ({"origin": "http://localhost:8001"}, "origin"),
        ({"origin": "http://LOCALHOST:8000"}, "origin"),
        ({"origin": ORIGIN + "/"}, "origin"),
        ({"origin": ""}, "origin"),
        ({"cross_origin": True}, "cross-origin"),
        ({"cross_origin": True, "top_origin": "https://evil.example"}, "cross-origin"),
        ({"top_origin": "https://evil.example"}, "top-origin"),
        ({"top_origin": ORIGIN}, "top-origin"),
        ({"top_origin": ""}, "top-origin"),
        ({"rp_id": "example.org"}, "rp-id"),
        ({"rp_id": ""}, "rp-id"),
        ({"flags": UV}, "user-presence"),
        ({"flags": 0}, "user-presence"),
        ({"flags": UP}, "user-verification"),
        ({"flags": UP | BE | BS}, "user-verification"),
        ({"flags": UP | UV | BS}, "backup-flags"),
        ({"flags": UP | UV | ED}, "authenticator-data"),
        ({"flags": UP | UV | AT}, "authenticator-data"),
        ({"tail": b"\0"}, "authenticator-data"),
        ({"tail": b"\xa0"}, "authenticator-data"),
    ],
)
def test_each_check_refuses_a_correctly_signed_answer_with_its_own_code(overrides: dict[str, Any], code: str) -> None:
    assert refusal(authenticator().sign(CHALLENGE, **overrides)) == code


@pytest.mark.parametrize("overrides", [{"cross_origin": True}, {"top_origin": "https://evil.example"}])
def test_a_framed_ceremony_that_py_webauthn_accepts_is_refused(overrides: dict[str, Any]) -> None:
    answer = authenticator().sign(CHALLENGE, **overrides)

    assert library_verifies(answer)
    assert refusal(answer) in ("cross-origin", "top-origin")


def test_another_challenge_is_refused_before_anything_else_of_ours() -> None:
    for other in (b"x" * 32, b"", CHALLENGE[:-1], CHALLENGE + b"\0"):
        assert refusal(authenticator().sign(other, origin="https://evil.example")) == "challenge"


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b'":', b'": '),
        lambda raw: json.dumps(json.loads(raw), sort_keys=True).encode(),
        lambda raw: raw.replace(b"}", b',"extra":1}'),
        lambda raw: raw.replace(b',"crossOrigin":false', b""),
        lambda raw: raw.replace(b"localhost", b"\\u006cocalhost"),
    ],
    ids=["space at the end", "spaces", "sorted", "a member more", "a member less", "escaped"],
)
def test_client_data_written_anew_is_refused_though_it_says_the_same(change: Callable[[bytes], bytes]) -> None:
    assert refusal(rewritten(change)) == "signature"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b"\xef\xbb\xbf" + client_data_json("webauthn.get", CHALLENGE, ORIGIN, False),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False)[:-1],
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False) + b"{}",
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False)[:-1] + b',"type":"webauthn.get"}',
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False)[:-1] + b',"x":"\xff"}',
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False)[:-1] + b',"x":"\\ud800"}',
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, more="x" * 4096),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, None, crossOrigin="false"),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, None, crossOrigin=0),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, None, crossOrigin=None),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, topOrigin=None),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, topOrigin=["x"]),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, origin=[ORIGIN]),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, type=1),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, challenge=b64u(CHALLENGE) + "="),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, challenge=b64u(CHALLENGE)[:-1] + "9"),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, challenge="+/+/"),
        client_data_json("webauthn.get", CHALLENGE, ORIGIN, False, challenge=None),
        b"[" * 3000,
    ],
)
def test_client_data_that_readers_could_read_differently_is_refused(raw: bytes) -> None:
    assert refusal(authenticator().sign(CHALLENGE, client_data=raw)) == "client-data"


def test_client_data_keeps_its_bytes() -> None:
    raw = client_data_json("webauthn.get", CHALLENGE, ORIGIN, True, topOrigin="https://a.example")

    assert ClientData.parse(raw) == ClientData(raw, "webauthn.get", CHALLENGE, ORIGIN, True, "https://a.example")


@pytest.mark.parametrize("bit", range(8 * 37))
def test_every_changed_bit_of_the_authenticator_data_is_refused(bit: int) -> None:
    answer = authenticator().sign(CHALLENGE)
    raw = bytearray(un_b64u(answer["response"]["authenticatorData"]))
    raw[bit // 8] ^= 1 << bit % 8
    answer["response"]["authenticatorData"] = b64u(bytes(raw))

    refusal(answer)
    assert not library_verifies(answer)


@pytest.mark.parametrize("alg", KINDS)
def test_the_signature_of_another_key_or_answer_is_refused(alg: Algorithm) -> None:
    key, other = authenticator(alg), authenticator(alg, False)
    answer, second = key.sign(CHALLENGE), key.sign(b"x" * 32)

    assert refusal(answer, other) == "signature"
    answer["response"]["signature"] = second["response"]["signature"]
    assert refusal(answer, key) == "signature"
    answer["response"]["signature"] = ""
    assert refusal(answer, key) == "signature"


@pytest.mark.parametrize("length", [0, 36])
def test_authenticator_data_cut_short_is_refused(length: int) -> None:
    with pytest.raises(WebAuthnError) as caught:
        AuthenticatorData.parse(bytes(length))
    assert caught.value.code == "authenticator-data"


@pytest.mark.parametrize("extensions", [{}, {"credProtect": 2}, {"hmac-secret": b"x" * 80, "thirdPartyPayment": False}])
def test_well_formed_extension_data_is_taken(extensions: dict[str, Any]) -> None:
    answer = authenticator().sign(CHALLENGE, flags=UP | UV | ED, tail=cbor(extensions))

    assert verify(answer).device_bound
    assert library_verifies(answer)


@pytest.mark.parametrize(
    "tail",
    [b"", b"\x01", b"\xa1\x01\x02", b"\xbf\xff", cbor({"a": 1}) + b"\0", cbor({"a": 1})[:-1], cbor(["a"])],
)
def test_other_extension_data_is_refused(tail: bytes) -> None:
    assert refusal(authenticator().sign(CHALLENGE, flags=UP | UV | ED, tail=tail)) == "authenticator-data"


def test_a_new_credential_has_no_place_in_an_assertion() -> None:
    key = authenticator()
    answer = key.sign(CHALLENGE, flags=UP | UV | AT, tail=key.attested_credential())

    assert refusal(answer) == "authenticator-data"


def test_authenticator_data_beyond_reason_is_refused() -> None:
    answer = authenticator().sign(CHALLENGE, flags=UP | UV | ED, tail=cbor({"a": b"x" * 4096}))

    assert refusal(answer) == "authenticator-data"


def test_no_origin_at_all_or_one_text_instead_of_a_list_accepts_nothing() -> None:
    answer = authenticator().sign(CHALLENGE)

    assert refusal(answer, origins=[]) == "origin"
    with pytest.raises(TypeError):
        verify(answer, origins=ORIGIN + "/more")


@pytest.mark.parametrize(
    ("origin", "rp_id", "fits"),
    [
        ("https://desk.example.org", "desk.example.org", True),
        ("https://desk.example.org:8443", "desk.example.org", True),
        ("https://desk.example.org", "example.org", True),
        ("https://a.b.example.org", "example.org", True),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("https://localhost", "localhost", True),
        ("http://localhost", "localhost", True),
        ("http://localhost:1", "localhost", True),
        ("http://localhost:65535", "localhost", True),
        ("http://localhost:65536", "localhost", False),
        ("http://localhost:0", "localhost", False),
        ("http://localhost:080", "localhost", False),
        ("http://localhost:80", "localhost", False),
        ("https://desk.example.org:443", "desk.example.org", False),
        ("http://desk.example.org", "desk.example.org", False),
        ("http://a.localhost:8000", "localhost", False),
        ("http://localhost.evil.example", "localhost", False),
        ("http://127.0.0.1:8000", "localhost", False),
        ("https://evil-example.org", "example.org", False),
        ("https://example.org.evil.example", "example.org", False),
        ("https://org", "example.org", False),
        ("https://desk.example.org.", "desk.example.org", False),
        ("https://.example.org", "example.org", False),
        ("https://-.example.org", "example.org", False),
        ("https://desk.example.org/", "desk.example.org", False),
        ("https://desk.example.org?x", "desk.example.org", False),
        ("https://evil.example#.example.org", "example.org", False),
        ("https://evil.example\\.example.org", "example.org", False),
        ("https://user@desk.example.org", "desk.example.org", False),
        ("https://evil.example@desk.example.org", "desk.example.org", False),
        ("https://DESK.example.org", "desk.example.org", False),
        ("HTTPS://desk.example.org", "desk.example.org", False),
        ("https://desk.example.org\n", "desk.example.org", False),
        (" https://desk.example.org", "desk.example.org", False),
        ("https://desk.example.org:", "desk.example.org", False),
        ("https://desk.example.org:٣", "desk.example.org", False),
        ("https://d\u0435sk.example.org", "d\u0435sk.example.org", False),
        ("android:apk-key-hash:abc", "desk.example.org", False),
        ("file://localhost", "localhost", False),
        ("null", "null", False),
        ("", "", False),
        ("https://", "", False),
        ("https://a.example", "", False),
        ("https://a." + "b" * 600 + ".example", "example", False),
    ],
)
def test_without_a_list_an_origin_must_be_one_that_may_use_the_site(origin: str, rp_id: str, fits: bool) -> None:
    key = SoftAuthenticator("EdDSA", rp_id=rp_id, origin=origin)
    answer = key.sign(CHALLENGE)

    assert webauthn.origin_fits(origin, rp_id) == fits
    if fits:
        assert verify(answer, key, rp_id=rp_id, origins=None).origin == origin
    else:
        assert refusal(answer, key, rp_id=rp_id, origins=None) == "origin"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([0, AT, ED, AT | ED]))
def test_noise_after_the_counter_raises_nothing_but_our_error(noise: bytes, flags: int) -> None:
    raw = bytes(32) + bytes([flags]) + bytes(4) + noise
    try:
        read = AuthenticatorData.parse(raw)
    except WebAuthnError as error:
        assert error.code == "authenticator-data"
        return
    assert read.raw == raw
    assert (read.credential is not None) == bool(flags & AT)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_we_accept_py_webauthn_accepts_too(data: st.DataObject) -> None:
    key = authenticator()
    answer = key.sign(
        CHALLENGE,
        flags=data.draw(st.integers(0, 255)),
        sign_count=data.draw(st.integers(1, 2**32 - 1)),
        origin=data.draw(st.sampled_from([ORIGIN, "https://evil.example"])),
        cross_origin=data.draw(st.sampled_from([None, False, True])),
        tail=data.draw(st.sampled_from([b"", b"\xa0", key.attested_credential()])),
    )
    try:
        verify(answer)
    except WebAuthnError:
        return
    assert library_verifies(answer)


@pytest.mark.parametrize("alg", KINDS)
@pytest.mark.parametrize("device_bound", [True, False], ids=["device-bound", "synced"])
def test_a_registration_reads_as_py_webauthn_reads_it(alg: Algorithm, device_bound: bool) -> None:
    key = authenticator(alg, device_bound)
    answer = key.register(CHALLENGE)

    made = webauthn.parse_registration(un_b64u(answer["response"]["attestationObject"]))
    known = library.verify_registration_response(
        credential=answer,
        expected_challenge=CHALLENGE,
        expected_rp_id="localhost",
        expected_origin=ORIGIN,
        require_user_verification=True,
    )

    assert made.credential_id == known.credential_id == key.credential
    assert made.cose_key == known.credential_public_key == key.public_key
    assert made.aaguid == known.aaguid
    assert (made.fmt, made.flags & AT) == ("none", AT)
    assert made.authenticator.device_bound == device_bound
    made.authenticator.check("localhost")
    ClientData.parse(un_b64u(answer["response"]["clientDataJSON"])).check(
        typ=webauthn.CREATE, challenge=CHALLENGE, rp_id="localhost", origins=None
    )


def attestation(**changes: Any) -> bytes:
    key = authenticator()
    data = key.authenticator_data(flags=UP | UV | AT, tail=key.attested_credential())
    return cbor({"fmt": "none", "attStmt": {}, "authData": data} | changes)


def test_a_registration_with_extensions_and_a_statement_reads() -> None:
    key = authenticator()
    tail = key.attested_credential() + cbor({"credProtect": 3})
    data = key.authenticator_data(flags=UP | UV | AT | ED, tail=tail)

    statement = {"alg": -7, "sig": b"s", "x5c": [b"c"]}
    made = webauthn.parse_registration(attestation(fmt="packed", authData=data, attStmt=statement))

    assert (made.fmt, made.cose_key) == ("packed", key.public_key)


def bad_registrations() -> dict[str, bytes]:
    key = authenticator()

    def data(tail: bytes, flags: int = UP | UV | AT) -> bytes:
        return key.authenticator_data(flags=flags, tail=tail)

    head = key.aaguid + (32).to_bytes(2, "big") + key.credential
    return {
        "empty": b"",
        "no map": cbor([1]),
        "trailing byte": attestation() + b"\0",
        "cut short": attestation()[:-1],
        "a member more": attestation(more=1),
        "fmt is a number": attestation(fmt=1),
        "authData is text": attestation(authData="x"),
        "no credential": attestation(authData=data(b"", UP | UV)),
        "flag without a credential": attestation(authData=data(b"")),
        "credential without a flag": attestation(authData=data(key.attested_credential(), UP | UV)),
        "credential id of no length": attestation(authData=data(key.aaguid + b"\0\0" + key.public_key)),
        "credential id too long": attestation(
            authData=data(key.aaguid + (1024).to_bytes(2, "big") + bytes(1024) + key.public_key)
        ),
        "credential id beyond the end": attestation(authData=data(key.aaguid + b"\1\0" + bytes(20))),
        "no key": attestation(authData=data(head)),
        "a byte after the key": attestation(authData=data(key.attested_credential() + b"\0")),
        "too long": attestation(attStmt={"x": bytes(70_000)}),
    }


@pytest.mark.parametrize("name", sorted(bad_registrations()))
def test_a_malformed_registration_is_refused(name: str) -> None:
    with pytest.raises(WebAuthnError) as caught:
        webauthn.parse_registration(bad_registrations()[name])
    assert caught.value.code == "authenticator-data"


def test_a_registration_with_a_key_that_we_do_not_take_is_refused() -> None:
    key = authenticator()
    tail = key.aaguid + (4).to_bytes(2, "big") + b"cred" + cbor({1: 2, 3: -35, -1: 2, -2: bytes(48), -3: bytes(48)})

    with pytest.raises(CoseError, match="not accepted"):
        webauthn.parse_registration(attestation(authData=key.authenticator_data(flags=UP | UV | AT, tail=tail)))


@pytest.mark.parametrize(
    "overrides", [{"origin": "https://evil.example"}, {"type": "webauthn.get"}, {"rp_id": "x"}, {"flags": UP}]
)
def test_the_soft_authenticator_can_lie_at_registration(overrides: dict[str, Any]) -> None:
    with pytest.raises(InvalidRegistrationResponse):
        library.verify_registration_response(
            credential=authenticator().register(CHALLENGE, **overrides),
            expected_challenge=CHALLENGE,
            expected_rp_id="localhost",
            expected_origin=ORIGIN,
            require_user_verification=True,
        )


def test_an_attested_registration_reads_and_py_webauthn_trusts_its_maker_only() -> None:
    maker, stranger = AttestationRoot(), AttestationRoot()
    key = SoftAuthenticator("ES256", aaguid=b"a" * 16)
    answer = key.register(CHALLENGE, attestation=maker)

    def trusted(root: AttestationRoot) -> bool:
        try:
            library.verify_registration_response(
                credential=answer,
                expected_challenge=CHALLENGE,
                expected_rp_id="localhost",
                expected_origin=ORIGIN,
                require_user_verification=True,
                pem_root_certs_bytes_by_fmt={AttestationFormat.PACKED: [root.pem]},
            )
        except InvalidRegistrationResponse:
            return False
        return True

    assert trusted(maker)
    assert not trusted(stranger)
    made = webauthn.parse_registration(un_b64u(answer["response"]["attestationObject"]))
    assert (made.fmt, made.cose_key, made.aaguid) == ("packed", key.public_key, str(uuid.UUID(bytes=b"a" * 16)))
