"""An action request's way: asked, decided, redeemed, withdrawn, reported, and the money it holds on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur.formats import canonical, commitments, digests, ed25519, httpsig
from imprimatur.formats.encoding import un_b64, un_b64u
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import freeze, money, quorum, spend, states
from imprimatur.rules import policy as policies
from imprimatur.rules.risk import Risk
from imprimatur.verify import authority, grants, rulebook, votes
from imprimatur.verify.facts import Facts, Request

CONTENT_TYPE = "application/json"
NEAR = timedelta(hours=1)
"""How far a request's id and its signature may lie from the entry: long enough for any clock the door lets in."""

_JUDGED_WITHIN = timedelta(minutes=1)
_LONG_OVER = timedelta(days=30)
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_AUTOMATIC = ("LOW", "MEDIUM")


def _requested(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, name = entry["body"], entry["subject"]
    facts.hold(entry["actor"]["id"] == body["binding"]["agent"], rulebook.ACTOR, "it is another agent's request")
    request = _new(facts, name, body)
    facts.hold(Risk(body["risk"]).blocks, rulebook.RISK, "only HIGH and CRITICAL ask people")
    _check_floor(facts, body)
    try:
        wanted = quorum.stages_for(Risk(body["risk"]), body["stages"])
    except quorum.QuorumError as error:
        facts.hold(False, rulebook.QUORUM, str(error))
        return
    facts.hold(
        [(stage.role, stage.count, stage.kind) for stage in wanted]
        == [(stage["role"], stage["count"], stage["kind"]) for stage in body["stages"]],
        rulebook.QUORUM,
        "it asks fewer people than its risk needs",
    )
    # Other rules that matched may ask for more, and conditions are not run again: the named one is the least there is.
    named = facts.policies[body["policy"]]["rules"].get(body["rule"], {})
    facts.hold(
        all(_asks(body["stages"], stage) for stage in named.get("stages", ())),
        rulebook.QUORUM,
        "it asks fewer people than the rule that it names",
    )
    facts.hold(body["expires_at"] > facts.now, rulebook.WINDOW, "it is over before it begins")
    _check_authority(facts, request)
    request.state = "PENDING"
    request.stages = body["stages"]
    request.display_digest = body["display_digest"]
    request.requested, request.expires_at = facts.index, body["expires_at"]
    _reserve(facts, request)
    facts.requests[name] = request


def _decided(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, name = entry["body"], entry["subject"]
    request = facts.requests.get(name)
    fresh = request is None
    if request is None:
        request = _new(facts, name, body)
    else:
        facts.hold(_wish(body) == request.wish, rulebook.SAME_ACTION, "it decides something else than was asked for")
        facts.hold(
            (body["risk"], body["reversibility"]) == (request.risk, request.reversibility),
            rulebook.SAME_ACTION,
            "the risk is not the one that was asked about",
        )
        facts.hold(body["policy"] == request.policy, rulebook.POLICY, "it was asked under another policy")
    if body["verdict"] == "allow":
        _allow(facts, body, name, request, fresh=fresh)
    else:
        _deny(facts, body, name, request, fresh=fresh)


def _allow(facts: Facts, body: Mapping[str, Any], name: str, request: Request, *, fresh: bool) -> None:
    facts.hold(body["not_after"] > facts.now, rulebook.WINDOW, "the approval is over before it begins")
    _check_authority(facts, request)
    if fresh:
        _check_floor(facts, body)
        if "grant" in body:
            grants.use(facts, request, body["grant"], body["rule"])
        else:
            facts.hold(
                body["risk"] in _AUTOMATIC, rulebook.RISK, f"{body['risk']} is approved by people, and nobody was asked"
            )
        facts.hold(not body["votes"], rulebook.REFERENCE, "it names votes, and there was nothing to vote on")
        _reserve(facts, request)
    else:
        facts.hold("grant" not in body, rulebook.GRANT, "a grant answers for what comes later, not for what was asked")
        facts.hold(request.state in states.PENDING_STATES, rulebook.STATE, f"a request that is {request.state}")
        facts.hold(not request.swept, rulebook.STATE, "what it stood on was revoked")
        facts.hold(facts.now <= request.expires_at, rulebook.WINDOW, "the time to answer was over: silence denies")
        _check_as_strict(facts, request)
        votes.check_quorum(facts, request, body["votes"])
        facts.totals.by_people += 1
    request.state, request.not_after = "APPROVED", body["not_after"]
    facts.requests[name] = request
    facts.totals.allowed += 1
    facts.hold(
        (body["state"] == "REDEEMED") == ("attempt" in body),
        rulebook.STATE,
        "an approval is redeemed at once exactly when it names the attempt",
    )
    if "attempt" in body:
        facts.hold(request.executor == "agent", rulebook.ACTOR, "a service redeems this, not the agent")
        _redeem(facts, request, body["execute_by"])


def _deny(facts: Facts, body: Mapping[str, Any], name: str, request: Request, *, fresh: bool) -> None:
    facts.hold("grant" not in body, rulebook.GRANT, "a grant denies nothing")
    if fresh:
        facts.hold(body["state"] in ("REFUSED", "DENIED"), rulebook.STATE, "nothing was asked that could end like this")
        facts.hold("suggestion" not in body, rulebook.STATEMENT, "nobody was there to suggest something else")
        facts.hold(not body["votes"], rulebook.REFERENCE, "it names votes, and there was nothing to vote on")
    else:
        facts.hold(
            request.state in states.PENDING_STATES and _leads_to(request.state, body["state"]),
            rulebook.STATE,
            f"a request that is {request.state} does not become {body['state']}",
        )
        standing = {ballot.index: ballot for ballot in request.ballots}
        facts.hold(
            all(index in standing for index in body["votes"]), rulebook.REFERENCE, "it names votes that do not stand"
        )
        facts.hold(
            "suggestion" not in body or body["suggestion"] in {standing[index].suggestion for index in body["votes"]},
            rulebook.STATEMENT,
            "none of those who denied it suggested that",
        )
        facts.hold(
            body.get("code") != "reviewer-denied" or any(standing[index].decision == "deny" for index in body["votes"]),
            rulebook.QUORUM,
            "it says that a reviewer denied it, and none did",
        )
        _release(facts, request)
    facts.totals.denied += 1
    _end(facts, name)


def _redeemed(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    request = _known(facts, entry)
    facts.hold(_executes(entry["actor"], request), rulebook.ACTOR, "only the executor redeems")
    facts.hold(request.state != "REDEEMED", rulebook.REDEEM_ONCE, "it was redeemed before")
    facts.hold(request.state == "APPROVED", rulebook.STATE, f"a request that is {request.state} cannot be redeemed")
    facts.hold(facts.now <= request.not_after, rulebook.WINDOW, "the approval was over")
    facts.hold(not request.swept, rulebook.STATE, "what it stood on was revoked")
    votes.check_still_stands(facts, request)
    grants.check_still_stands(facts, request)
    if request.rests_on or request.grant:
        _check_as_strict(facts, request)
    key = facts.agents[request.agent].keys[request.key]
    facts.hold(not key.revoked_since, rulebook.AUTHORITY, "the key that asked was revoked")
    facts.hold(
        facts.tool_digests.get(request.tool, "") == request.tool_digest,
        rulebook.TOOL,
        "the tool's registry entry changed since it was approved",
    )
    _check_authority(facts, request)
    _redeem(facts, request, body["execute_by"])


def _redeem(facts: Facts, request: Request, execute_by: str) -> None:
    facts.hold(not authority.paused(facts, agent=request.agent, tool=request.tool), rulebook.PAUSE, "a pause covers it")
    facts.hold(execute_by >= facts.now, rulebook.WINDOW, "it should have run before it was redeemed")
    request.state = "REDEEMED"
    facts.totals.redeemed += 1
    if request.amount:
        for _, link in authority.chain_of(facts, request.delegation) or ():
            link.reserved -= request.amount
            link.spent = spend.settled(link.spent, 0, request.amount)


def _withdrawn(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    request = _known(facts, entry)
    facts.hold(
        request.state == "APPROVED" and _leads_to("APPROVED", body["state"]),
        rulebook.STATE,
        f"a request that is {request.state} does not become {body['state']}",
    )
    _release(facts, request)
    _end(facts, body["request"])


def _reported(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    late = body.get("late", False)
    if body["request"] not in facts.requests and late and _is_long_over(facts, body["request"]):
        return
    request = _known(facts, entry)
    outcome = body["outcome"]
    facts.hold(
        _leads_to(request.state, outcome) and request.state in ("REDEEMED", "UNREPORTED"),
        rulebook.OUTCOME,
        f"a request that is {request.state} has no outcome {outcome}",
    )
    if outcome == "UNREPORTED":
        facts.hold(actor["type"] == "system", rulebook.ACTOR, "only the clock says that nothing was reported")
        request.state, request.reported = "UNREPORTED", facts.now
        return
    facts.hold(_executes(actor, request), rulebook.ACTOR, "only the executor reports")
    facts.hold(late or request.state != "UNREPORTED", rulebook.OUTCOME, "it comes late and does not say so")
    if "cost" in body and request.settles:
        facts.hold(
            body["cost"]["unit"] == request.unit, rulebook.SPEND, "the cost is reported in another unit than reserved"
        )
        actual = money.read_amount(body["cost"]["amount"])
        for _, link in authority.chain_of(facts, request.delegation) or ():
            link.spent = spend.settled(link.spent, request.amount, actual)
    _end(facts, body["request"])


def _executes(actor: Mapping[str, Any], request: Request) -> bool:
    """Whether this is who runs the tool: the agent that asked, or the service whose key the registry names."""
    if request.executor == "agent":
        return bool(actor["id"] == request.agent)
    return bool(actor.get("key") == request.executor)


def _known(facts: Facts, entry: Mapping[str, Any]) -> Request:
    """The live request that an entry about it names, with its own action digest where it says one."""
    body = entry["body"]
    request = facts.requests.get(body["request"])
    if request is None:
        was = facts.finished.get(body["request"])
        rule = rulebook.REDEEM_ONCE if was == "REDEEMED" and entry["kind"] == "action.redeemed" else rulebook.STATE
        facts.hold(False, rule, "this request was never asked, or has ended")
        raise AssertionError  # hold has raised
    facts.hold(entry["subject"] == body["request"], rulebook.REFERENCE, "its subject is another request")
    facts.hold(body["action_digest"] == request.action_digest, rulebook.SAME_ACTION, "it names another action")
    return request


def _new(facts: Facts, name: str, body: Mapping[str, Any]) -> Request:
    """A request seen for the first time: the agent's own signature over what the binding holds, never seen before."""
    binding = body["binding"]
    key = _check_wish(facts, body)
    facts.hold(name not in facts.requests and name not in facts.finished, rulebook.REPLAY, "this id was used before")
    made = _time_of(name)
    facts.hold(
        made is not None and abs(made - parse_time(facts.now)) <= NEAR, rulebook.REPLAY, "the id is of another time"
    )
    allowing = body.get("verdict", "allow") == "allow"
    facts.hold(
        body["policy"] == facts.policy if allowing else body["policy"] in facts.policies,
        rulebook.POLICY,
        "it was not judged under the policy in force",
    )
    tool = facts.tools.get(binding["tool"]["name"])
    return Request(
        state=states.NEW,
        agent=binding["agent"],
        delegation=binding["delegation"],
        wish=_wish(body),
        action_digest=body["action_digest"],
        tool=binding["tool"]["name"],
        risk=body["risk"],
        reversibility=body["reversibility"],
        effects=binding["effects"],
        amount=money.read_amount(binding["cost"]["amount"]),
        unit=binding["cost"]["unit"],
        key=key,
        tool_digest=binding["tool"].get("schema", ""),
        settles=tool is not None and tool["settle"] == "reported",
        executor=tool["executor"] if tool is not None else "agent",
        policy=body["policy"],
        parameters=list(binding["parameters"]),
        launch_signers=_launch_signers(facts, binding, asking=body.get("verdict") != "deny"),
    )


def _launch_signers(facts: Facts, binding: Mapping[str, Any], *, asking: bool) -> list[str]:
    """Who signed a launch of the agent that runs now: all of them, since which one a request names is the agent's word.
    One that is named is one of those, unless the request is refused."""
    name, agent = binding["context"].get("launch"), binding["agent"]
    launch = facts.launches.get(name) if name is not None else None
    own = launch is not None and launch.agent == agent
    facts.hold(own or name is None or not asking, rulebook.LAUNCH, "it names no launch of its agent that runs")
    if not asking:
        return []
    live = (each for each in facts.launches.values() if each.agent == agent)
    return list(dict.fromkeys(person for each in live for person in each.signers))


def _wish(body: Mapping[str, Any]) -> str:
    """What was asked, in one digest: the binding, the agent's signed request and its justification."""
    asked = {name: body[name] for name in ("binding", "request", "justification", "supersedes") if name in body}
    return digests.sha256(canonical.dumps(asked))


def _check_wish(facts: Facts, body: Mapping[str, Any]) -> str:
    """Return the key that signed the wish.

    What the entry keeps is enough to verify the agent's HTTP signature (RFC 9421): the profile fixes the rest.
    """
    binding, signed, rule = body["binding"], body["request"], rulebook.REQUEST
    agent = facts.agents.get(binding["agent"])
    if agent is None:
        facts.hold(False, rule, "its agent is not enrolled")
        raise AssertionError  # hold has raised
    facts.hold(
        signed["commitments"] == commitments.commitments_digest(binding["parameters"], body.get("justification")),
        rule,
        "the agent signed other parameters than the binding holds",
    )
    headers = {
        "content-type": CONTENT_TYPE,
        "content-digest": signed["content_digest"],
        "idempotency-key": signed["idempotency_key"],
        "imprimatur-commitments": signed["commitments"],
    }
    try:
        base = httpsig.signature_base(signed["method"], signed["target_uri"], headers, signed["signature_input"])
        parsed = httpsig.parse_signature_input(
            {"signature-input": signed["signature_input"]}, signed["method"], httpsig.ACTIONS_PATH
        )
        signature = un_b64(signed["signature"].removeprefix("sig1=:").removesuffix(":"))
    except (httpsig.HttpSigError, ValueError) as error:
        facts.hold(False, rule, f"the request is not signed as agents sign: {error}")
        raise AssertionError from error  # hold has raised
    key = agent.keys.get(parsed.keyid)
    if key is None:
        facts.hold(False, rule, "the key that signed the request is not the agent's")
        raise AssertionError  # hold has raised
    facts.hold(not key.revoked_since, rule, "the key that signed the request is revoked")
    made = format_time(datetime.fromtimestamp(parsed.created, UTC))
    facts.hold(not key.retired or made <= key.retired, rule, "the key that signed the request was rotated away before")
    facts.hold(
        signed["signature"] == f"sig1=:{signed['signature'].removeprefix('sig1=:').removesuffix(':')}:"
        and len(signature) == ed25519.SIGNATURE_SIZE
        and ed25519.verify(un_b64u(key.public_key), base, signature),
        rule,
        "the agent did not sign this request",
    )
    facts.hold(
        abs(parse_time(made) - parse_time(facts.now)) <= NEAR, rulebook.REPLAY, "the agent signed it at another time"
    )
    used = f"{parsed.keyid}:{parsed.nonce}"
    facts.hold(used not in facts.signatures, rulebook.REPLAY, "the same signed request was used before")
    facts.signatures[used] = facts.now
    return parsed.keyid


def _check_floor(facts: Facts, body: Mapping[str, Any]) -> None:
    """The risk is not below what the registry and the policy demand whatever a rule says."""
    binding, risk, rule = body["binding"], Risk(body["risk"]), rulebook.RISK
    _check_named_rule(facts, body)
    name, stated = binding["tool"]["name"], binding["tool"].get("schema")
    policy = facts.policies[body["policy"]]
    floors = policy.get("floors", {})
    if "freeze" in policy and _frozen(policy["freeze"], facts.now):
        facts.hold(risk >= floors.get("freeze", "HIGH"), rule, "a freeze is on")
        facts.hold("grant" not in body, rulebook.GRANT, "a freeze is on, and wants a person now")
    if stated is None:
        facts.hold(name not in facts.tools, rulebook.TOOL, "the tool is registered, and the binding does not say which")
        facts.hold(risk >= floors.get("unknown", "HIGH"), rule, "an unknown tool is HIGH at least")
        return
    facts.hold(facts.tool_digests.get(name) == stated, rulebook.TOOL, "the tool is not in force in this version")
    tool = facts.tools[name]
    facts.hold(body["reversibility"] == tool["reversibility"], rule, "the registry says something else")
    if tool["destructive"]:
        facts.hold(risk >= floors.get("destructive", "HIGH"), rule, "what destroys is HIGH at least")
    if tool["reversibility"] == "irreversible":
        facts.hold(risk >= floors.get("irreversible", "HIGH"), rule, "what cannot be undone is HIGH at least")
    facts.hold(risk >= tool.get("minimum_risk", "LOW"), rule, "the registry demands a higher risk")


def _check_named_rule(facts: Facts, body: Mapping[str, Any]) -> None:
    """The verdict names a rule of its policy that speaks of this action, and is no milder than that rule.

    Whether the rule's condition held, and whether another rule came first, is not asked again.
    """
    policy, name, risk = facts.policies[body["policy"]], body["rule"], Risk(body["risk"])
    if name == policies.DEFAULT_RULE:
        facts.hold(risk >= policy["default_risk"], rulebook.RISK, "the policy's default asks for more")
        return
    found = policy["rules"].get(name)
    if found is None:
        facts.hold(False, rulebook.POLICY, "its policy has no such rule")
        return
    binding = body["binding"]
    about = policies.speaks_of(found, binding["tool"]["name"], binding["effects"])
    facts.hold(about, rulebook.POLICY, "the rule that it names is about something else")
    facts.hold(risk >= found["risk"], rulebook.RISK, "the rule that it names asks for more")


def _asks(stages: list[dict[str, Any]], wanted: Mapping[str, Any]) -> bool:
    """Whether the stages of a request ask for at least so many approvals by this role."""
    return any(
        stage["kind"] == "approve" and stage["role"] == wanted["role"] and stage["count"] >= wanted["count"]
        for stage in stages
    )


def _check_as_strict(facts: Facts, request: Request) -> None:
    """What people were asked about under one policy is not approved or run under one that wants more of them."""
    then, now = facts.policies[request.policy], facts.policies[facts.policy]
    stricter = (
        now["assurance"] > then["assurance"]
        or (request.risk in now.get("device_bound", ()) and request.risk not in then.get("device_bound", ()))
        or (then["single_human"] and not now["single_human"])
    )
    facts.hold(not stricter, rulebook.POLICY, "a policy that wants more of people came into force since it was asked")


def _frozen(calendar: list[dict[str, Any]], now: str) -> bool:
    """Whether a freeze is on, and was already when this may have been judged: that is a moment before it is written."""
    windows, at = freeze.read(calendar), parse_time(now)
    return freeze.frozen(windows, at) is not None and freeze.frozen(windows, at - _JUDGED_WITHIN) is not None


def _check_authority(facts: Facts, request: Request) -> None:
    said = authority.refusal(
        facts,
        delegation=request.delegation,
        agent=request.agent,
        effects=request.effects,
        amount=request.amount,
        unit=request.unit,
        tool=request.tool,
    )
    facts.hold(said is None, rulebook.AUTHORITY, said or "")


def _reserve(facts: Facts, request: Request) -> None:
    if not request.amount:
        return
    links = authority.chain_of(facts, request.delegation) or []
    for _, link in links:
        limit = money.read_amount(link.document["spend"]["limit"])
        facts.hold(
            link.reserved + link.spent + request.amount <= limit,
            rulebook.SPEND,
            f"it would pass the limit of {link.document['spend']['limit']} {request.unit}",
        )
    for _, link in links:
        link.reserved += request.amount


def _release(facts: Facts, request: Request) -> None:
    if request.amount:
        for _, link in authority.chain_of(facts, request.delegation) or ():
            link.reserved -= request.amount


def _leads_to(state: str, after: str) -> bool:
    return any(before == state and then == after for (before, _), then in states.TRANSITIONS.items())


def _end(facts: Facts, name: str) -> None:
    ended = facts.requests.pop(name, None)
    was_redeemed = ended is not None and ended.state in ("REDEEMED", "UNREPORTED")
    facts.finished[name] = "REDEEMED" if was_redeemed else "ENDED"


def _time_of(name: str) -> datetime | None:
    """The time in a time-ordered id (ULID), or None when it holds none."""
    letters = name.partition("_")[2][:10]
    number = 0
    for letter in letters:
        place = _CROCKFORD.find(letter)
        if place < 0:
            return None
        number = number << 5 | place
    try:
        return datetime.fromtimestamp(number / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _is_long_over(facts: Facts, name: str) -> bool:
    made = _time_of(name)
    return made is not None and made < parse_time(facts.now) - _LONG_OVER


def forget(facts: Facts) -> None:
    """Forget ids and signatures that are too old to be used again, and requests whose outcome never came."""
    now = parse_time(facts.now)
    old = [name for name in facts.finished if (made := _time_of(name)) is None or made < now - 3 * NEAR]
    for name in old:
        del facts.finished[name]
    before = format_time(now - 3 * NEAR)
    for used in [used for used, at in facts.signatures.items() if at < before]:
        del facts.signatures[used]
    long_ago = format_time(now - _LONG_OVER - NEAR)
    silent = [name for name, known in facts.requests.items() if known.reported and known.reported < long_ago]
    for name in silent:
        del facts.requests[name]


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "action.requested": _requested,
    "action.decided": _decided,
    "action.redeemed": _redeemed,
    "action.withdrawn": _withdrawn,
    "action.reported": _reported,
}
