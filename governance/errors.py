"""The one error of the domain: a refusal with a stable code that edges turn into a problem document or a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUS: dict[str, int] = {
    **dict.fromkeys(("key-unknown", "key-revoked", "signature", "clock-skew", "digest", "replayed"), 401),
    **dict.fromkeys(
        (
            "out-of-scope",
            "constraint",
            "resource-mismatch",
            "delegation-expired",
            "delegation-revoked",
            "depth",
            "over-budget",
            "policy-denied",
            "policy-error",
            "reviewer-denied",
            "approval-expired",
            "invalidated",
            "paused",
            "suspended",
            "arguments-changed",
            "not-executor",
            "not-allowed",
            "launch-refused",
        ),
        403,
    ),
    "not-found": 404,
    **dict.fromkeys(("idempotency-conflict", "already-redeemed", "wrong-state", "conflict", "two-people"), 409),
    **dict.fromkeys(("malformed", "schema", "invalid"), 422),
    **dict.fromkeys(("rate-limited", "too-many-pending"), 429),
    **dict.fromkeys(("log-behind", "log-frozen", "clock", "busy"), 503),
}


class Refused(Exception):  # it is an answer, not a fault, and reads as one
    """Something was asked that we do not do. ``code`` is stable and for programs, ``message`` is for people.

    ``status`` is the HTTP status that belongs to the code (DESIGN section 9); an unknown code is a 403, never a 2xx.
    ``extra`` is what else a program may know of it, for the problem document.
    """

    def __init__(
        self, code: str, message: str, status: int | None = None, *, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.extra = dict(extra or {})
        self.status = status if status is not None else STATUS.get(code, 403)

    def __str__(self) -> str:
        return self.message
