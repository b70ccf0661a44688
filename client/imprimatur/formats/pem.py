"""Ed25519 public keys as OpenSSL writes and reads them: SubjectPublicKeyInfo in PEM (RFC 8410, RFC 7468)."""

from __future__ import annotations

from imprimatur.formats.encoding import b64, un_b64

# SubjectPublicKeyInfo of an Ed25519 key: this header, then the 32 bytes.
_HEADER = bytes.fromhex("302a300506032b6570032100")
_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


def public_pem(public_key: bytes) -> str:
    """The key in PEM."""
    return f"{_BEGIN}\n{b64(_HEADER + public_key)}\n{_END}\n"


def parse_public_pem(text: str) -> bytes:
    """The 32 bytes of the key. Raises ValueError for anything but exactly one Ed25519 public key."""
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0].strip() != _BEGIN or lines[-1].strip() != _END:
        raise ValueError("not a public key in PEM")
    raw = un_b64("".join(line.strip() for line in lines[1:-1]))
    if len(raw) != len(_HEADER) + 32 or not raw.startswith(_HEADER):
        raise ValueError("not an Ed25519 public key")
    return raw[len(_HEADER) :]
