"""Asking, waiting, checking, redeeming, reporting: the whole conversation about an action, without any I/O.

Invariant: :meth:`Core.obtain` returns only when a receipt by a pinned key allows exactly this wish and was redeemed by
this very execution, in time. Every other end is an exception, so nothing runs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from imprimatur.client import answers, rotation
from imprimatur.client.answers import Decision
from imprimatur.client.config import Config
from imprimatur.client.wire import Answer, Flow, Sleep, Unreachable, Wire
from imprimatur.client.wish import Wish
from imprimatur.errors import (
    ActionBlocked,
    AlreadyRedeemed,
    ApprovalExpired,
    ApprovalPending,
    ApprovalTimeout,
    ArgumentsChanged,
    ConfigError,
    ControlPlaneUnavailable,
    ReceiptError,
    ServerError,
)
from imprimatur.formats import delegation, digests, receipts
from imprimatur.formats.ids import is_id
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import grants

logger = logging.getLogger("imprimatur")
logger.addHandler(logging.NullHandler())

POLL = 25
"""Seconds the server may hold one wait: below every common proxy limit."""
GRACE = 5.0
"""Seconds after a request's end in which the server itself should say that it has ended."""
LONGEST_WAIT = 5 * 3600.0
MOST_OUTCOMES = 100
EXECUTE_WITHIN = 30.0
"""Seconds from a redemption to the start of its execution, as the protocol has it."""
OUTCOMES = ("SUCCEEDED", "FAILED")
_UNREACHABLE = "There was no answer from the server, so the answer is no."


