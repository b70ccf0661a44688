"""The binding: everything a person approves and everything that later runs, and its hash, the action digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imprimatur.formats import canonical, digests
from imprimatur.formats.shapes import Amount, Commitment, Const, Digest, Id, ListOf, MapOf, Obj, Text, check

TYP = "imprimatur/action/v1"

REALM = Text(max=255)
EFFECT = Obj({"action": Text(max=128), "resource": Text(max=4096)})
COST = Obj({"amount": Amount(), "unit": Text(max=16, pattern=r"[A-Za-z][A-Za-z0-9_.-]*")})
CONTEXT = Obj({}, {"run": Text(max=128), "call": Text(max=128), "launch": Text(max=128)})

# A tool that the registry does not know has no schema digest: absent, never null.
SHAPE = Obj(
    {
        "typ": Const(TYP),
        "realm": REALM,
        "agent": Id("ag"),
        "delegation": Digest(),
        "tool": Obj({"name": Text(max=128)}, {"schema": Digest()}),
        "effects": ListOf(EFFECT, max=256),
        "parameters": MapOf(Commitment(), max=128),
        "cost": COST,
        "context": CONTEXT,
    }
)


def build(
    *,
    realm: str,
    agent: str,
    delegation: str,
    tool: Mapping[str, str],
    effects: Sequence[Mapping[str, str]],
    parameters: Mapping[str, str],
    cost: Mapping[str, str],
    context: Mapping[str, str],
) -> dict[str, Any]:
    """Put a binding together and check its shape. ``parameters`` are commitments by name. Raises ShapeError."""
    document: dict[str, Any] = {
        "typ": TYP,
        "realm": realm,
        "agent": agent,
        "delegation": delegation,
        "tool": dict(tool),
        "effects": [dict(effect) for effect in effects],
        "parameters": dict(parameters),
        "cost": dict(cost),
        "context": dict(context),
    }
    check(document, SHAPE)
    return document


def action_digest(binding: Mapping[str, Any]) -> str:
    """``sha256:`` over the tag and the canonical bytes of a binding."""
    return digests.tagged(TYP, canonical.dumps(dict(binding)))
