"""The webhook, as Standard Webhooks say: an id, a time, a body, and two signatures (v1 HMAC-SHA-256, v1a Ed25519).

The Ed25519 key is its own: it signs no entry, no checkpoint and no receipt. Source: standardwebhooks.com.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import django_rq
import httpx2
from django.conf import settings

from approvals.models import ActionRequest
from approvals.notifications import topics
from audit import outbox
from imprimatur.formats.keys import KeyPair

KEY_FILE = "webhook.key"
TIMEOUT = 20.0  # seconds
GONE = 410
# The pauses between attempts that the specification recommends.
PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)


class NotDelivered(Exception):
    """The receiver did not take it. ``final`` when it said that it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def hook() -> None:
    """Have the outbox hand webhooks to the workers. Called once, when the app is ready."""
    outbox.handler(topics.WEBHOOK)(enqueue)


def enqueue(payload: dict[str, Any]) -> None:
    """Put one delivery on the queue: ids only. Raises when Redis is away; the outbox then tries again."""
    django_rq.get_queue("default").enqueue("approvals.jobs.deliver_webhook", payload)


@cache
def signing_key(folder: Path) -> KeyPair:
    """The key of the v1a signature, made on first use."""
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # When another process was first, its key is the key.
        with contextlib.suppress(FileExistsError):
            KeyPair.generate().save(path)
    return KeyPair.load(path)


def public_key() -> str:
    """What a receiver verifies v1a with, in the specification's spelling."""
    return "whpk_" + base64.b64encode(signing_key(Path(settings.KEYS_DIR)).public_key).decode("ascii")


def body_of(request: ActionRequest, payload: dict[str, Any]) -> bytes:
    """The body: what happened, and where to look. No parameters, nothing decidable. The same on every attempt."""
    document: dict[str, Any] = {
        "type": payload["event"],
        "timestamp": payload["at"],
        "data": {
            "request": request.id,
            "version": payload["version"],
            "tool": request.tool,
            "risk": request.risk,
            "url": topics.link(request),
        },
    }
    if "only" in payload:
        document["data"]["people"] = payload["only"]  # ids of those who are asked
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode("utf-8")


def headers_of(message: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers, with every signature we can make, separated by spaces."""
    stamp = str(int(at.timestamp()))
    signed = f"{message}.{stamp}.".encode("ascii") + body
    signatures = []
    if settings.WEBHOOK_SECRET:
        mac = hmac.new(_secret(settings.WEBHOOK_SECRET), signed, hashlib.sha256).digest()
        signatures.append("v1," + base64.b64encode(mac).decode("ascii"))
    signature = signing_key(Path(settings.KEYS_DIR)).sign(signed)
    signatures.append("v1a," + base64.b64encode(signature).decode("ascii"))
    return {
        "content-type": "application/json",
        "user-agent": "imprimatur",
        "webhook-id": message,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(signatures),
    }


def post(
    request: ActionRequest, payload: dict[str, Any], now: datetime, transport: httpx2.BaseTransport | None = None
) -> None:
    """Send it once. Raises NotDelivered for anything but a 2xx; a redirect is not followed: it could lead inside."""
    body = body_of(request, payload)
    try:
        with httpx2.Client(timeout=TIMEOUT, follow_redirects=False, transport=transport) as client:
            answer = client.post(settings.WEBHOOK_URL, content=body, headers=headers_of(payload["id"], now, body))
    except httpx2.HTTPError as error:
        # The type only: the message can hold the URL, and the URL a password.
        raise NotDelivered(type(error).__name__) from None
    if not 200 <= answer.status_code < 300:
        raise NotDelivered(f"status {answer.status_code}", final=answer.status_code == GONE)


def _secret(text: str) -> bytes:
    raw = text.removeprefix("whsec_")
    try:
        return base64.b64decode(raw + "=" * (-len(raw) % 4), validate=True)
    except binascii.Error:
        raise ValueError("IMPRIMATUR_WEBHOOK_SECRET must be whsec_ and base64") from None
