"""RFC 9421 HTTP message signatures in one fixed profile, and nothing else: no algorithm or coverage is negotiable.

Label ``sig1``; Ed25519; the components and their order are decided by the method and path, never by the request. Both
sides share this file, so a signature that any other profile would accept is refused here before cryptography runs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from imprimatur.formats import ed25519
from imprimatur.formats.encoding import b64, un_b64
from imprimatur.formats.keys import KeyPair, thumbprint

TAG = "imprimatur-v1"
LABEL = "sig1"
LIFE = 60
"""Seconds between created and expires, exactly."""
SKEW = 5
"""Seconds by which two clocks may differ."""

ACTIONS_PATH = "/api/v1/actions"

_READ = ("@method", "@target-uri")
_WRITE = ("@method", "@target-uri", "content-type", "content-digest", "idempotency-key")
_SUBMIT = (*_WRITE, "imprimatur-commitments")

_PARAMETERS = re.compile(
    r"sig1=(?P<raw>\((?P<components>[^()]*)\)"
    r";created=(?P<created>[1-9][0-9]{0,11})"
    r";expires=(?P<expires>[1-9][0-9]{0,11})"
    r'(?:;nonce="(?P<nonce>[A-Za-z0-9_-]{22,86})")?'
    r';keyid="(?P<keyid>[A-Za-z0-9_-]{43})"'
    r';alg="ed25519"'
    r';tag="imprimatur-v1")'
)
_SIGNATURE = re.compile(r"sig1=:(?P<value>[A-Za-z0-9+/=]{88}):")
_CONTENT_DIGEST = re.compile(r"sha-256=:[A-Za-z0-9+/]{43}=:")
_FIELD = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_TARGET = re.compile(r"https?://[\x21\x22\x24-\x7e]+")
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,86}")


class HttpSigError(Exception):
    """The request is not signed as the profile demands. ``code`` is ``signature``, ``digest`` or ``clock-skew``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """The signature parameters of one request. ``created`` and ``expires`` are Unix seconds; ``nonce`` is ``None``
    on GET only; ``raw`` is the text after ``sig1=``, which is signed as ``@signature-params``."""

    keyid: str
    created: int
    expires: int
    nonce: str | None
    components: tuple[str, ...]
    raw: str


def components_for(method: str, path: str) -> tuple[str, ...]:
    """What a request must cover, in order. Only GET and POST exist in this API; HttpSigError for others."""
    if method == "GET":
        return _READ
    if method == "POST":
        return _SUBMIT if path.endswith(ACTIONS_PATH) else _WRITE
    raise HttpSigError("signature", "only GET and POST requests are signed")


def content_digest(body: bytes) -> str:
    """The ``Content-Digest`` header value (RFC 9530, sha-256 alone) of these raw bytes."""
    return f"sha-256=:{b64(hashlib.sha256(body).digest())}:"


def sign_request(
    *,
    method: str,
    target_uri: str,
    headers: Mapping[str, str],
    body: bytes | None,
    key: KeyPair,
    created: int,
    nonce: str | None,
) -> dict[str, str]:
    """Sign a request; returns the headers to add to ``headers``.

    POST needs a ``nonce`` (base64url, 128 bits or more, fresh for every sending) and the headers Content-Type and
    Idempotency-Key, on the actions path Imprimatur-Commitments too; GET takes neither nonce nor body. ``created`` is
    Unix seconds. Raises :class:`HttpSigError` when the request cannot be signed under the profile.
    """
    components = components_for(method, _path(target_uri))
    _check_body(method, body or b"")
    _check_nonce(method, nonce)
    values = {name.lower(): value for name, value in headers.items()}
    added: dict[str, str] = {}
    if method == "POST":
        added["Content-Digest"] = content_digest(body or b"")
        values["content-digest"] = added["Content-Digest"]
    listed = " ".join(f'"{name}"' for name in components)
    nonce_part = "" if nonce is None else f';nonce="{nonce}"'
    raw = (
        f"({listed});created={created};expires={created + LIFE}{nonce_part}"
        f';keyid="{key.thumbprint}";alg="ed25519";tag="{TAG}"'
    )
    base = _signature_base(components, method, target_uri, values, raw)
    added["Signature-Input"] = f"{LABEL}={raw}"
    added["Signature"] = f"{LABEL}=:{b64(key.sign(base))}:"
    return added


def parse_signature_input(headers: Mapping[str, str], method: str, path: str) -> SignatureInput:
    """Read ``signature-input`` from lower-case headers and refuse every departure from the profile.

    Nothing is verified yet: the result says which key to load. Raises HttpSigError ``signature``.
    """
    wanted = components_for(method, path)
    text = headers.get("signature-input")
    if text is None:
        raise HttpSigError("signature", "the request is not signed: Signature-Input is missing")
    match = _PARAMETERS.fullmatch(text)
    if match is None:
        raise HttpSigError("signature", "Signature-Input does not follow the profile imprimatur-v1")
    if match["components"] != " ".join(f'"{name}"' for name in wanted):
        raise HttpSigError("signature", "the signature must cover exactly: " + " ".join(wanted))
    _check_nonce(method, match["nonce"])
    parsed = SignatureInput(
        keyid=match["keyid"],
        created=int(match["created"]),
        expires=int(match["expires"]),
        nonce=match["nonce"],
        components=wanted,
        raw=match["raw"],
    )
    _check_life(parsed)
    return parsed


