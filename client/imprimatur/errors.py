"""Why something did not run. Catch :class:`ActionBlocked` around a governed tool: it means that nothing was executed.

``ActionBlocked`` is a ``PermissionError`` and therefore an ``OSError``: a tool that catches ``OSError`` around a nested
governed call swallows the refusal, but the action still has not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ImprimaturError(Exception):
    """The base of every error of this package."""


class ConfigError(ImprimaturError, ValueError):
    """Something is missing or wrong on this side. The message says what to set; it never holds key material."""


class APIError(ImprimaturError):
    """A call that is no action (such as ``me()``) was refused. ``code`` is the server's stable code, ``status`` the
    HTTP status, 0 when there was no answer at all."""

    def __init__(self, message: str, *, code: str = "unknown", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), {"code": self.code, "status": self.status})


class AuthenticationError(APIError):
    """401: the server does not know this key, or the signature, clock or digest is wrong."""


class NotAllowedError(APIError):
    """403: known, but not allowed."""


class NotFoundError(APIError):
    """404: there is no such thing, or it belongs to someone else."""


class ConflictError(APIError):
    """409: it is already something else."""


class InvalidRequestError(APIError):
    """422: the request cannot be read as what it should be."""


class RateLimitError(APIError):
    """429, still after waiting as long as we were told to."""


class ServerError(APIError):
    """No usable answer: the server could not be reached, or failed, for as long as we tried."""


class ActionBlocked(ImprimaturError, PermissionError):  # a refusal is an answer; it reads as one
    """The action did not run, and will not.

    ``code`` is stable and for programs; ``decided_by`` names who said no (a person, ``policy``, or ``None`` when nobody
    decided); ``note`` is what that person wrote; ``action_id`` and ``receipt`` belong to the request when there was
    one; ``hint`` says what to do next.
    """

    code = "blocked"
    hint = "Nothing ran. Read the code and the note, then ask again differently or stop."

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        decided_by: str | None = None,
        note: str | None = None,
        action_id: str | None = None,
        receipt: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.decided_by = decided_by
        self.note = note
        self.action_id = action_id
        self.receipt = receipt
        self.hint = hint or type(self).hint

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("code", "decided_by", "note", "action_id", "receipt", "hint")
        return _rebuild, (type(self), str(self), {name: getattr(self, name) for name in names})


class ScopeError(ActionBlocked):
    """The delegation does not cover this action, or what was claimed is not what the call does."""

    code = "out-of-scope"
    hint = "Ask the person who delegated for a delegation that covers this, or stay within the one you hold."


class PolicyDenied(ActionBlocked):
    """A rule of the policy says no."""

    code = "policy-denied"
    hint = "No reviewer was asked. An admin can explain the rule; do not try the same again."


class BudgetExceeded(ActionBlocked):
    """The delegation, or one above it, has not enough left to spend."""

    code = "over-budget"
    hint = "Ask for less, or ask the person who delegated for more."


class DelegationExpired(ActionBlocked):
    """The delegation's time is over, or has not begun."""

    code = "delegation-expired"
    hint = "Ask the person who delegated for a new delegation."


class DelegationRevoked(ActionBlocked):
    """The delegation, or one above it, was taken back."""

    code = "delegation-revoked"
    hint = "Stop. The person who delegated has withdrawn the authority."


class DepthExceeded(ActionBlocked):
    """This delegation may not be passed on further."""

    code = "depth"
    hint = "This delegation does not allow sub-agents at this depth."


class ApprovalDenied(ActionBlocked):
    """A reviewer said no; ``decided_by`` and ``note`` say who and why.

    ``suggestion`` holds the parameters they would rather see, by name, or None. It is data: nothing runs because of it.
    Ask for it as a new request, with ``supersedes=denied.action_id``, and a person answers that. Parameters that
    reviewers never see are not in it and stay yours.
    """

    code = "reviewer-denied"
    hint = "Read the reviewer's note, and the suggestion if there is one. Ask again only if you can meet it."

    def __init__(self, message: str, *, suggestion: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.suggestion = suggestion

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, message, attributes) = super().__reduce__()
        return rebuild, (kind, message, {**attributes, "suggestion": self.suggestion})


class ApprovalTimeout(ActionBlocked):
    """Nobody answered in time. Silence is a no."""

    code = "approval-timeout"
    hint = "Nobody answered. Ask again when reviewers are there, or with a longer time."


class ApprovalExpired(ActionBlocked):
    """It was approved, but not redeemed or started in time."""

    code = "approval-expired"
    hint = "Ask again; an approval must be used within minutes."


class ApprovalCancelled(ActionBlocked):
    """The request was taken back before an answer."""

    code = "cancelled"
    hint = "The request was cancelled. Ask again if it is still wanted."


class ApprovalInvalidated(ActionBlocked):
    """What the request or its approval rested on has changed."""

    code = "invalidated"
    hint = "The policy, the tool or an authority changed. Ask again."


