"""A security key in software, for tests: it answers as a browser with an authenticator does, and lies when told to."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from imprimatur.formats import digests, evidence
from imprimatur.formats.cose import CoseKey
from imprimatur.formats.encoding import b64u

Algorithm = Literal["ES256", "EdDSA", "RS256"]

ORIGIN = "http://localhost:8000"
UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
_LABELS: dict[str, int] = {"EdDSA": -8, "ES256": -7, "RS256": -257}


def cbor(value: Any) -> bytes:
    """Encode a value as canonical CBOR (CTAP 2.1, section 8)."""
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(cbor(item) for item in value)
    pairs = [(cbor(name), cbor(item)) for name, item in value.items()]
    pairs.sort(key=lambda pair: (pair[0][0] >> 5, len(pair[0]), pair[0]))
    return _head(5, len(pairs)) + b"".join(name + item for name, item in pairs)


def client_data_json(type: str, challenge: bytes, origin: str, cross_origin: bool | None, /, **more: Any) -> bytes:
    """What a browser writes, in its order; `cross_origin` None leaves the member out, `more` adds or replaces."""
    document: dict[str, Any] = {"type": type, "challenge": b64u(challenge), "origin": origin}
    if cross_origin is not None:
        document["crossOrigin"] = cross_origin
    return json.dumps(document | more, separators=(",", ":")).encode()


class AttestationRoot:
    """A maker of authenticators: `pem` is what a server may trust, `certify` puts a model's key under it."""

    def __init__(self, name: str = "Soft Authenticators") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.pem = self._issue(self._name, self._key.public_key(), ca=True).public_bytes(serialization.Encoding.PEM)

    def certify(self, key: ec.EllipticCurvePublicKey, aaguid: bytes) -> bytes:
        """The DER certificate of a model's attestation key, with the fields that WebAuthn 8.2.1 asks for."""
        parts = [
            (x509.NameOID.COUNTRY_NAME, "SE"),
            (x509.NameOID.ORGANIZATION_NAME, "Soft Authenticators"),
            (x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "Authenticator Attestation"),
            (x509.NameOID.COMMON_NAME, "Soft Authenticator 1"),
        ]
        subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
        return self._issue(subject, key, ca=False, aaguid=aaguid).public_bytes(serialization.Encoding.DER)

    def _issue(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool, aaguid: bytes | None = None
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if aaguid is not None:
            value = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4"), b"\4\x10" + aaguid)
            builder = builder.add_extension(value, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class SoftAuthenticator:
    """One credential on one authenticator, used by one browser on one page.

    `device_bound=False` is a synced passkey: flags BE and BS, and a counter that stays 0. Every override of `sign`
    and `evidence` makes one answer wrong and leaves the authenticator as it is.
    """

    def __init__(
        self,
        alg: Algorithm = "ES256",
        rp_id: str = "localhost",
        origin: str = ORIGIN,
        device_bound: bool = True,
        user_verified: bool = True,
        *,
        user_handle: bytes = b"person",
        aaguid: bytes = bytes(16),
    ) -> None:
        self.alg: Algorithm = alg
        self.rp_id = rp_id
        self.origin = origin
        self.device_bound = device_bound
        self.user_verified = user_verified
        self.user_handle = user_handle
        self.aaguid = aaguid
        self.credential = secrets.token_bytes(32)
        self.sign_count = 0
        self.public_key, self._sign = _new_key(alg)
        """The COSE key, and the private half as a function."""

    @property
    def thumbprint(self) -> str:
        """The fingerprint of the key in our documents."""
        return CoseKey.parse(self.public_key).thumbprint

    @property
    def flags(self) -> int:
        """The flags of an honest assertion."""
        return UP | (UV if self.user_verified else 0) | (0 if self.device_bound else BE | BS)

    def key_material(self, *, attested: bool = False) -> evidence.KeyMaterial:
        """The key as enrolment would have written it down."""
        return evidence.KeyMaterial(
            kind="webauthn",
            fingerprint=self.thumbprint,
            public_key=self.public_key,
            credential=self.credential,
            rp_id=self.rp_id,
            device_bound=self.device_bound,
            attested=attested,
        )

    def authenticator_data(
        self,
        *,
        rp_id: str | None = None,
        flags: int | None = None,
        sign_count: int | None = None,
        tail: bytes = b"",
    ) -> bytes:
        """The bytes that an authenticator makes and signs; `tail` is what the flags AT and ED announce."""
        return (
            hashlib.sha256((self.rp_id if rp_id is None else rp_id).encode()).digest()
            + bytes([self.flags if flags is None else flags])
            + (self.sign_count if sign_count is None else sign_count).to_bytes(4, "big")
            + tail
        )

    def attested_credential(self) -> bytes:
        """The attested credential data of a registration."""
        return self.aaguid + len(self.credential).to_bytes(2, "big") + self.credential + self.public_key

    def register(
        self,
        challenge: bytes,
        *,
        origin: str | None = None,
        cross_origin: bool | None = False,
        type: str = "webauthn.create",  # the member's name
        rp_id: str | None = None,
        flags: int | None = None,
        attestation: AttestationRoot | None = None,
    ) -> dict[str, Any]:
        """A RegistrationResponseJSON, as `toJSON()` of the browser gives it.

        Its attestation is `none`, or `packed` with a certificate of the maker `attestation`.
        """
        data = self.authenticator_data(
            rp_id=rp_id, flags=(self.flags if flags is None else flags) | AT, tail=self.attested_credential()
        )
        client_data = client_data_json(type, challenge, self.origin if origin is None else origin, cross_origin)
        fmt, statement = "none", dict[str, Any]()
        if attestation is not None:
            model = ec.generate_private_key(ec.SECP256R1())
            signature = model.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
            certificate = attestation.certify(model.public_key(), self.aaguid)
            fmt, statement = "packed", {"alg": -7, "sig": signature, "x5c": [certificate]}
        return {
            "id": b64u(self.credential),
            "rawId": b64u(self.credential),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64u(client_data),
                "attestationObject": b64u(cbor({"fmt": fmt, "attStmt": statement, "authData": data})),
                "authenticatorData": b64u(data),
                "publicKeyAlgorithm": _LABELS[self.alg],
                "transports": ["internal"],
            },
        }

    def sign(
        self,
        challenge: bytes,
        *,
        origin: str | None = None,
        cross_origin: bool | None = False,
        top_origin: str | None = None,
        type: str = "webauthn.get",  # the member's name
        rp_id: str | None = None,
        flags: int | None = None,
        sign_count: int | None = None,
        tail: bytes = b"",
        client_data: bytes | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """An AuthenticationResponseJSON, as `toJSON()` of the browser gives it; the signature fits what it says.

        `client_data` replaces the bytes of clientDataJSON altogether; `members` adds members to it.
        """
        if self.device_bound:
            self.sign_count += 1
        if client_data is None:
            more = dict(members or {}) | ({} if top_origin is None else {"topOrigin": top_origin})
            client_data = client_data_json(
                type, challenge, self.origin if origin is None else origin, cross_origin, **more
            )
        data = self.authenticator_data(rp_id=rp_id, flags=flags, sign_count=sign_count, tail=tail)
        return {
            "id": b64u(self.credential),
            "rawId": b64u(self.credential),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64u(client_data),
                "authenticatorData": b64u(data),
                "signature": b64u(self._sign(data + hashlib.sha256(client_data).digest())),
                "userHandle": b64u(self.user_handle),
            },
        }

    def evidence(self, typ: str, raw: bytes, **overrides: Any) -> dict[str, Any]:
        """Our evidence object for a statement: a signature by this key, over `SHA-256(typ 0x00 raw)`."""
        return self.as_evidence(self.sign(digests.tagged_bytes(typ, raw), **overrides))

    def as_evidence(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The evidence object that an AuthenticationResponseJSON of this key becomes."""
        response = answer["response"]
        return {
            "kind": "webauthn",
            "credential": answer["id"],
            "public_key": b64u(self.public_key),
            "client_data": response["clientDataJSON"],
            "authenticator_data": response["authenticatorData"],
            "signature": response["signature"],
        }


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << (8 * size))
    return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")


def _new_key(alg: Algorithm) -> tuple[bytes, Callable[[bytes], bytes]]:
    if alg == "EdDSA":
        edwards = ed25519.Ed25519PrivateKey.generate()
        public = edwards.public_key().public_bytes_raw()
        return cbor({1: 1, 3: -8, -1: 6, -2: public}), edwards.sign
    if alg == "ES256":
        elliptic = ec.generate_private_key(ec.SECP256R1())
        point = elliptic.public_key().public_numbers()
        document = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        return cbor(document), lambda message: elliptic.sign(message, ec.ECDSA(hashes.SHA256()))
    modular = rsa.generate_private_key(65537, 2048)
    numbers = modular.public_key().public_numbers()
    document = {1: 3, 3: -257, -1: numbers.n.to_bytes(256, "big"), -2: numbers.e.to_bytes(3, "big")}
    return cbor(document), lambda message: modular.sign(message, padding.PKCS1v15(), hashes.SHA256())
