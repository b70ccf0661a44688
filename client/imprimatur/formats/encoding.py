"""Base64, strictly: one spelling per value (RFC 4648).

Unpadded base64url is ours; padded base64 is that of DSSE and C2SP.
"""

from __future__ import annotations

import base64
import binascii
import re

_URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def b64u(raw: bytes) -> str:
    """Bytes as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def un_b64u(text: str) -> bytes:
    """The bytes of unpadded base64url; ValueError unless ``b64u`` of the result gives the same text."""
    if not _URL.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not unpadded base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64u(raw) != text:
        raise ValueError("base64url with stray bits at its end")
    return raw


def b64(raw: bytes) -> str:
    """Bytes as standard base64 with padding."""
    return base64.b64encode(raw).decode("ascii")


def un_b64(text: str) -> bytes:
    """The bytes of padded standard base64; ValueError unless ``b64`` of the result gives the same text."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("not padded base64") from None
    if b64(raw) != text:
        raise ValueError("base64 with stray bits or missing padding")
    return raw
