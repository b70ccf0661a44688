"""What the server said, as a :class:`Decision` or a refusal. Whatever cannot be read for certain is a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imprimatur.client.wire import Answer
from imprimatur.client.wish import Wish
from imprimatur.errors import (
    ActionBlocked,
    APIError,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalTimeout,
    ControlPlaneUnavailable,
    api_type,
    blocked_type,
)
from imprimatur.formats import canonical
from imprimatur.formats.ids import is_id
from imprimatur.inert import visible

PENDING = frozenset({"PENDING", "AWAITING_CONFIRMATION"})
RUNNABLE = frozenset({"APPROVED", "REDEEMED"})
_CODE = re.compile(r"[a-z0-9-]{1,64}")
_SURPRISE = "The server's answer could not be understood, so it counts as a no."


@dataclass(frozen=True, slots=True)
class Decision:
    """An action request as it stands. ``verdict`` is ``allow`` or ``pending``: a deny is raised, never returned.

    An ``allow`` by itself permits nothing: only a redeemed receipt that was checked does, which is what
    ``redeemed=True`` says.
    """

    id: str
    state: str
    verdict: str
    risk: str
    rule: str
    why: tuple[str, ...]
    action_digest: str
    url: str
    expires_at: str | None
    not_after: str | None
    can_answer: int | None
    decided_by: str | None
    note: str | None
    wish: Wish = field(repr=False)
    receipt: Mapping[str, Any] | None = field(default=None, repr=False)
    redeemed: bool = False

    @property
    def pending(self) -> bool:
        """Whether a person still has to answer."""
        return self.verdict == "pending"


def decision(answer: Answer, wish: Wish, *, was_pending: bool = False) -> Decision:
    """Read an answer about an action. Raises the :class:`ActionBlocked` it amounts to unless it is an unmistakable
    allow or pending."""
    found = answer.document()
    verdict, state = found.get("verdict"), found.get("state")
    allow = verdict == "allow" and answer.status == 200 and state in RUNNABLE
    pending = verdict == "pending" and answer.status in (200, 202) and state in PENDING
    if not (allow or pending):
        raise refusal(answer, was_pending=was_pending)
    try:
        return Decision(
            id=_action(found),
            state=_text(found, "state"),
            verdict=_text(found, "verdict"),
            risk=_text(found, "risk"),
            rule=_text(found, "rule"),
            why=tuple(str(line) for line in found.get("why", ())),
            action_digest=_text(found, "action_digest"),
            url=_text(found, "url"),
            expires_at=_maybe(found, "expires_at"),
            not_after=_maybe(found, "not_after"),
            can_answer=found["can_answer"] if isinstance(found.get("can_answer"), int) else None,
            decided_by=_maybe(found, "decided_by"),
            note=_maybe(found, "note"),
            wish=wish,
            receipt=receipt_in(found),
        )
    except (KeyError, TypeError):
        raise ControlPlaneUnavailable(_SURPRISE, code="unknown-answer", action_id=_maybe(found, "id")) from None


def refusal(answer: Answer, *, was_pending: bool = False, action_id: str | None = None) -> ActionBlocked:
    """The refusal that an answer amounts to."""
    found = answer.document()
    code = _code(found)
    identifier = _maybe(found, "id") or action_id
    if code is None:
        code = "unavailable" if answer.status >= 500 else "unknown-answer"
        return blocked_type(code)(_SURPRISE, code=code, action_id=identifier)
    kind = blocked_type(code)
    if found.get("state") == "EXPIRED" and kind is ApprovalExpired and (was_pending or "not_after" not in found):
        # One code for both on the wire; for whoever waits, "nobody answered" and "used too late" differ.
        kind, code = ApprovalTimeout, ApprovalTimeout.code
    receipt = receipt_in(found)
    decided_by = _maybe(found, "decided_by")
    if decided_by is None and receipt is not None and code.startswith("policy-"):
        decided_by = "policy"
    message = _words(found, "detail") or f"The server refused ({code})."
    if kind is ApprovalTimeout:
        message = "Nobody answered in time, so the answer is no."
    more = {"suggestion": _suggestion(found)} if issubclass(kind, ApprovalDenied) else {}
    return kind(
        message,
        code=code,
        decided_by=decided_by,
        note=_maybe(found, "note"),
        action_id=identifier,
        receipt=receipt,
        hint=_words(found, "hint"),
        **more,
    )


def failure(answer: Answer) -> APIError:
    """The error for a call that is no action and was not answered with success."""
    found = answer.document()
    code = _code(found) or "unknown-answer"
    message = _words(found, "detail") or f"The server answered {answer.status}."
    hint = _words(found, "hint")
    return api_type(answer.status)(f"{message} {hint}" if hint else message, code=code, status=answer.status)


def receipt_in(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The receipt in an answer, unchecked. Anything but an object is none."""
    receipt = found.get("receipt")
    return receipt if isinstance(receipt, dict) else None


def _suggestion(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameters that a reviewer suggests, as they came. Anything but an object of them is no suggestion."""
    suggestion = found.get("suggestion")
    parameters = suggestion.get("parameters") if isinstance(suggestion, dict) else None
    return parameters if isinstance(parameters, dict) else None


def _action(found: Mapping[str, Any]) -> str:
    # It becomes part of the addresses that this agent signs.
    value = _text(found, "id")
    if not is_id("act", value):
        raise TypeError("id")
    return value


def _code(found: Mapping[str, Any]) -> str | None:
    value = _maybe(found, "code")
    return value if value is not None and _CODE.fullmatch(value) else None


def _words(found: Mapping[str, Any], name: str) -> str | None:
    """A sentence of the server, as it may stand in an error or a log: it ends no line and moves no cursor."""
    value = _maybe(found, name)
    return None if value is None else visible(value)


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _maybe(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) and value else None


def items(answer: Answer) -> dict[str, Any]:
    """The document of a successful answer. Raises the APIError it amounts to otherwise."""
    if not 200 <= answer.status < 300:
        raise failure(answer)
    found = answer.document()
    if not found and answer.body.strip() != canonical.dumps({}):
        raise failure(Answer(502, answer.headers, b""))
    return found
