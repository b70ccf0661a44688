"""Who asks, in the one safe order: address limit, size, profile, key, clock, digest, signature, key limit.

Nothing of the body is parsed before the signature over its raw bytes has held.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from approvals.actions.use_nonce import Nonce
from approvals.door import limits, rejections
from approvals.door.raw import JSON, LARGEST_BODY, RawRequest
from audit.log import utc_now
from governance import access
from governance.errors import Refused
from governance.models import Agent, AgentKey
from governance.runtime.models import Service
from imprimatur.formats import httpsig

_KEYID = re.compile(r';keyid="([A-Za-z0-9_-]{43})"')
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True)
class Caller:
    """An agent whose request was verified. ``nonce`` is spent with the change it asks for; a GET has none."""

    agent: Agent
    key: AgentKey
    target_uri: str
    idempotency_key: str
    nonce: Nonce | None


@dataclass(frozen=True)
class ServiceCaller:
    """A service, in one of the roles that the call is for, whose request was verified."""

    service: Service
    nonce: Nonce | None

    @property
    def thumbprint(self) -> str:
        """Of the key that signed."""
        return self.service.thumbprint


def authenticate(raw: RawRequest, now: datetime | None = None) -> Caller:
    """Verify a request under the key it names. Raises Refused with a 401, 413, 422 or 429."""
    now = now or utc_now()
    known = rejections.UNKNOWN
    try:
        _before_anything(raw)
        signature = httpsig.parse_signature_input(raw.headers, raw.method, raw.path)
        key = access.key_of(signature.keyid)
        known = key.thumbprint
        httpsig.check_time(signature, now.timestamp())
        target = verified_target(raw, bytes(key.public_key))
        limits.keys.take(key.thumbprint)
        return Caller(key.agent, key, target, idempotency_key(raw), nonce_of(signature))
    except httpsig.HttpSigError as error:
        raise _turned_away(raw, known, Refused(error.code, error.message), now) from error
    except Refused as error:
        raise _turned_away(raw, known, error, now) from error


def authenticate_service(raw: RawRequest, *roles: str, now: datetime | None = None) -> ServiceCaller:
    """Verify a request under the service's key that it names, by the same profile and in the same order.

    Raises Refused with a 401, 413, 422 or 429, and with 403 ``not-allowed`` for an agent, and for a service in another
    role: both only once their signature holds, so that nobody else learns whose a key is.
    """
    now = now or utc_now()
    known = rejections.UNKNOWN
    try:
        _before_anything(raw)
        signature = httpsig.parse_signature_input(raw.headers, raw.method, raw.path)
        service = access.service_of(signature.keyid)
        public_key = bytes((service or access.key_of(signature.keyid)).public_key)
        known = signature.keyid
        httpsig.check_time(signature, now.timestamp())
        verified_target(raw, public_key)
        limits.keys.take(signature.keyid)
        if raw.method == "POST":
            limits.services.take(signature.keyid)
        if service is None:
            raise Refused("not-allowed", "This call is for services. An agent asks, and attests nothing.")
        if service.role not in roles:
            raise Refused("not-allowed", f"This call is for the role {' or '.join(roles)}, not {service.role}.")
        idempotency_key(raw)
        return ServiceCaller(service, nonce_of(signature))
    except httpsig.HttpSigError as error:
        raise _turned_away(raw, known, Refused(error.code, error.message), now) from error
    except Refused as error:
        raise _turned_away(raw, known, error, now) from error


def authenticate_new(raw: RawRequest, public_key: bytes, now: datetime | None = None) -> Nonce:
    """Verify a request under the key it wants to enrol: proof that whoever asks holds it. Raises Refused."""
    now = now or utc_now()
    try:
        signature = httpsig.parse_signature_input(raw.headers, raw.method, raw.path)
        httpsig.check_time(signature, now.timestamp())
        verified_target(raw, public_key)
        idempotency_key(raw)
        nonce = nonce_of(signature)
        if nonce is None:
            raise Refused("signature", "A change needs a nonce.")
        return nonce
    except httpsig.HttpSigError as error:
        raise _turned_away(raw, rejections.UNKNOWN, Refused(error.code, error.message), now) from error


def before_enrolment(raw: RawRequest) -> None:
    """The checks that come before the key is known, for the one call whose key stands in the body."""
    now = utc_now()
    try:
        _before_anything(raw)
        httpsig.parse_signature_input(raw.headers, raw.method, raw.path)
    except httpsig.HttpSigError as error:
        raise _turned_away(raw, rejections.UNKNOWN, Refused(error.code, error.message), now) from error
    except Refused as error:
        raise _turned_away(raw, rejections.UNKNOWN, error, now) from error


def verified_target(raw: RawRequest, public_key: bytes) -> str:
    """The configured address under which the signature holds. Raises HttpSigError of the first when none does."""
    first: httpsig.HttpSigError | None = None
    for target in raw.target_uris():
        try:
            httpsig.verify_request(
                method=raw.method, target_uri=target, headers=raw.headers, body=raw.body, public_key=public_key
            )
        except httpsig.HttpSigError as error:
            first = first or error
        else:
            return target
    raise first or httpsig.HttpSigError("signature", "this server has no public address configured")


def nonce_of(signature: httpsig.SignatureInput) -> Nonce | None:
    """The nonce, kept until the signature could no longer be accepted."""
    if signature.nonce is None:
        return None
    until = datetime.fromtimestamp(signature.expires, UTC) + timedelta(seconds=2 * httpsig.SKEW)
    return Nonce(signature.keyid, signature.nonce, until)


def idempotency_key(raw: RawRequest) -> str:
    """The covered Idempotency-Key of a POST; empty on GET. Raises Refused ``malformed``."""
    if raw.method == "GET":
        return ""
    value = raw.headers.get("idempotency-key", "")
    if not _IDEMPOTENCY_KEY.fullmatch(value):
        raise Refused("malformed", "Idempotency-Key must be 1 to 200 visible ASCII characters.")
    return value


def _before_anything(raw: RawRequest) -> None:
    limits.addresses.take(raw.peer)
    if raw.oversized or len(raw.body) > LARGEST_BODY:
        raise Refused("too-large", f"A body has at most {LARGEST_BODY} bytes.", 413)
    if raw.method == "POST" and raw.headers.get("content-type", "") != JSON:
        raise Refused("malformed", "The Content-Type of a request is exactly application/json.")


def _turned_away(raw: RawRequest, key: str, error: Refused, now: datetime) -> Refused:
    rejections.note(key, error.code, now)
    # Counted only now, when it has failed: anybody can claim a key id, so what others send under it must not turn away
    # the agent whose signature holds. What the attempts cost is bounded by the limit per address.
    try:
        limits.rejected.take(_claimant(raw))
    except Refused as slower:
        return slower
    return error


def _claimant(raw: RawRequest) -> str:
    # Agents share addresses (a host, a proxy): whoever fails slows down only what claims the same key from there.
    found = _KEYID.search(raw.headers.get("signature-input", ""))
    return f"{raw.peer} {found.group(1) if found else ''}"
