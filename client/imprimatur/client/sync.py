"""The client for ordinary programs. :mod:`imprimatur.client.core` takes every decision; this only carries it out."""

from __future__ import annotations

import functools
import inspect
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, cast, overload

import httpx2

from imprimatur.client import base, rotation, tools
from imprimatur.client.answers import Decision
from imprimatur.client.base import Base, Execution
from imprimatur.client.core import a_delegation, an_action
from imprimatur.client.tools import OnDenied
from imprimatur.client.wire import Answer, Flow, Send, Unreachable
from imprimatur.client.wish import Wish, unchanged
from imprimatur.errors import ActionBlocked, ConfigError
from imprimatur.formats.encoding import b64u

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Justification = str | Callable[[Mapping[str, Any]], str]


class Imprimatur(Base):
    """Ask before acting.

    ``Imprimatur()`` reads ``IMPRIMATUR_URL``, ``IMPRIMATUR_KEY``, ``IMPRIMATUR_DELEGATION`` and ``IMPRIMATUR_TRUST``;
    arguments come first. Use it as a context manager or call :meth:`close`. Safe to share between
    threads. Raises ConfigError.
    """

    def __init__(
        self,
        *args: Any,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._http = httpx2.Client(transport=transport, trust_env=base.may_leave(self.config.origin))
        self._sleep = sleep
        self.delegations = Delegations(self)
        self.receipts = Receipts(self)

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    reply = None
                    if isinstance(step, Send):
                        reply = self._send(step)
                    else:
                        self._sleep(step.seconds)
                except (httpx2.RequestError, httpx2.StreamError):
                    step = flow.throw(Unreachable())
                except BaseException as interruption:
                    # The flow may still want to cancel what it asked for; then it raises this again.
                    step = flow.throw(interruption)
                else:
                    step = flow.send(reply)
        except StopIteration as end:
            return cast("T", end.value)

    def _send(self, step: Send) -> Answer:
        with self._http.stream(**base.request_parts(step)) as response:
            body = base.Body(response, step.timeout, self._core.wire.monotonic)
            if not response.is_stream_consumed:
                for piece in response.iter_raw():
                    body.add(piece)
            return body.answer()

    # --- one step at a time -------------------------------------------------------------------------------------------

    def submit(self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Decision:
        """Ask, without waiting. Returns an allow or a pending :class:`Decision`; raises ActionBlocked for a no.

        Options: ``justification redact risk cost effects run call ttl delegation supersedes require_human``. The
        allow is not yet permission: :meth:`redeem` it just before running.
        """
        return self._run(self._core.submit(self.wish(tool, parameters, **{"execute": False, **options})))

    def wait(self, decision: Decision, seconds: float | None = None) -> Decision:
        """Wait until a pending request is answered. Raises ActionBlocked (ApprovalTimeout when nobody answers)."""
        return self._run(self._core.wait(decision, seconds))

    def redeem(self, decision: Decision) -> Decision:
        """Check the receipt and claim the approval, once. Run the action only if this returns, and at once."""
        return self._run(self._core.redeem(decision))

    def outcome(
        self, decision: Decision, outcome: str, *, result: str | None = None, cost: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Report ``SUCCEEDED`` or ``FAILED``. Raises APIError."""
        return self._run(self._core.outcome(decision, outcome, result=result, cost=cost))

    def outcomes(self, reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Report many outcomes at once: ``[{"decision": d, "outcome": "SUCCEEDED", "result": …, "cost": …}]`` (or
        ``"action": "act_…"`` instead of ``decision``). Returns ``{action, status, …}`` for each, in their order; one
        that is refused does not touch the others. Raises ConfigError, APIError."""
        return self._run(self._core.outcomes(reports))

    def cancel(self, decision: Decision | str) -> dict[str, Any]:
        """Take a request back. Raises APIError."""
        return self._run(self._core.cancel(decision if isinstance(decision, str) else decision.id))

    def look(self, action_id: str, hold: int = 0) -> dict[str, Any]:
        """A request as it stands, whatever the verdict, held up to ``hold`` seconds (at most 25) while it is pending.

        For looking only: nothing may run because of it. Raises APIError.
        """
        return self._run(self._core.look(action_id, hold))

    def me(self) -> dict[str, Any]:
        """This agent, its delegations, what is left to spend, its tools. Raises APIError."""
        return self._run(self._core.read("/me"))

    def enrol(self, token: str) -> dict[str, Any]:
        """Register this key against an invitation. It has no authority yet. Raises APIError."""
        public_key = b64u(self.config.key.public_key)
        return self._run(self._core.write("/enroll", {"token": token, "public_key": public_key}))

    def rotate(self, new_key: str | os.PathLike[str]) -> dict[str, Any]:
        """Make a new key in the file ``new_key``, have the server take it, and sign with it from then on.

        The old key then signs nothing more; load the new file from now on. An interrupted rotation is finished by
        calling this again with the same file (which is then not made anew). Do it between runs: default call ids come
        from the key. Raises ConfigError, APIError.
        """
        return self._adopt(self._run(self._core.rotate(rotation.successor(new_key, self.config))))

    # --- around a piece of work ---------------------------------------------------------------------------------------

    @contextmanager
    def action(
        self, tool: str, parameters: Mapping[str, Any] | None = None, *, wait: float | None = None, **options: Any
    ) -> Iterator[Execution]:
        """``with gate.action("make_payment", {…}) as act:`` runs its body only when allowed, and reports how it ended.

        Raises ActionBlocked before the body when it may not run. An exception in the body is reported as FAILED and
        goes on.
        """
        given = {} if parameters is None else parameters
        wish = self.wish(tool, given, wait=wait, **options)
        with self._executing(wish, given, wait) as execution:
            yield execution

    @contextmanager
    def _executing(self, wish: Wish, parameters: Mapping[str, Any], wait: float | None) -> Iterator[Execution]:
        execution = Execution(self._run(self._core.obtain(wish, wait, lambda: unchanged(wish, parameters))))
        try:
            yield execution
        except BaseException:
            self._run(self._core.report(execution.decision, "FAILED", **execution.told()))
            raise
        self._run(self._core.report(execution.decision, "SUCCEEDED", **execution.told()))

    @overload
    def tool(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def tool(
        self,
        name: str | None = None,
        /,
        *,
        redact: Sequence[str] = (),
        risk: str | None = None,
        justification: Justification = "",
        wait: float | None = None,
        on_denied: OnDenied = "raise",
        **options: Any,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def tool(
        self,
        name: Any = None,
        /,
        *,
        redact: Sequence[str] = (),
        risk: str | None = None,
        justification: Justification = "",
        wait: float | None = None,
        on_denied: OnDenied = "raise",
        **options: Any,
    ) -> Any:
        """Govern a function: ``@gate.tool`` or ``@gate.tool("write_file", …)``.

        Every call asks with *all* its arguments, waits, checks the receipt, redeems it, runs the function and reports
        the outcome. ``redact`` names arguments whose values stay here (only their commitments travel); ``risk`` can
        only raise; ``on_denied="return"`` returns a :class:`ToolRefusal` instead of raising ActionBlocked.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.iscoroutinefunction(function):
                raise ConfigError("Use AsyncImprimatur for async functions.")
            governed = tools.govern(
                function,
                name if isinstance(name, str) else None,
                redact=redact,
                options={"risk": risk, **options},
                justification=justification,
                wait=wait,
                on_denied=on_denied,
            )

            @functools.wraps(function)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                args_kept, kwargs_kept = governed.keep(args, kwargs)
                arguments, live = governed.arguments(args_kept, kwargs_kept), governed.arguments(args, kwargs)
                try:
                    wish = self.wish(governed.name, arguments, wait=wait, **governed.wish_options(arguments))
                    execution = self._run(self._core.obtain(wish, wait, lambda: unchanged(wish, live)))
                except ActionBlocked as blocked:
                    if governed.on_denied == "return":
                        return tools.refusal(blocked)
                    raise
                try:
                    result = tools.finished(function(*args_kept, **kwargs_kept))
                except BaseException:
                    self._run(self._core.report(execution, "FAILED"))
                    raise
                self._run(self._core.report(execution, "SUCCEEDED"))
                return result

            return guarded

        return decorate(name) if callable(name) else decorate

    secure_tool = tool

    def require_approval(self, name: Any = None, /, **options: Any) -> Any:
        """:meth:`tool` with at least HIGH risk: a person is always asked."""
        return self.tool(name, **{"risk": "HIGH", **options})

    # --- life ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections."""
        self._held.keep()
        self._http.close()

    def __enter__(self) -> Imprimatur:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Delegations:
    """This agent's authority, and how to pass a narrower part of it on."""

    def __init__(self, gate: Imprimatur) -> None:
        self._gate = gate

    def get(self, identifier: str) -> dict[str, Any]:
        """One delegation and what is left of it. Raises APIError."""
        return self._gate._run(self._gate._core.read(f"/delegations/{a_delegation(identifier)}"))

    def pass_on(self, to: str, scope: Sequence[str], *, expires: datetime | timedelta, **facets: Any) -> dict[str, Any]:
        """Delegate a narrower part to the agent ``to``: ``spend constraints max_depth purpose parent``.

        Returns ``{id, document, signature}``. Raises ConfigError, APIError.
        """
        nonce = secrets.token_urlsafe(18)
        return self._gate._run(self._gate._core.pass_on(to, scope, expires=expires, nonce=nonce, **facets))

    def revoke(self, identifier: str, reason: str) -> dict[str, Any]:
        """Take back a delegation this agent issued. Raises APIError."""
        return self._gate._run(self._gate._core.take_back(identifier, reason))


class Receipts:
    """This agent's own receipts."""

    def __init__(self, gate: Imprimatur) -> None:
        self._gate = gate

    def get(self, action_id: str) -> dict[str, Any]:
        """The receipt of one request, as it came. Raises APIError."""
        return self._gate._run(self._gate._core.read(f"/receipts/{an_action(action_id)}"))
