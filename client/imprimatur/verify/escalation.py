"""Claims about what runs: launches, what monitors saw of them, canaries, and what the server is made of.

That there is none of a sort proves nothing, and makes nothing doubtful: such a claim cannot tell, and does not weigh.
Where there are some, they count for those services alone that `trust.json` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur.formats import attestation
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.formats.trust import Trust
from imprimatur.rules.canaries import Coverage, between
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Claim
from imprimatur.verify.facts import Facts

_LISTED = 20
_LATELY = timedelta(minutes=15)
_BEGIN = datetime.min.replace(tzinfo=UTC)


def claims(facts: Facts, trust: Trust | None) -> list[Claim]:
    """What the services' entries of a history that breaks no rule amount to."""
    return [_launches(facts, trust), _observations(facts, trust), _canaries(facts, trust), _build(facts)]


def limits(facts: Facts) -> list[str]:
    """What these entries do not prove, in sentences, where there are some."""
    totals, found = facts.totals, []
    if totals.launches:
        found.append(
            "That an orchestrator started what it attested, and that nothing was started beside it: it says what it "
            f"does. Of {totals.launches} launches {totals.declared} are of a runtime that it only declares: the flags "
            "are what it says of another program."
        )
    if totals.refused_unshown:
        found.append(f"What {totals.refused_unshown} refused launches said: no statement of them is in the log.")
    if totals.launches_ended:
        found.append(
            f"That {totals.launches_ended} launches ended when the log says so: no service signs the end of a launch. "
            "What a monitor still sees of one is entered, and compared with nothing any more."
        )
    if totals.observations:
        found.append(
            "What a launch did between two observations, or where its monitor cannot look: each shows one moment."
        )
    if totals.unread:
        found.append(f"What ran in {totals.unread} processes that monitors saw and could not look into.")
    if totals.canary_runs:
        found.append(
            "That an attack fails which no canary tries, or at another time than theirs: what they try is in the "
            "entries, each with its answer."
        )
    if totals.starts:
        found.append(
            "That the server measured itself truly: what it says of its packages, settings and sources when it starts "
            "is its own word. Build it again from the sources, and compare."
        )
    return found


def _launches(facts: Facts, trust: Trust | None) -> Claim:
    totals = facts.totals
    if not totals.launches:
        refused = totals.launches_refused
        what = "no launch was attested" + (f" (refused: {refused}, each for reasons that hold)" if refused else "")
        none = _none("launches", what, facts, trust, attestation.ORCHESTRATOR)
        return replace(none, evidence={"attested": 0, "refused": refused}) if refused else none
    live = len(facts.launches)
    detail = (
        f"launches attested: {totals.launches}, each of an enrolled agent, under exactly the grants and the policy in "
        "force then, with the configuration that admins signed and of which the digest is named; "
        f"refused: {totals.launches_refused}, each for reasons that hold; running: {live}, ended: "
        f"{totals.launches_ended}, of which {totals.launches_lost} were lost"
    )
    detail += f"; only declared, not started by who attests: {totals.declared}" if totals.declared else ""
    evidence = {
        "attested": totals.launches,
        "declared": totals.declared,
        "refused": totals.launches_refused,
        "refused_without_statement": totals.refused_unshown,
        "ended": totals.launches_ended,
        "lost": totals.launches_lost,
        "running": live,
        "judged_by_another_release": totals.judged_elsewhere,
    }
    claim = Claim("launches", VALID, detail, evidence)
    if totals.judged_elsewhere:
        first = facts.examples["judged elsewhere"][0]
        detail += (
            f". {totals.judged_elsewhere} launches were judged by another release than this one, which judges them "
            f"otherwise ({', '.join(first['codes'])}; the first is entry {first['index']}): use the verifier of that "
            "release"
        )
        claim = Claim("launches", CANNOT_TELL, detail, evidence)
    return _weighed(claim, facts, trust, attestation.ORCHESTRATOR)


