"""What an evidence bundle was asked to show: everything, or chosen requests, with or without what opens commitments.

Only entries about other requests may be left out. Whatever says who may do what (people, keys, agents, delegations,
tools, policies, pauses, the log's own keys) is in every bundle, and so is every hash, so that each entry that is there
stands at its place in the one tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imprimatur.formats.shapes import Const, Id, ListOf, Obj, OneOf, ShapeError, Text, Time, check
from imprimatur.formats.statement import RISK

SHAPE = Obj(
    {},
    {
        "agents": ListOf(Id("ag"), max=100, min=1, unique=True),
        "requests": ListOf(Id("act"), max=1000, min=1, unique=True),
        "from": Time(),
        "until": Time(),
        "verdicts": ListOf(OneOf("allow", "deny", "open"), max=3, min=1, unique=True),
        "risks": ListOf(RISK, max=4, min=1, unique=True),
        "controls": ListOf(Text(max=16, pattern=r"[A-Z]{2}-[0-9]{1,2}(?:\([0-9]{1,2}\))?"), max=64, min=1, unique=True),
        "openings": Const(False),
    },
)
"""``from`` and ``until`` bound the time of a request's first entry: from, included, until, excluded. Values of one list
are alternatives; different fields must all hold. ``openings``: false leaves every opening out."""

REQUEST_KINDS = frozenset(
    {
        "action.requested",
        "action.decided",
        "action.withdrawn",
        "action.redeemed",
        "action.reported",
        "action.looked_over",
        "vote.cast",
        "vote.recalled",
        "review.asked",
        "review.claimed",
        "review.released",
        "comment.added",
    }
)
"""The kinds of entries that are about one request, and so may be left out when another one was asked for."""

AUTHORITY = frozenset(
    {
        "log.genesis",
        "log.decision_key_changed",
        "log.key_added",
        "log.key_retired",
        "person.added",
        "person.changed",
        "person.login_reset",
        "person.key_added",
        "person.key_enrolled",
        "person.key_vouched",
        "person.key_revoked",
        "change.proposed",
        "change.seconded",
        "change.withdrawn",
        "agent.invited",
        "agent.enrolled",
        "agent.key_rotated",
        "agent.key_revoked",
        "agent.suspended",
        "agent.resumed",
        "delegation.issued",
        "delegation.revoked",
        "tool.registered",
        "tool.retired",
        "policy.activated",
        "pause.set",
        "pause.lifted",
        "grant.issued",
        "grant.revoked",
        "spend.corrected",
        "service.registered",
        "service.retired",
    }
)
"""The kinds of entries that change who may do what."""

BOOKKEEPING = frozenset(
    {
        "log.shipped",
        "person.away",
        "person.back",
        "cascade.swept",
        "cascade.finished",
        "door.rejected",
        "bundle.issued",
        "export.taken",
        "hold.placed",
        "hold.lifted",
        "openings.erased",
        "launch.attested",
        "launch.refused",
        "launch.ended",
        "observation.recorded",
        "canary.reported",
        "server.started",
    }
)
"""The kinds that are about no one request and change nobody's authority."""


def validate(chosen: Mapping[str, Any]) -> None:
    """Hold that this is a selection. Raises ShapeError."""
    check(dict(chosen), SHAPE)
    if "from" in chosen and "until" in chosen and chosen["until"] <= chosen["from"]:
        raise ShapeError("until", "lies before from")


def is_whole(chosen: Mapping[str, Any]) -> bool:
    """Whether every entry is to be there."""
    return not set(chosen) - {"openings"}
