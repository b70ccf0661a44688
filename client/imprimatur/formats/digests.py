"""SHA-256 digests as text: ``sha256:<64 lower-case hex>``."""

from __future__ import annotations

import hashlib
import re

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(raw: bytes) -> str:
    """The digest of ``raw``."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def tagged(tag: str, raw: bytes) -> str:
    """The digest of ``tag 0x00 raw``: the tag keeps a hash made for one purpose from counting for another."""
    return "sha256:" + tagged_bytes(tag, raw).hex()


def tagged_bytes(tag: str, raw: bytes) -> bytes:
    """The 32 bytes behind :func:`tagged`, for challenges."""
    return hashlib.sha256(tag.encode("ascii") + b"\0" + raw).digest()


def is_digest(text: object) -> bool:
    """Whether ``text`` is a digest in its one spelling."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def fingerprint(digest: str) -> str:
    """A digest for human eyes: its first twelve hex digits in groups of four. ValueError if it is not a digest."""
    if not is_digest(digest):
        raise ValueError("not a sha256 digest")
    return "\N{MIDDLE DOT}".join(digest[start : start + 4] for start in (7, 11, 15))