class Core:
    """The conversation. ``wire`` signs and repeats."""

    def __init__(self, config: Config, wire: Wire) -> None:
        self.config = config
        self.wire = wire

    def submit(self, wish: Wish) -> Flow[Decision]:
        """Ask. Returns an allow that is not yet checked, or a pending. Raises ActionBlocked."""
        wish.turn.asked = wish.turn.asked or (self.wire.now(), self.wire.monotonic())
        try:
            answer = yield from self.wire.post(
                "/actions",
                wish.body,
                idempotency_key=wish.idempotency_key,
                commitments=wish.commitments_digest,
            )
        except Unreachable:
            raise ControlPlaneUnavailable(_UNREACHABLE) from None
        return answers.decision(answer, wish)

    def wait(self, pending: Decision, seconds: float | None = None) -> Flow[Decision]:
        """Hold until the request is decided. Raises ActionBlocked; ApprovalTimeout when ``seconds`` (or without them
        the request's own time) are over, ControlPlaneUnavailable when there was no server to ask at the end."""
        wire = self.wire
        started = wire.monotonic()
        current = pending
        while current.pending:
            left = started + self._patience(current, seconds, started) - wire.monotonic()
            if left <= 0:
                raise _timeout(current)
            asked = wire.monotonic()
            hold = max(1, min(POLL, int(left)))
            try:
                answer = yield from wire.get(
                    f"/actions/{current.id}?wait={hold}", timeout=hold + 10.0, deadline=asked + left
                )
            except Unreachable:
                raise ControlPlaneUnavailable(_UNREACHABLE, action_id=current.id) from None
            current = answers.decision(answer, current.wish, was_pending=True)
            if current.id != pending.id:
                raise ActionBlocked("The server answered about another request.", code="unknown-answer")
            if current.pending and wire.monotonic() - asked < 1.0:
                yield Sleep(1.0)  # a server or proxy that does not hold the answer must not be hammered
        return current

    def redeem(self, allowed: Decision) -> Flow[Decision]:
        """Check an allow, claim it for this execution, and check the claim. Only its return permits execution.

        Raises ReceiptError, AlreadyRedeemed, ApprovalExpired, Paused and other ActionBlocked. An answer that got lost
        is a no: the approval may have been used up, and nothing ran.
        """
        wish = allowed.wish
        digest = self._checked(allowed, redeemed=allowed.state == "REDEEMED")
        if allowed.state == "REDEEMED":
            return _take(allowed)
        wish.turn.claimed = wish.turn.claimed or (self.wire.now(), self.wire.monotonic())
        try:
            answer = yield from self.wire.post(
                f"/actions/{allowed.id}/redeem", {"action_digest": digest, "attempt": wish.attempt}
            )
        except Unreachable:
            raise ControlPlaneUnavailable(_UNREACHABLE, action_id=allowed.id) from None
        claim = self._claim(answer, allowed)
        self._checked(claim, redeemed=True)
        return _take(claim)

    def obtain(self, wish: Wish, wait: float | None = None, still: Callable[[], bool] = lambda: True) -> Flow[Decision]:
        """The whole way from a wish to permission to run it now.

        ``still`` says whether the arguments are the ones that were asked for. When the caller is interrupted while it
        waits, or gives up, the request is cancelled. With ``wait=0`` a pending request stays and ApprovalPending is
        raised.
        """
        try:
            current = yield from self.submit(wish)
            if current.pending:
                if wait == 0:
                    raise ApprovalPending(f"{wish.tool} waits for a person.", action_id=current.id, url=current.url)
                try:
                    current = yield from self.wait(current, wait)
                except GeneratorExit:
                    raise
                except BaseException as interruption:
                    if not isinstance(interruption, ActionBlocked) or isinstance(interruption, ApprovalTimeout):
                        yield from self.cancel_quietly(current.id)
                    raise
            if current.state == "APPROVED" and not still():
                yield from self.cancel_quietly(current.id)
                raise _changed(current)
            current = yield from self.redeem(current)
            if not still():
                yield from self.report(current, "FAILED")
                raise _changed(current)
            return current
        except ActionBlocked as refused:
            logger.warning("%s did not run: %s (%s)", wish.tool, refused.code, refused.action_id or "no request")
            raise

    def outcome(
        self, done: Decision, outcome: str, *, result: str | None = None, cost: Mapping[str, str] | None = None
    ) -> Flow[dict[str, Any]]:
        """Report SUCCEEDED or FAILED. Raises APIError; saying the same again changes nothing."""
        document: dict[str, Any] = {"outcome": outcome}
        if result:
            document["result"] = result
        if cost is not None:
            document["cost"] = dict(cost)
        answer = yield from self._reach(self.wire.post(f"/actions/{done.id}/outcome", document))
        return answers.items(answer)

    def report(
        self, done: Decision, outcome: str, *, result: str | None = None, cost: Mapping[str, str] | None = None
    ) -> Flow[bool]:
        """:meth:`outcome` for after the fact: a report that fails is logged, since the deed cannot be undone by it.
        The server then writes UNREPORTED, and nothing runs again."""
        try:
            yield from self.outcome(done, outcome, result=result, cost=cost)
        except Exception as error:
            logger.error("%s %s, but that could not be reported: %s", done.id, outcome, error)
            return False
        return True

    def cancel(self, action_id: str) -> Flow[dict[str, Any]]:
        """Take a request back. Raises ConfigError, APIError."""
        action_id = an_action(action_id)
        answer = yield from self._reach(self.wire.post(f"/actions/{action_id}/cancel", {}))
        return answers.items(answer)

    def cancel_quietly(self, action_id: str) -> Flow[None]:
        """One try to take a request back; if it fails the request ends by its own time."""
        try:
            yield from self.wire.post(f"/actions/{action_id}/cancel", {}, timeout=3.0, retries=0)
        except Unreachable:
            logger.warning("%s could not be cancelled; it ends by its own time", action_id)

    def look(self, action_id: str, hold: int = 0) -> Flow[dict[str, Any]]:
        """A request as it stands, whatever the verdict; held up to ``hold`` seconds while it is pending.

        For looking only: nothing may run because of it. Raises APIError.
        """
        path = f"/actions/{an_action(action_id)}" + (f"?wait={hold:d}" if hold else "")
        answer = yield from self._reach(self.wire.get(path, timeout=hold + 10.0))
        found = answer.document()
        if not isinstance(found.get("verdict"), str):
            raise answers.failure(answer)
        return found

    def read(self, path: str) -> Flow[dict[str, Any]]:
        """A signed GET of a document. Raises APIError."""
        answer = yield from self._reach(self.wire.get(path))
        return answers.items(answer)

    def write(self, path: str, document: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """A signed POST of a document that is no action. Raises APIError."""
        answer = yield from self._reach(self.wire.post(path, document))
        return answers.items(answer)

    def outcomes(self, reports: Iterable[Mapping[str, Any]]) -> Flow[list[dict[str, Any]]]:
        """Report many outcomes, 100 to a request. One answer each, in their order: ``{action, status, …}``; one that is
        refused (``status`` not 200, with ``code``) does not touch the others. Raises ConfigError, APIError."""
        rows = [_named_outcome(report) for report in reports]
        told: list[dict[str, Any]] = []
        for start in range(0, len(rows), MOST_OUTCOMES):
            part = rows[start : start + MOST_OUTCOMES]
            answer = yield from self._reach(self.wire.post("/outcomes", {"outcomes": part}))
            found = answers.items(answer).get("outcomes")
            rows_told = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
            if [item.get("action") for item in rows_told] != [row["action"] for row in part]:
                raise ServerError("The server answered about other outcomes than those sent.", code="unknown-answer")
            told += rows_told
        return told

    def rotate(self, new: KeyPair) -> Flow[dict[str, Any]]:
        """Have the server take the new key in place of the present one, and sign with it from then on.

        Safe to repeat with the same new key: when the answer to an earlier try was lost, the new key itself shows
        whether the server knows it. Raises APIError, and then the present key stays in use.
        """
        config, answer = self.config, None
        with contextlib.suppress(Unreachable):
            answer = yield from self.wire.post("/keys/rotate", rotation.body(config, new))
        if answer is None or answer.code == "key-revoked":
            # Perhaps it was taken by an earlier try. Only the new key's own signature can tell.
            probe = yield from self._reach(self.wire.get("/me", key=new))
            if probe.status != 200:
                raise answers.failure(answer) if answer else _no_answer()
            found = answers.items(probe)
            agent, key = found.get("agent"), found.get("key")
            told = {
                "agent": agent.get("id") if isinstance(agent, dict) else None,
                "key": key.get("thumbprint") if isinstance(key, dict) else None,
            }
        else:
            found = answers.items(answer)
            told = {"agent": found.get("agent"), "key": found.get("key")}
        if told != {"agent": config.agent, "key": new.thumbprint}:
            raise ServerError("The server answered about another agent or key. Tell an admin.", code="unknown-answer")
        self.config = self.wire.config = replace(config, key=new)
        return told

    def take_back(self, identifier: str, reason: str) -> Flow[dict[str, Any]]:
        """Revoke a delegation this agent issued. Raises ConfigError, APIError."""
        return (yield from self.write(f"/delegations/{a_delegation(identifier)}/revoke", {"reason": reason}))

    def pass_on(
        self,
        to: str,
        scope: Sequence[str],
        *,
        expires: datetime | timedelta,
        spend: Mapping[str, str] | None = None,
        constraints: Mapping[str, Any] | None = None,
        max_depth: int = 0,
        purpose: str | None = None,
        nonce: str,
        parent: str | None = None,
    ) -> Flow[dict[str, Any]]:
        """Sign and register a narrower part of the own delegation for the agent ``to``.

        The server refuses whatever is not narrower in every facet. Raises ConfigError, APIError.
        """
        above = parent or self.config.delegation
        if above is None:
            raise ConfigError("Set IMPRIMATUR_DELEGATION or pass parent=: there is no authority to pass on.")
        now = self.wire.now()
        end = now + expires if isinstance(expires, timedelta) else expires
        document: dict[str, Any] = {
            "typ": delegation.TYP,
            "realm": self.config.realm,
            "issuer": self.config.agent,
            "subject": to,
            "parent": above,
            "scope": list(scope),
            "not_before": format_time(now),
            "not_after": format_time(end),
            "max_depth": max_depth,
            "nonce": nonce,
        }
        held = yield from self.read(f"/delegations/{a_delegation(above)}")
        over = held.get("document")
        if isinstance(over, dict):
            if isinstance(over.get("on_behalf_of"), str):
                document["on_behalf_of"] = over["on_behalf_of"]
            # Clocks differ by a little; a child may not begin before its parent.
            document["not_before"] = max(document["not_before"], str(over.get("not_before", "")))
        optional = {
            "spend": None if spend is None else dict(spend),
            "constraints": None if constraints is None else dict(constraints),
            "purpose": purpose,
        }
        document.update({name: value for name, value in optional.items() if value is not None})
        try:
            signature = delegation.sign_as_agent(document, self.config.key)
        except ValueError as error:
            raise ConfigError(f"This delegation cannot be written: {error}") from None
        yield from self.write("/delegations", {"document": document, "signature": signature})
        return {"id": delegation.delegation_id(document), "document": document, "signature": signature}

    def _reach(self, flow: Flow[Answer]) -> Flow[Answer]:
        try:
            return (yield from flow)
        except Unreachable:
            raise _no_answer() from None

    def _patience(self, current: Decision, seconds: float | None, started: float) -> float:
        if seconds is not None:
            return seconds + GRACE
        if current.expires_at is None:
            return LONGEST_WAIT
        try:
            left = (parse_time(current.expires_at) - self.wire.now()).total_seconds()
        except ValueError:
            raise ActionBlocked("The server's answer has no readable end.", code="unknown-answer") from None
        return min(self.wire.monotonic() - started + left + GRACE, LONGEST_WAIT)

    def _claim(self, answer: Answer, allowed: Decision) -> Decision:
        found = answer.document()
        receipt = answers.receipt_in(found)
        if answer.status != 200 or found.get("state") != "REDEEMED":
            raise answers.refusal(answer, action_id=allowed.id)
        if receipt is None:
            raise ReceiptError("The server redeemed without a receipt.", code="receipt-missing", action_id=allowed.id)
        return replace(allowed, state="REDEEMED", receipt=receipt)

    def _now(self, claimed: Decision) -> datetime:
        """The time that a claim is held against. Nobody claimed before this execution first said its attempt; once
        the time to execute has passed since then, a clock that was set back meanwhile counts for nothing."""
        now, turn = self.wire.now(), claimed.wish.turn
        later = claimed.receipt is not None and "redeemed" in claimed.receipt
        began = (turn.claimed if later else None) or turn.asked
        if began is None:
            return now
        passed = self.wire.monotonic() - began[1]
        return now if passed < EXECUTE_WITHIN else max(now, began[0] + timedelta(seconds=passed))

    def _checked(self, allowed: Decision, *, redeemed: bool) -> str:
        """The action digest that the verified receipt stands for. Raises ReceiptError."""
        wish = allowed.wish
        if allowed.receipt is None:
            raise ReceiptError("The server allows without a receipt.", code="receipt-missing", action_id=allowed.id)
        expected = receipts.Expected(
            realm=self.config.realm,
            decision_keys=self.config.trust.decision or (),
            agent=self.config.agent,
            delegation=wish.delegation,
            tool=wish.tool,
            parameters=wish.commitments,
            context=wish.context,
            idempotency_key=wish.idempotency_key,
            cost=wish.cost,
            require_human=wish.require_human,
            attempt=wish.attempt if redeemed else None,
            redeemed=redeemed,
            people=self.config.trust.people,
            origins=self.config.trust.origins,
            # What is withheld from the server is missing here, and no grant covers that.
            covers=grants.covers(wish.body["parameters"]),
            single_human=self.config.single_human,
        )
        try:
            now = self._now(allowed) if redeemed else self.wire.now()
            checked = receipts.check(allowed.receipt, expected=expected, now=now)
        except receipts.ReceiptError as error:
            if error.code == "expired":
                raise ApprovalExpired(
                    f"It is too late to run this: {error.message}.", action_id=allowed.id, receipt=allowed.receipt
                ) from None
            raise ReceiptError(
                f"The receipt does not allow this: {error.message}.",
                code=f"receipt-{error.code}",
                action_id=allowed.id,
                receipt=allowed.receipt,
            ) from None
        if checked.entry["subject"] != allowed.id:
            raise ReceiptError("The receipt is for another request.", code="receipt-decision", action_id=allowed.id)
        self.wire.held.take(checked.index, checked.envelope)
        if checked.redeemed is not None and checked.redeemed_envelope is not None:
            self.wire.held.take(checked.redeemed["index"], checked.redeemed_envelope)
        digest: str = checked.entry["body"]["action_digest"]
        return digest


def an_action(identifier: str) -> str:
    """The id of an action request. Raises ConfigError for anything else: it becomes part of a signed address."""
    if not is_id("act", identifier):
        raise ConfigError(f"{identifier!r} is no id of an action request: act_ and 26 characters.")
    return identifier


def a_delegation(identifier: str) -> str:
    """The id of a delegation. Raises ConfigError for anything else."""
    if not digests.is_digest(identifier):
        raise ConfigError(f"{identifier!r} is no id of a delegation: sha256: and 64 characters.")
    return identifier


def _take(claim: Decision) -> Decision:
    if not claim.wish.turn.take():
        raise AlreadyRedeemed("This decision was used for an execution already.", action_id=claim.id)
    return replace(claim, redeemed=True)


def _no_answer() -> ServerError:
    return ServerError(
        "There was no answer from the server. Check the address and the network (`imprimatur doctor`).",
        code="unavailable",
    )


def _named_outcome(report: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in report.items() if value is not None}
    done = row.pop("decision", None)
    if isinstance(done, Decision):
        row.setdefault("action", done.id)
    strange = row.keys() - {"action", "outcome", "result", "cost"}
    if strange or not is_id("act", row.get("action")) or row.get("outcome") not in OUTCOMES:
        raise ConfigError(
            'An outcome is {"decision": … or "action": "act_…", "outcome": "SUCCEEDED" or "FAILED"}, and perhaps '
            '"result" and "cost".'
        )
    return row


def _timeout(current: Decision) -> ApprovalTimeout:
    return ApprovalTimeout(
        "Nobody answered in time, so the answer is no.", action_id=current.id, receipt=current.receipt
    )


def _changed(current: Decision) -> ArgumentsChanged:
    return ArgumentsChanged(
        "An argument was changed after the request was made, so what would run is not what was approved.",
        action_id=current.id,
    )
