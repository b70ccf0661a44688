"""The request signature profile: an independent library accepts what we sign, and we accept nothing but the profile."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

from imprimatur.formats import httpsig
from imprimatur.formats.encoding import b64, b64u
from imprimatur.formats.httpsig import HttpSigError
from imprimatur.formats.keys import KeyPair

KEY = KeyPair.from_seed(b"a" * 32)
ORIGIN = "https://desk.example"
SUBMIT = ORIGIN + "/api/v1/actions"
REDEEM = ORIGIN + "/api/v1/actions/act_01jd4k4q00abcdefghjkmnpqrs/redeem"
WAIT = ORIGIN + "/api/v1/actions/act_01jd4k4q00abcdefghjkmnpqrs?wait=25"
NONCE = b64u(b"n" * 16)
CREATED = 1_795_000_000
BODY = b'{"tool":"write_file"}'


@dataclass
class Message:
    """A request as both libraries see it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def lower(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def verify(self) -> httpsig.SignatureInput:
        return httpsig.verify_request(
            method=self.method, target_uri=self.url, headers=self.lower, body=self.body, public_key=KEY.public_key
        )


class Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        assert key_id == KEY.thumbprint
        return Ed25519PublicKey.from_public_bytes(KEY.public_key)

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(KEY.seed)


def signed(method: str = "POST", url: str = SUBMIT, body: bytes = BODY, created: int = CREATED) -> Message:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "run-1:call-1"} if method == "POST" else {}
    if url == SUBMIT:
        headers["Imprimatur-Commitments"] = "sha256:" + "ab" * 32
    nonce = NONCE if method == "POST" else None
    added = httpsig.sign_request(
        method=method, target_uri=url, headers=headers, body=body or None, key=KEY, created=created, nonce=nonce
    )
    return Message(method, url, {**headers, **added}, body)


def resign(message: Message, raw: str, components: list[str]) -> Message:
    """Sign anything at all with the agent's real key: only the profile can refuse it, not the cryptography."""
    values = {"@method": message.method, "@target-uri": message.url, "@authority": "desk.example", **message.lower}
    lines = [f'"{name}": {values[name]}' for name in components] + [f'"@signature-params": {raw}']
    message.headers["Signature-Input"] = f"sig1={raw}"
    message.headers["Signature"] = f"sig1=:{b64(KEY.sign(chr(10).join(lines).encode()))}:"
    return message


FULL = list(httpsig.components_for("POST", "/api/v1/actions"))


def parameters(
    components: list[str] | None = None,
    *,
    created: str = f";created={CREATED}",
    expires: str = f";expires={CREATED + 60}",
    nonce: str = f';nonce="{NONCE}"',
    keyid: str = f';keyid="{KEY.thumbprint}"',
    alg: str = ';alg="ed25519"',
    tag: str = ';tag="imprimatur-v1"',
    extra: str = "",
) -> str:
    listed = " ".join(f'"{name}"' for name in (FULL if components is None else components))
    return f"({listed}){created}{expires}{nonce}{keyid}{alg}{tag}{extra}"


@pytest.mark.parametrize(("method", "url"), [("POST", SUBMIT), ("POST", REDEEM), ("GET", WAIT)])
def test_an_independent_library_verifies_what_we_sign(method: str, url: str) -> None:
    message = signed(method, url, BODY if method == "POST" else b"", created=int(time.time()))
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
    (result,) = verifier.verify(message, expect_tag=httpsig.TAG, body=message.body if method == "POST" else None)
    assert list(result.covered_components)[:2] == ['"@method"', '"@target-uri"']
    assert message.verify().keyid == KEY.thumbprint


def test_a_valid_signature_of_another_library_outside_the_profile_is_refused() -> None:
    message = signed()
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
    del message.headers["Signature-Input"], message.headers["Signature"]
    signer.sign(
        message,
        key_id=KEY.thumbprint,
        expires=datetime.now(UTC) + timedelta(seconds=60),
        label="sig1",
        tag=httpsig.TAG,
        nonce=NONCE,
        covered_component_ids=FULL,
        use_existing_digest=True,
    )
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
    verifier.verify(message, expect_tag=httpsig.TAG, body=BODY)
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == "signature"


@pytest.mark.parametrize(("method", "url"), [("POST", SUBMIT), ("POST", REDEEM), ("GET", WAIT)])
def test_a_signed_request_verifies_and_says_what_it_covers(method: str, url: str) -> None:
    message = signed(method, url, BODY if method == "POST" else b"")
    parsed = message.verify()
    assert parsed.components == httpsig.components_for(method, url.removeprefix(ORIGIN).partition("?")[0])
    assert (parsed.created, parsed.expires) == (CREATED, CREATED + 60)
    assert parsed.nonce == (NONCE if method == "POST" else None)


def test_a_post_without_a_body_is_signed_over_the_empty_body() -> None:
    message = signed(url=REDEEM, body=b"")
    message.verify()
    message.body = b"x"
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == "digest"


