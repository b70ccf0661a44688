"""How the entries of this room read, for people. What an action does is told from its signed binding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from approvals import grants
from approvals.models import ActionRequest, Grant
from audit import kinds
from audit.kinds import Names, actor
from imprimatur.formats import canonical
from imprimatur.formats.timestamps import parse_time

Entry = Mapping[str, Any]
_Say = Callable[[str, dict[str, Any], Names], str]

_ANSWERS = {"approve": "approved", "confirm": "confirmed", "deny": "denied"}
_ENDINGS = {
    "REFUSED": "was refused",
    "DENIED": "was denied",
    "EXPIRED": "ended without an answer, so it was denied",
    "CANCELLED": "was taken back by the agent",
    "INVALIDATED": "became invalid",
    "SUPERSEDED": "was replaced by another request",
}
_WITHDRAWN = {"EXPIRED": "ran out unused", "RECALLED": "was taken back", "INVALIDATED": "became invalid"}
_OUTCOMES = {"SUCCEEDED": "succeeded", "FAILED": "failed", "UNREPORTED": "was never heard of again"}


def _requested(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{names('agent', body['binding']['agent'])} asked to {_what(body['binding'])}"


def _decided(who: str, body: dict[str, Any], names: Names) -> str:
    wish = f"The wish of {names('agent', body['binding']['agent'])} to {_what(body['binding'])}"
    if body["verdict"] == "allow":
        votes = len(body["votes"])
        by = f"by {votes} {'answer' if votes == 1 else 'answers'}" if votes else f"by the rule {body['rule']}"
        if "grant" in body:
            by = f"by {names('advance', body['grant'])}"
        return f"{wish} was allowed {by}"
    because = f" ({body['code']})" if "code" in body else ""
    return f"{wish} {_ENDINGS.get(body['state'], 'was denied')}{because}"


def _withdrawn(who: str, body: dict[str, Any], names: Names) -> str:
    return f"The approval to {names('request', body['request'])} {_WITHDRAWN[body['state']]} ({body['code']})"


def _redeemed(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} claimed the approval to {names('request', body['request'])}"


def _reported(who: str, body: dict[str, Any], names: Names) -> str:
    late = ", too late" if body.get("late") else ""
    what = names("request", body["request"])
    if body["outcome"] == "UNREPORTED":
        return f"What was approved {_OUTCOMES['UNREPORTED']}: {what}"
    return f"{who} reported{late} that it {_OUTCOMES[body['outcome']]}: {what}"


def _voted(who: str, body: dict[str, Any], names: Names) -> str:
    decision = canonical.loads(body["statement"].encode("utf-8"))["decision"]
    return f"{who} {_ANSWERS.get(decision, decision)}: {names('request', body['request'])}"


def _recalled(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} took back the answer in entry {body['vote']}: {names('request', body['request'])}"


def _looked_over(who: str, body: dict[str, Any], names: Names) -> str:
    verb = "flagged" if body["verdict"] == "flagged" else "looked over"
    return f"{who} {verb} afterwards: {names('request', body['request'])}"


def _commented(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} said something about: {names('request', body['request'])}"


def _grant_issued(who: str, body: dict[str, Any], names: Names) -> str:
    said = canonical.loads(body["statement"].encode("utf-8"))
    times = "once" if said["max_uses"] == 1 else f"up to {said['max_uses']} times"
    until = f"{parse_time(said['not_after']):%H:%M} UTC"
    agent, where = names("agent", said["agent"]), ", ".join(said["effects"])
    return f"{who} approved in advance: {agent} may use {said['tool']} {times} until {until}, on {where}"


def _grant_revoked(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} took back what was approved in advance ({body['reason']}): {names('grant', body['grant'])}"


def _asked(who: str, body: dict[str, Any], names: Names) -> str:
    people = ", ".join(names("person", one) for one in body["people"]) or "nobody"
    return f"{people} {_was(body['people'])} asked (level {body['level']}): {names('request', body['request'])}"


def _was(people: list[str]) -> str:
    return "were" if len(people) > 1 else "was"


def _claimed(who: str, body: dict[str, Any], names: Names) -> str:
    until = f"{parse_time(body['until']):%H:%M} UTC"
    return f"{who} said they would answer until {until}: {names('request', body['request'])}"


def _released(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} left to others what they had claimed: {names('request', body['request'])}"


SENTENCES: dict[str, _Say] = {
    "action.requested": _requested,
    "action.decided": _decided,
    "action.withdrawn": _withdrawn,
    "action.redeemed": _redeemed,
    "action.reported": _reported,
    "action.looked_over": _looked_over,
    "vote.cast": _voted,
    "vote.recalled": _recalled,
    "comment.added": _commented,
    "grant.issued": _grant_issued,
    "grant.revoked": _grant_revoked,
    "review.asked": _asked,
    "review.claimed": _claimed,
    "review.released": _released,
}


def hook() -> None:
    """Hand the sentences to the log. Called once, when the app is ready."""
    for kind, say in SENTENCES.items():
        kinds.register(kind, _sentence(say))
    kinds.register_names("request", _name)
    kinds.register_names("grant", _grant_name)
    kinds.register_names("advance", _approved_in_advance)


def _sentence(say: _Say) -> kinds.Sentence:
    return lambda entry, names: say(actor(entry, names), entry["body"], names)


def _what(binding: dict[str, Any]) -> str:
    resources = list(dict.fromkeys(effect["resource"] for effect in binding["effects"]))
    return f"use {binding['tool']['name']}" + (f" on {', '.join(resources)}" if resources else "")


def _name(id: str) -> str | None:
    found = ActionRequest.objects.filter(pk=id).values_list("binding", flat=True).first()
    return None if found is None else _what(canonical.loads(bytes(found)))


def _grant_name(id: str) -> str | None:
    found = Grant.objects.select_related("reviewer", "agent").filter(pk=id).first()
    return None if found is None else f"the grant of {found.reviewer.name} for {found.agent.name} to use {found.tool}"


def _approved_in_advance(id: str) -> str | None:
    found = Grant.objects.select_related("reviewer").filter(pk=id).first()
    return None if found is None else grants.by_whom(found)
