"""What falls with a revocation: the one place where upper rooms hook in, called inside the revoking transaction.

The revocation itself is a flag and takes effect at commit, whatever happens here: every use of authority looks at the
whole chain again. The cascade only tidies up what was waiting on it, and writes down what it tidied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from audit.log import SYSTEM, Appended, Writer
from governance.models import Delegation, Policy

MOST_IDS = 500


class Callback(Protocol):
    """Ends what depended on the revoked authority. May return the ids it ended; they go into the sweep entries."""

    def __call__(
        self,
        writer: Writer,
        cause: Appended,
        *,
        agents: set[str],
        keys: dict[str, datetime],
        delegations: set[str],
    ) -> Iterable[str] | None: ...


_callbacks: list[Callback] = []
_policy_callbacks: list[Callable[[Writer, Policy], object]] = []


def register(callback: Callback) -> Callback:
    """Have ``callback`` called with every revocation, in its transaction. Registering twice changes nothing."""
    if callback not in _callbacks:
        _callbacks.append(callback)
    return callback


def policy_activated(callback: Callable[[Writer, Policy], object]) -> Callable[[Writer, Policy], object]:
    """Have ``callback`` called when a policy becomes the active one, in that transaction."""
    if callback not in _policy_callbacks:
        _policy_callbacks.append(callback)
    return callback


def tell_policy_activated(writer: Writer, policy: Policy) -> None:
    """Call what was registered for policy activations."""
    for callback in _policy_callbacks:
        callback(writer, policy)


def sweep(
    writer: Writer,
    cause: Appended,
    *,
    agents: Iterable[str] = (),
    keys: Mapping[str, datetime] | None = None,
    delegations: Iterable[str] = (),
) -> int:
    """End everything that stood on the given agents, keys and delegations (and on what was passed on below them).

    Writes ``cascade.swept`` entries of at most 500 ids and a ``cascade.finished`` with the total, when callbacks
    ended anything. ``keys`` maps a key to the time from which what it signed is dead. Returns the total.
    """
    fallen = below(delegations)
    ended: list[str] = []
    for callback in _callbacks:
        told = callback(writer, cause, agents=set(agents), keys=dict(keys or {}), delegations=set(fallen))
        ended.extend(told or ())
    ids = sorted(set(ended))
    refs = [("cause", cause.index)]
    for start in range(0, len(ids), MOST_IDS):
        writer.append(
            "cascade.swept",
            subject=f"entry:{cause.index}",
            actor=SYSTEM,
            refs=refs,
            body={"cause": cause.index, "ids": ids[start : start + MOST_IDS]},
        )
    if ids:
        writer.append(
            "cascade.finished",
            subject=f"entry:{cause.index}",
            actor=SYSTEM,
            refs=refs,
            body={"cause": cause.index, "total": len(ids)},
        )
    return len(ids)


def below(delegations: Iterable[str]) -> set[str]:
    """The given delegations and every one passed on below them."""
    found: set[str] = set()
    layer = set(delegations)
    while layer:
        found |= layer
        layer = set(Delegation.objects.filter(parent_id__in=layer).values_list("id", flat=True)) - found
    return found
