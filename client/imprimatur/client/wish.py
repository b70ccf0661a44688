"""A wish: one call of one tool, with everything about it committed to, before anyone is asked."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

from imprimatur.client.config import Config
from imprimatur.errors import ConfigError, RequestInvalid
from imprimatur.formats import canonical, commitments, digests
from imprimatur.formats.encoding import b64u

IDEMPOTENCY_TAG = "imprimatur/idempotency/v1"
CALL_TAG = b"imprimatur/call/v1\0"
JUSTIFICATION = "justification"
RISKS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
_CONTEXT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")


class Turn:
    """The one run a wish may lead to, in the process that made it. ``asked`` and ``claimed`` hold what the clocks said
    (time of day, monotonic seconds) when this execution's attempt first went out with a submit, and with a redeem."""

    __slots__ = ("_free", "_process", "asked", "claimed")

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._process = os.getpid()
        self.asked: tuple[datetime, float] | None = None
        self.claimed: tuple[datetime, float] | None = None

    def take(self) -> bool:
        """Whether this caller is the first; true once, whatever thread asks."""
        return os.getpid() == self._process and self._free.acquire(blocking=False)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a decision is not pickled: the right to run it belongs to the process that asked")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked. ``salt`` and ``attempt`` are secrets of this process; the repr shows names only.

    Invariant: ``commitments`` covers every parameter, withheld ones included, under a salt only this key can make.
    """

    tool: str
    delegation: str
    idempotency_key: str
    context: dict[str, str]
    commitments: dict[str, str]
    attempt: str = field(repr=False)
    salt: bytes = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    commitments_digest: str
    cost: dict[str, str] | None = None
    require_human: str | None = None
    turn: Turn = field(default_factory=Turn, repr=False, compare=False)


class Wishes:
    """Makes wishes for one configuration and one run, and numbers equal calls of that run.

    The default call id is a keyed hash of tool and arguments with a number: a program that restarts under the same run
    id and asks the same again comes back to the same request instead of asking twice. The key of the hash comes from
    the agent's private key, so the id tells nobody the arguments.
    """

    def __init__(self, config: Config, run: str | None = None, launch: str | None = None) -> None:
        self.config = config
        self.run = _context("run", run or "run-" + secrets.token_hex(12))
        self._launch = None if launch is None else _context("launch", launch)
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def make(
        self,
        tool: str,
        parameters: Mapping[str, Any],
        *,
        justification: str = "",
        redact: Iterable[str] = (),
        risk: str | None = None,
        cost: Mapping[str, str] | None = None,
        effects: Sequence[Mapping[str, str]] | None = None,
        run: str | None = None,
        call: str | None = None,
        ttl: int | None = None,
        delegation: str | None = None,
        supersedes: str | None = None,
        require_human: str | None = None,
        execute: bool = True,
    ) -> Wish:
        """Commit to a call. Raises ConfigError (no delegation, unknown redact name) or RequestInvalid (not JSON)."""
        authority = delegation or self.config.delegation
        if authority is None:
            raise ConfigError("Set IMPRIMATUR_DELEGATION or pass delegation=: nothing can be asked without authority.")
        if risk is not None and risk not in RISKS:
            raise ConfigError("risk is one of " + ", ".join(RISKS) + "; it can only raise what the policy says.")
        values = {name: plain(value, name) for name, value in parameters.items()}
        withheld = frozenset(redact)
        if withheld - values.keys():
            raise ConfigError(f"redact names {sorted(withheld - values.keys())}, which is no parameter of {tool}.")
        in_run = self.run if run is None else _context("run", run)
        context = {"run": in_run, "call": _context("call", call) if call else self._number(in_run, tool, values)}
        if self._launch is not None:
            context["launch"] = self._launch
        key = idempotency_key(self.config.realm, authority, context["run"], context["call"])
        salt = commitments.salt_for(self.config.key.sign, key)
        committed = {name: commitments.commit(salt, name, value)[0] for name, value in values.items()}
        said = commitments.commit(salt, JUSTIFICATION, justification)[0] if justification else None
        attempt = b64u(secrets.token_bytes(16))
        body: dict[str, Any] = {
            "delegation": authority,
            "tool": tool,
            "parameters": {name: value for name, value in values.items() if name not in withheld},
            "salt": b64u(salt),
            "context": context,
        }
        optional = {
            "withheld": {name: committed[name] for name in sorted(withheld)} or None,
            "justification": justification or None,
            "risk": risk,
            "cost": None if cost is None else dict(cost),
            "effects": None if effects is None else [dict(effect) for effect in effects],
            "ttl": ttl,
            "supersedes": supersedes,
            "attempt": attempt if execute else None,
        }
        body.update({name: value for name, value in optional.items() if value is not None})
        return Wish(
            tool=tool,
            delegation=authority,
            idempotency_key=key,
            context=context,
            commitments=committed,
            attempt=attempt,
            salt=salt,
            body=body,
            commitments_digest=commitments.commitments_digest(committed, said),
            cost=None if cost is None else dict(cost),
            require_human=require_human,
        )

    def _number(self, run: str, tool: str, values: Mapping[str, Any]) -> str:
        secret = hashlib.sha256(self.config.key.sign(CALL_TAG + run.encode("utf-8"))).digest()
        mac = hmac.new(secret, canonical.dumps_json({"tool": tool, "parameters": dict(values)}), hashlib.sha256)
        name = b64u(mac.digest()[:16])
        with self._lock:
            self._seen[run + "\0" + name] += 1
            return f"{name}-{self._seen[run + chr(0) + name]}"


def idempotency_key(realm: str, delegation: str, run: str, call: str) -> str:
    """The default key of one logical call."""
    parts = {"realm": realm, "delegation": delegation, "run": run, "call": call}
    return digests.tagged(IDEMPOTENCY_TAG, canonical.dumps(parts))


def unchanged(wish: Wish, parameters: Mapping[str, Any]) -> bool:
    """Whether these arguments are still exactly the ones that were committed to."""
    try:
        now = {name: commitments.commit(wish.salt, name, plain(value, name))[0] for name, value in parameters.items()}
    except RequestInvalid:
        return False
    return now == wish.commitments


def plain(value: Any, name: str = "") -> Any:
    """A parameter as JSON. Paths and decimals become text; what has no JSON form is refused rather than left out."""
    try:
        converted = _plain(value, name)
        canonical.dumps_json(converted)
    except RecursionError:
        raise RequestInvalid(f"The argument {name!r} cannot be bound: it contains itself or is too deep.") from None
    except RequestInvalid:
        raise
    except ValueError as error:
        raise RequestInvalid(f"The argument {name!r} cannot be bound: {error}.") from None
    return converted


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, name)
    if isinstance(value, str):
        return _exactly(value)
    if isinstance(value, int | float):
        return _exactly(value)
    if isinstance(value, PurePath):
        return PurePath.__str__(value)
    if isinstance(value, Decimal):
        return format(_exactly(value), "f")
    if isinstance(value, Mapping):
        items = _items(value)
        if not all(isinstance(key, str) for key, _ in items):
            raise RequestInvalid(f"The argument {name!r} cannot be bound: its keys must be text.")
        return {_exactly(key): _plain(item, name) for key, item in items}
    if isinstance(value, list):
        return [_plain(item, name) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return [_plain(item, name) for item in tuple.__iter__(value)]
    raise RequestInvalid(
        f"The argument {name!r} cannot be bound: {type(value).__name__} has no JSON form. Pass text, numbers, lists or "
        "objects, and build the rest inside the tool."
    )


def kept(value: Any) -> Any:
    """A copy that nobody else holds: containers anew, texts and numbers as what they are rather than what a subclass
    makes of them. What cannot change, or cannot be bound, comes back as it is. Raises RequestInvalid for a knot."""
    try:
        return _kept(value)
    except RecursionError:
        raise RequestInvalid("An argument cannot be bound: it contains itself or is too deep.") from None


def _kept(value: Any) -> Any:
    if isinstance(value, Enum | bool):
        return value
    if isinstance(value, str | int | float | Decimal):
        return _exactly(value)
    if isinstance(value, Mapping):
        return {_kept(key): _kept(item) for key, item in _items(value)}
    if isinstance(value, list):
        return [_kept(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        # Of its own class, for a named tuple; made without the class's own code.
        return tuple.__new__(type(value), [_kept(item) for item in tuple.__iter__(value)])
    return value


def _exactly(value: Any) -> Any:
    """A text or number without the methods of a subclass, which may tell one thing here and be another in use."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else Decimal(value)


def _items(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return list(dict.items(value)) if isinstance(value, dict) else [(key, value[key]) for key in value]


def _context(name: str, value: str) -> str:
    if not _CONTEXT.fullmatch(value):
        raise ConfigError(f"A {name} id is 1 to 128 printable ASCII characters.")
    return value