def test_the_helper_signs_what_the_profile_signs() -> None:
    message = signed()
    resigned = resign(signed(), parameters(), FULL)
    assert resigned.headers == message.headers
    resigned.verify()


def without(name: str) -> list[str]:
    return [component for component in FULL if component != name]


DEPARTURES: dict[str, tuple[str, list[str]]] = {
    **{f"missing {name}": (parameters(without(name)), without(name)) for name in FULL},
    "nothing covered": (parameters([]), []),
    "other order": (parameters([FULL[1], FULL[0], *FULL[2:]]), [FULL[1], FULL[0], *FULL[2:]]),
    "extra component": (parameters([*FULL, "@authority"]), [*FULL, "@authority"]),
    "component twice": (parameters([*FULL, FULL[-1]]), [*FULL, FULL[-1]]),
    "extra parameter": (parameters(extra=';x="1"'), FULL),
    "other algorithm": (parameters(alg=';alg="rsa-pss-sha512"'), FULL),
    "no algorithm": (parameters(alg=""), FULL),
    "other tag": (parameters(tag=';tag="web-bot-auth"'), FULL),
    "no tag": (parameters(tag=""), FULL),
    "no created": (parameters(created=""), FULL),
    "no expires": (parameters(expires=""), FULL),
    "life too long": (parameters(expires=f";expires={CREATED + 61}"), FULL),
    "life too short": (parameters(expires=f";expires={CREATED + 59}"), FULL),
    "no nonce": (parameters(nonce=""), FULL),
    "short nonce": (parameters(nonce=';nonce="AAAAAAAAAAAAAAAAAAAAA"'), FULL),
    "strange nonce": (parameters(nonce=f';nonce="{NONCE} "'), FULL),
    "no key id": (parameters(keyid=""), FULL),
    "other key id": (parameters(keyid=f';keyid="{KeyPair.from_seed(b"b" * 32).thumbprint}"'), FULL),
    "parameters in another order": (parameters(alg=';tag="imprimatur-v1"', tag=';alg="ed25519"'), FULL),
    "space in the parameters": (parameters(alg='; alg="ed25519"'), FULL),
    "leading zero": (parameters(created=f";created=0{CREATED}"), FULL),
    "other digits": (parameters(created=";created=١"), FULL),
}


@pytest.mark.parametrize("name", DEPARTURES)
def test_every_departure_from_the_profile_is_refused_even_when_well_signed(name: str) -> None:
    raw, components = DEPARTURES[name]
    with pytest.raises(HttpSigError) as caught:
        resign(signed(), raw, components).verify()
    assert caught.value.code == "signature"


HEADER_CHANGES: dict[str, tuple[Callable[[dict[str, str]], object], str]] = {
    "other label": (
        lambda h: h.update({n: h[n].replace("sig1=", "sig2=") for n in ("Signature-Input", "Signature")}),
        "signature",
    ),
    "a second signature input": (
        lambda h: h.update({"Signature-Input": f"{h['Signature-Input']}, sig2=()"}),
        "signature",
    ),
    "a second signature": (lambda h: h.update({"Signature": h["Signature"] + ", sig2=:AAAA:"}), "signature"),
    "signature input gone": (lambda h: h.pop("Signature-Input"), "signature"),
    "signature gone": (lambda h: h.pop("Signature"), "signature"),
    "signature not base64": (lambda h: h.update({"Signature": "sig1=:" + "=" * 88 + ":"}), "signature"),
    "signature of zeros": (lambda h: h.update({"Signature": f"sig1=:{b64(b'0' * 64)}:"}), "signature"),
    "signature too short": (lambda h: h.update({"Signature": f"sig1=:{b64(b'0' * 63)}:"}), "signature"),
    "content type changed": (lambda h: h.update({"Content-Type": "text/plain"}), "signature"),
    "content type gone": (lambda h: h.pop("Content-Type"), "signature"),
    "idempotency key changed": (lambda h: h.update({"Idempotency-Key": "run-1:call-2"}), "signature"),
    "idempotency key gone": (lambda h: h.pop("Idempotency-Key"), "signature"),
    "line break in a header": (lambda h: h.update({"Idempotency-Key": 'a\n"content-type": b'}), "signature"),
    "non-ASCII header": (lambda h: h.update({"Idempotency-Key": "é"}), "signature"),
    "commitments changed": (lambda h: h.update({"Imprimatur-Commitments": "sha256:" + "cd" * 32}), "signature"),
    "commitments gone": (lambda h: h.pop("Imprimatur-Commitments"), "signature"),
    "digest gone": (lambda h: h.pop("Content-Digest"), "digest"),
    "digest of another body": (lambda h: h.update({"Content-Digest": httpsig.content_digest(b"other")}), "digest"),
    "digest in another algorithm": (
        lambda h: h.update({"Content-Digest": f"sha-512=:{b64(hashlib.sha512(BODY).digest())}:"}),
        "digest",
    ),
    "two digests": (lambda h: h.update({"Content-Digest": h["Content-Digest"] + ", sha-512=:AAAA:"}), "digest"),
}