def check_time(signature: SignatureInput, now: float) -> None:
    """Refuse a signature from the future, one that has expired (each with five seconds of grace), or one that does
    not live exactly 60 s. ``now`` is Unix seconds. Raises HttpSigError ``clock-skew`` or ``signature``."""
    _check_life(signature)
    if signature.created > now + SKEW:
        raise HttpSigError("clock-skew", "the signature was made in the future; set the agent's clock")
    if now > signature.expires + SKEW:
        raise HttpSigError("clock-skew", "the signature has expired; sign again, or set the agent's clock")


def verify_request(
    *,
    method: str,
    target_uri: str,
    headers: Mapping[str, str],
    body: bytes,
    public_key: bytes,
) -> SignatureInput:
    """Verify a request under one key: profile, key id, digest of the raw body, signature.

    ``headers`` has lower-case names; ``target_uri`` comes from the configured origins, never from Host. Time, nonce
    replay and whether the key is still good are the caller's (:func:`check_time` for the first). Raises HttpSigError.
    """
    parsed = parse_signature_input(headers, method, _path(target_uri))
    if parsed.keyid != thumbprint(public_key):
        raise HttpSigError("signature", "keyid names another key")
    _check_body(method, body)
    if method == "POST":
        claimed = headers.get("content-digest", "")
        if not _CONTENT_DIGEST.fullmatch(claimed):
            raise HttpSigError("digest", "Content-Digest must be one sha-256 digest (RFC 9530)")
        if not hmac.compare_digest(claimed, content_digest(body)):
            raise HttpSigError("digest", "Content-Digest does not match the body")
    match = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if match is None:
        raise HttpSigError("signature", "Signature must hold exactly one value, sig1")
    try:
        signature = un_b64(match["value"])
    except ValueError:
        raise HttpSigError("signature", "Signature is not base64") from None
    base = _signature_base(parsed.components, method, target_uri, headers, parsed.raw)
    if len(signature) != 64 or not ed25519.verify(public_key, base, signature):
        raise HttpSigError("signature", "the signature does not verify")
    return parsed


def signature_base(method: str, target_uri: str, headers: Mapping[str, str], signature_input: str) -> bytes:
    """The signed bytes of a request that was stored as its headers, for whoever verifies it later without the body.

    ``headers`` has lower-case names, ``signature_input`` is the whole header value. Raises HttpSigError.
    """
    parsed = parse_signature_input({"signature-input": signature_input}, method, _path(target_uri))
    return _signature_base(parsed.components, method, target_uri, headers, parsed.raw)


def _signature_base(
    components: tuple[str, ...], method: str, target_uri: str, headers: Mapping[str, str], raw: str
) -> bytes:
    lines = []
    for name in components:
        if name == "@method":
            value = method
        elif name == "@target-uri":
            value = target_uri
        else:
            value = headers.get(name, "").strip(" \t")
            # A line break inside a value would let one header pretend to be two lines of the base.
            if not _FIELD.fullmatch(value):
                raise HttpSigError("signature", f"the header {name} is missing or not plain ASCII")
        lines.append(f'"{name}": {value}')
    lines.append(f'"@signature-params": {raw}')
    return "\n".join(lines).encode("ascii")


def _path(target_uri: str) -> str:
    if not _TARGET.fullmatch(target_uri):
        raise HttpSigError("signature", "the target must be an absolute http or https URI without a fragment")
    path = urlsplit(target_uri).path
    # A router or proxy may decode or collapse a path; what is signed and what is served must be the same one.
    if "%" in path or "//" in path or any(segment in (".", "..") for segment in path.split("/")):
        raise HttpSigError("signature", "the path must be plain: no percent-encoding, no empty or dot segments")
    return path


def _check_body(method: str, body: bytes) -> None:
    if method == "GET" and body:
        raise HttpSigError("digest", "a GET request has no body")


def _check_nonce(method: str, nonce: str | None) -> None:
    if method == "GET" and nonce is not None:
        raise HttpSigError("signature", "a GET request carries no nonce")
    if method == "POST" and (nonce is None or not _NONCE.fullmatch(nonce)):
        raise HttpSigError("signature", "a POST request needs a nonce of 128 bits or more, in base64url")


def _check_life(signature: SignatureInput) -> None:
    if signature.expires - signature.created != LIFE:
        raise HttpSigError("signature", f"a signature lives exactly {LIFE} seconds")