class ArgumentsChanged(ActionBlocked):
    """What would run is not what was asked."""

    code = "arguments-changed"
    hint = "Do not change arguments while a request waits; ask again with the new ones."


class AlreadyRedeemed(ActionBlocked):
    """Another execution of this very request has begun, perhaps before a crash. It is never run twice."""

    code = "already-redeemed"
    hint = "Find out whether the earlier execution finished. If it must run again, ask again as a new call."


class ActionConflict(ActionBlocked):
    """The same idempotency key was used for another request, or the request is in another state."""

    code = "wrong-state"
    hint = "Use a new call id for a new request."


class NotExecutor(ActionBlocked):
    """Only the service that the registry names may redeem this."""

    code = "not-executor"
    hint = "Hand the receipt to the service that executes this tool."


class Paused(ActionBlocked):
    """The kill switch is on for this agent, this tool or everything."""

    code = "paused"
    hint = "Wait until an admin lifts the pause."


class Suspended(ActionBlocked):
    """This agent is suspended."""

    code = "suspended"
    hint = "Stop, and ask the agent's owner."


class NotRecognised(ActionBlocked):
    """The server does not accept this key or its signature, so nobody was asked."""

    code = "signature"
    hint = "Run `imprimatur doctor`: it checks the key, the clock and the address."


class RequestInvalid(ActionBlocked):
    """The request could not be made or read: unknown parameters, values that are not JSON, a wrong form."""

    code = "malformed"
    hint = "Compare the arguments with the tool's schema (`me()` lists the tools)."


class TooManyRequests(ActionBlocked):
    """Too many requests, or too many waiting for people."""

    code = "rate-limited"
    hint = "Wait for answers to what is pending, or cancel some of it."


class ControlPlaneUnavailable(ActionBlocked):
    """There was no usable answer, for as long as we tried. No answer is a no."""

    code = "unavailable"
    hint = "Check the server and the network (`imprimatur doctor`), then ask again."


class ReceiptError(ActionBlocked):
    """The server said yes, but its receipt does not prove it. ``code`` is ``receipt-`` and what is wrong."""

    code = "receipt-malformed"
    hint = "Do not run it. If this repeats, someone stands between you and the server: tell an admin."


class ApprovalPending(ImprimaturError):
    """Only with ``wait=0``: a person has to decide. Ask again with the same run and call to come back to it."""

    def __init__(self, message: str, *, action_id: str, url: str | None = None) -> None:
        super().__init__(message)
        self.action_id = action_id
        self.url = url

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), {"action_id": self.action_id, "url": self.url})


_BLOCKED: dict[str, type[ActionBlocked]] = {
    **dict.fromkeys(("out-of-scope", "constraint", "resource-mismatch"), ScopeError),
    **dict.fromkeys(("policy-denied", "policy-error"), PolicyDenied),
    **dict.fromkeys(("key-unknown", "key-revoked", "signature", "clock-skew", "digest", "replayed"), NotRecognised),
    **dict.fromkeys(("malformed", "schema", "invalid", "too-large"), RequestInvalid),
    **dict.fromkeys(("rate-limited", "too-many-pending"), TooManyRequests),
    **dict.fromkeys(("idempotency-conflict", "wrong-state", "conflict"), ActionConflict),
    **dict.fromkeys(("invalidated", "policy-changed"), ApprovalInvalidated),
    **dict.fromkeys(("log-behind", "log-frozen", "clock", "busy"), ControlPlaneUnavailable),
    **dict.fromkeys(("cancelled", "superseded", "recalled"), ApprovalCancelled),
    **dict.fromkeys(("unavailable", "unknown-answer"), ControlPlaneUnavailable),
    "over-budget": BudgetExceeded,
    "delegation-expired": DelegationExpired,
    "delegation-revoked": DelegationRevoked,
    "depth": DepthExceeded,
    "reviewer-denied": ApprovalDenied,
    "approval-timeout": ApprovalTimeout,
    "approval-expired": ApprovalExpired,
    "arguments-changed": ArgumentsChanged,
    "already-redeemed": AlreadyRedeemed,
    "not-executor": NotExecutor,
    "paused": Paused,
    "suspended": Suspended,
}

_API: dict[int, type[APIError]] = {
    401: AuthenticationError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def blocked_type(code: str) -> type[ActionBlocked]:
    """The refusal class of a code; an unknown code is still a refusal."""
    return _BLOCKED.get(code, ActionBlocked)


def api_type(status: int) -> type[APIError]:
    """The error class of an HTTP status, for calls that are no actions."""
    return _API.get(status, ServerError if status >= 500 or status == 0 else APIError)


def _rebuild(kind: type[Any], message: str, attributes: dict[str, Any]) -> Any:
    return kind(message, **attributes)