@pytest.mark.parametrize("name", HEADER_CHANGES)
def test_every_changed_header_is_refused(name: str) -> None:
    message = signed()
    message.verify()
    change, code = HEADER_CHANGES[name]
    change(message.headers)
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == code


def test_a_changed_body_is_refused_and_a_changed_digest_with_it() -> None:
    message = signed()
    message.body = BODY + b" "
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == "digest"
    message.headers["Content-Digest"] = httpsig.content_digest(message.body)
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == "signature"


@pytest.mark.parametrize(
    "url",
    [
        "https://staging.example/api/v1/actions",
        "http://desk.example/api/v1/actions",
        SUBMIT + "?x=1",
        SUBMIT + "#x",
        "/api/v1/actions",
        SUBMIT + "\n",
        ORIGIN + "/api/v1/action%73",
        ORIGIN + "/api/v1/x/../actions",
        ORIGIN + "/api/v1//actions",
    ],
)
def test_invariant_12_a_signature_for_one_address_does_not_count_at_another(url: str) -> None:
    message = signed()
    message.url = url
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == "signature"


def test_a_path_that_a_router_might_rewrite_cannot_even_be_signed() -> None:
    with pytest.raises(HttpSigError, match="plain"):
        signed(url=ORIGIN + "/api/v1/action%73")


def test_a_signature_for_one_method_does_not_count_for_another() -> None:
    message = signed("GET", WAIT, b"")
    message.method = "POST"
    with pytest.raises(HttpSigError):
        message.verify()
    for method in ("PUT", "DELETE", "get", "HEAD"):
        message.method = method
        with pytest.raises(HttpSigError):
            message.verify()


def test_a_get_request_has_neither_body_nor_nonce() -> None:
    message = signed("GET", WAIT, b"")
    message.body = b"x"
    with pytest.raises(HttpSigError) as caught:
        message.verify()
    assert caught.value.code == "digest"
    with pytest.raises(HttpSigError, match="nonce"):
        resign(signed("GET", WAIT, b""), parameters(FULL[:2]), FULL[:2]).verify()


def test_another_agents_key_does_not_verify() -> None:
    message = signed()
    with pytest.raises(HttpSigError) as caught:
        httpsig.verify_request(
            method="POST",
            target_uri=SUBMIT,
            headers=message.lower,
            body=BODY,
            public_key=KeyPair.from_seed(b"b" * 32).public_key,
        )
    assert caught.value.code == "signature"


@pytest.mark.parametrize("offset", [-5, 0, 30, 60, 65])
def test_a_signature_is_good_during_its_minute_with_five_seconds_of_grace(offset: float) -> None:
    httpsig.check_time(signed().verify(), CREATED + offset)


@pytest.mark.parametrize("offset", [-5.1, -3600, 65.1, 3600])
def test_an_expired_or_future_signature_is_refused(offset: float) -> None:
    with pytest.raises(HttpSigError) as caught:
        httpsig.check_time(signed().verify(), CREATED + offset)
    assert caught.value.code == "clock-skew"


def test_check_time_refuses_another_life_whoever_parsed_it() -> None:
    parsed = httpsig.SignatureInput(KEY.thumbprint, CREATED, CREATED + 300, NONCE, tuple(FULL), "")
    with pytest.raises(HttpSigError) as caught:
        httpsig.check_time(parsed, CREATED)
    assert caught.value.code == "signature"


@pytest.mark.parametrize("nonce", [None, "", "short", "with space in the middle!!"])
def test_a_post_cannot_be_signed_without_a_good_nonce(nonce: str | None) -> None:
    with pytest.raises(HttpSigError, match="nonce"):
        httpsig.sign_request(
            method="POST",
            target_uri=REDEEM,
            headers={"Content-Type": "application/json", "Idempotency-Key": "k"},
            body=BODY,
            key=KEY,
            created=CREATED,
            nonce=nonce,
        )


def test_a_submit_cannot_be_signed_without_its_commitments() -> None:
    with pytest.raises(HttpSigError, match="imprimatur-commitments"):
        httpsig.sign_request(
            method="POST",
            target_uri=SUBMIT,
            headers={"Content-Type": "application/json", "Idempotency-Key": "k"},
            body=BODY,
            key=KEY,
            created=CREATED,
            nonce=NONCE,
        )


def test_a_stored_request_still_verifies_after_its_body_is_erased() -> None:
    message = signed()
    base = httpsig.signature_base("POST", SUBMIT, message.lower, message.headers["Signature-Input"])
    Ed25519PublicKey.from_public_bytes(KEY.public_key).verify(
        __import__("base64").b64decode(message.headers["Signature"][6:-1]), base
    )