def _observations(facts: Facts, trust: Trust | None) -> Claim:
    totals = facts.totals
    if not totals.observations:
        return _none("observations", "nothing was observed", facts, trust, attestation.MONITOR)
    unseen = totals.never_observed + sum(not launch.observations for launch in facts.launches.values())
    drift, unmatched = facts.examples.get("drift", []), facts.examples.get("unmatched", [])
    detail = (
        f"observations: {totals.observations}, each entered with all in which it differs from its launch; differing: "
        f"{totals.drifted}; of no launch that is attested: {totals.unmatched}; launches that nobody observed: {unseen} "
        f"of {totals.launches}"
    )
    if drift:
        listed = "; ".join(f"entry {each['index']} ({', '.join(each['codes'])})" for each in drift[:_LISTED])
        detail += f". It differed in {listed}{_and_more(totals.drifted)}"
    if unmatched:
        listed = ", ".join(str(each["index"]) for each in unmatched[:_LISTED])
        detail += f". Without a launch: entries {listed}{_and_more(totals.unmatched)}"
    ran_on, unseen_lately = facts.examples.get("after its end", []), _unwatched(facts)
    doubts = []
    if totals.after_end:
        listed = ", ".join(str(each["index"]) for each in ran_on[:_LISTED])
        doubts.append(
            f"running although their launch is said to have ended: entries {listed}{_and_more(totals.after_end)}"
        )
    if unseen_lately:
        listed = _names(unseen_lately)
        doubts.append(f"running, and looked at by nobody for {_LATELY.seconds // 60} minutes or more: {listed}")
    evidence = {
        "observations": totals.observations,
        "differing": totals.drifted,
        "unmatched": totals.unmatched,
        "never_observed": unseen,
        "processes_unread": totals.unread,
        "agents_suspended": totals.suspended_by_drift,
        "drift": drift,
        "without_launch": unmatched,
        "after_end": totals.after_end,
        "unwatched": unseen_lately[:_LISTED],
    }
    claim = Claim("observations", VALID, detail, evidence)
    if doubts:
        claim = Claim("observations", CANNOT_TELL, f"{detail}. {'; '.join(doubts)}", evidence, weighs=False)
    return _weighed(claim, facts, trust, attestation.MONITOR)


def _unwatched(facts: Facts) -> list[str]:
    """Launches that have run for long and that no monitor looked at lately."""
    since = format_time(max(parse_time(facts.now), _BEGIN + _LATELY) - _LATELY)
    return [name for name, launch in facts.launches.items() if max(launch.attested, launch.observed) < since]


def _canaries(facts: Facts, trust: Trust | None) -> Claim:
    totals = facts.totals
    if not totals.canary_runs:
        return _none("canaries", "no canary ran", facts, trust, attestation.CANARIES)
    folded = {service: Coverage.from_json(known) for service, known in facts.coverage.items()}
    counted = {
        name: sum(getattr(each, name) for each in folded.values())
        for name in ("runs", "passed", "warned", "failed", "got_through", "voids", "void_seconds")
    }
    voids = [void for each in folded.values() for void in each.void]
    red = [run for each in folded.values() for run in each.red]
    detail = (
        f"runs of the canaries: {totals.canary_runs}, passed: {counted['passed']}, failed: {counted['failed']}, "
        f"without their positive control: {counted['warned']}"
    )
    spans = [f"{each.first} to {each.last}" for each in folded.values() if each.last]
    detail += f"; they cover {', '.join(spans)}" if spans else ""
    evidence: dict[str, Any] = {**counted, "runs": totals.canary_runs, "void": voids, "red": red}
    evidence["out_of_order"], evidence["paused"] = totals.runs_out_of_order, totals.paused_by_canary
    evidence["got_through"], evidence["out_of_time"] = totals.got_through, totals.runs_out_of_time
    through = [each for each in facts.examples.get("failed canaries", []) if each["got_through"]]
    if totals.got_through:
        where = f"entry {through[0]['index']}: {', '.join(through[0]['got_through'])}" if through else "see the runs"
        fault = f"an attack that a canary made was not refused ({where}); {detail}"
        return Claim("canaries", INVALID, fault, evidence)
    doubts = []
    if counted["failed"]:
        listed = ", ".join(f"{run['from']} to {run['to']} ({', '.join(run['failed'])})" for run in red[-_LISTED:])
        doubts.append(f"attacks were refused for another reason than they must be, or not made: {listed}")
    if voids:
        listed = ", ".join(f"{void['from']} to {void['to']} ({void['why']})" for void in voids[-_LISTED:])
        doubts.append(f"periods of which nobody can tell: {listed}")
    gaps, silent = between(folded.values()), _silent(facts, folded)
    if gaps:
        listed = ", ".join(f"{gap['from']} to {gap['to']}" for gap in gaps[-_LISTED:])
        doubts.append(f"between one service and the next nobody ran them: {listed}")
    if silent:
        doubts.append(f"no run covers the time since {', '.join(silent[:_LISTED])}{_and_more(len(silent))}")
    if totals.runs_out_of_time:
        doubts.append(f"runs entered before the time they name, or long after it: {totals.runs_out_of_time}")
    if totals.runs_out_of_order:
        doubts.append(f"runs that do not come after the one before: {totals.runs_out_of_order}")
    claim = Claim("canaries", VALID, detail, evidence)
    if doubts:
        claim = Claim("canaries", CANNOT_TELL, f"{detail}. {'; '.join(doubts)}", evidence, weighs=False)
    return _weighed(claim, facts, trust, attestation.CANARIES)


