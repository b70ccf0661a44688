"""Identifiers: time-ordered ones for things that happen, and key-derived ones for agents and services."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from datetime import datetime

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PREFIX = re.compile(r"[a-z]{2,8}")
_ULID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")
_KEY_DERIVED = re.compile(r"(ag|sv)_[a-z2-7]{32}")


def new_id(prefix: str, when: datetime) -> str:
    """``<prefix>_`` and a lower-case ULID: 48 bits of milliseconds, 80 random bits. Text order is time order.

    ValueError if the prefix is not two to eight lower-case letters or ``when`` is naive.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("an id prefix is two to eight lower-case letters")
    if when.tzinfo is None:
        raise ValueError("a time needs a time zone")
    number = (int(when.timestamp() * 1000) << 80) | secrets.randbits(80)
    return prefix + "_" + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_id(prefix: str, text: object) -> bool:
    """Whether ``text`` is an id with this prefix; ``ag`` and ``sv`` ids have the form of :func:`agent_id`."""
    if not isinstance(text, str):
        return False
    if prefix in ("ag", "sv"):
        return text.startswith(f"{prefix}_") and _KEY_DERIVED.fullmatch(text) is not None
    head, _, tail = text.partition("_")
    return head == prefix and _ULID.fullmatch(tail) is not None


def agent_id(public_key: bytes) -> str:
    """The id of the agent whose first public key this is: nobody can attach another key to it.

    ``ag_`` and the first 20 bytes of SHA-256 in lower-case base32 (RFC 4648).
    """
    return "ag_" + _of_key(public_key)


def service_id(public_key: bytes) -> str:
    """The id of the service (orchestrator, monitor, canary runner) whose one public key this is: ``sv_`` and the same
    32 characters that an agent's id would have."""
    return "sv_" + _of_key(public_key)


def _of_key(public_key: bytes) -> str:
    if len(public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    return base64.b32encode(hashlib.sha256(public_key).digest()[:20]).decode("ascii").lower()