def _silent(facts: Facts, folded: Mapping[str, Coverage]) -> list[str]:
    """Since when services have not run the canaries that they owe. Who was retired owes nothing, unless all were."""
    now = parse_time(facts.now)
    owing = {name: each.last for name, each in folded.items() if each.open_gap(now)}
    if owing and len(owing) == len(folded):
        return [max(owing.values())]
    return sorted(last for name, last in owing.items() if not facts.services[name].retired)


def _build(facts: Facts) -> Claim:
    totals, newest = facts.totals, facts.build
    if not totals.starts:
        return _none("build", "no start of the server is entered", facts, None, "")
    evidence = {"starts": totals.starts, "with_wrong_packages": totals.starts_wrong, "newest": newest}
    if totals.starts_wrong:
        first = facts.examples["wrong packages"][0]
        fault = (
            f"at {totals.starts_wrong} of {totals.starts} starts installed files were not those of their packages "
            f"(entry {first['index']}: {', '.join(first['wrong'])})"
        )
        return Claim("build", INVALID, fault, evidence)
    detail = (
        f"starts of the server: {totals.starts}, each of which found all files of its packages as they were "
        f"installed, {newest['packages']['checked']} packages at the newest, which is {newest['software']} from tree "
        f"{newest['tree']}"
    )
    if "provenance" not in newest:
        return Claim("build", CANNOT_TELL, f"{detail}; nothing says who built it from what", evidence, weighs=False)
    return Claim("build", VALID, f"{detail}, built by {newest['provenance']['builder']}", evidence)


def _weighed(claim: Claim, facts: Facts, trust: Trust | None, role: str) -> Claim:
    """The claim, if `trust.json` names every service of this role that signed something; invalid when it says
    otherwise."""
    fault, missing = _unknown(facts, trust, role)
    if fault:
        return replace(claim, verdict=INVALID, detail=fault)
    if missing:
        return replace(claim, verdict=CANNOT_TELL, detail=f"{claim.detail}. {missing}", weighs=True)
    return claim


def _unknown(facts: Facts, trust: Trust | None, role: str) -> tuple[str, str]:
    """What speaks against the services of this role that signed, and which of them nothing outside speaks for."""
    signed = [name for name, known in facts.services.items() if known.role == role and known.size]
    pinned = None if trust is None or trust.services is None else {known.service: known for known in trust.services}
    if pinned is None:
        return "", f"trust.json names no services, so whose key the {role} has is the server's word"
    for name in signed:
        if name in pinned and pinned[name].role != role:
            return f"{name} signed as {role}, and trust.json names it as {pinned[name].role}", ""
    if signed and not pinned:
        return f"{_names(signed)} signed as {role}, and trust.json names no service at all", ""
    missing = [name for name in signed if name not in pinned]
    if missing:
        return "", f"trust.json does not name {_names(missing)}, which signed as {role}"
    return "", _absent(facts, trust, role)


def _names(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of them."""
    return ", ".join(names[:_LISTED]) + _and_more(len(names))


def _absent(facts: Facts, trust: Trust | None, role: str) -> str:
    """Which services of this role `trust.json` names and the log never registered: all that they said is missing."""
    pinned = () if trust is None or trust.services is None else trust.services
    names = [known.service for known in pinned if known.role == role and known.service not in facts.services]
    return f"trust.json names {_names(names)} as {role}, and this log never registered it" if names else ""


def _none(name: str, what: str, facts: Facts, trust: Trust | None, role: str) -> Claim:
    registered, absent = _registered(facts, role), _absent(facts, trust, role)
    detail = f"{what}: that there is none here proves nothing"
    detail += f"; services registered for it: {registered}" if registered else ""
    detail += f". {absent}" if absent else ""
    return Claim(name, CANNOT_TELL, detail, {}, weighs=bool(absent))


def _registered(facts: Facts, role: str) -> int:
    return sum(known.role == role and not known.retired for known in facts.services.values())


def _and_more(count: int) -> str:
    return f" and {count - _LISTED} more" if count > _LISTED else ""
