"""What a log shows of the claims that matter, in sentences that anybody reads: `claims.json` and the claims page.

The same code writes it for the page and the bundle, and derives it again when a bundle is verified. It says how things
stand under the keys that the log itself names; whether those are the right ones is for `trust.json`, and so for the
verifier's own claims. Its verdicts are never better than theirs, and never good for want of evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from imprimatur.formats import attestation, canonical, merkle
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.formats.trust import ServiceKey, Trust
from imprimatur.rules.canaries import Coverage
from imprimatur.verify import controls, escalation
from imprimatur.verify.claims import CANNOT_TELL, INVALID
from imprimatur.verify.facts import Facts
from imprimatur.verify.grant_history import GrantHistory
from imprimatur.verify.grant_words import moment

FILE = "claims.json"
TYPE = "imprimatur/claims/v1"
SHOWN, NOT_SHOWN, UNSURE = "shown", "not shown", CANNOT_TELL

COPY_DUE = timedelta(days=1)
"""A copy elsewhere that was not compared for so long tells nothing of today."""

_SELECTION = "this is a selection of the record, and a statement about everything needs everything"
_LISTED = 5
_FORMS = re.compile(r"\{([^|}]*)\|([^|}]*)\}")


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of the page, in which there is no word of the trade, and in one more what it does not show."""

    name: str
    sentence: str
    limit: str


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "grants",
        "Every permission that an AI agent ever had was given by a person who signed for it.",
        "It does not show what an agent does without asking.",
    ),
    Statement(
        "launches",
        "No agent was started with settings that nobody signed for.",
        "It does not show that nothing was started in secret: that is what the independent watcher is for.",
    ),
    Statement(
        "observations",
        "An independent watcher looks at the agents while they run, and they are what was started.",
        "It does not show what happens between two looks, or where the watcher cannot look.",
    ),
    Statement(
        "canaries",
        "We attack ourselves all the time, and every attack was refused.",
        "It does not show that an attack fails which nobody has thought of yet.",
    ),
    Statement(
        "shipping",
        "A copy of the record is kept on another system, and it says the same.",
        "That the other system holds what we read there is our own word, until you ask that system.",
    ),
    Statement(
        "build",
        "The software that runs here is unaltered, and it is known who built it.",
        "The software measured itself: whoever wants to be sure builds it again and compares.",
    ),
    Statement(
        "decisions",
        "What is risky waited for people to agree, and what was not permitted was refused.",
        "It does not show that people decided well, or that what agents report is true.",
    ),
    Statement(
        "record",
        "The record of all this is complete and in order, and nothing in it was changed afterwards.",
        "It does not show that there is no second record: compare it with what others hold.",
    ),
)
"""From the inside out: what agents may do, what runs, what was tried, and what all of it rests on."""

NAMES = tuple(statement.name for statement in STATEMENTS)


@dataclass
class Marks:
    """What the statements need of a log besides its facts: the newest entry of each kind, copies by system, and the
    log that each monitor was shown last."""

    KINDS = frozenset(
        {
            "delegation.issued",
            "launch.attested",
            "launch.refused",
            "observation.recorded",
            "canary.reported",
            "log.shipped",
            "server.started",
        }
    )

    newest: dict[str, int] = field(default_factory=dict)
    shipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    watched: dict[str, dict[str, Any]] = field(default_factory=dict)

    def entry(self, entry: Mapping[str, Any]) -> None:
        """Take in the next entry, or of each kind (and each sink, and each monitor) the newest alone."""
        kind, body = entry["kind"], entry["body"]
        if kind in self.KINDS:
            self.newest[kind] = max(entry["index"], self.newest.get(kind, 0))
        if kind == "log.shipped":
            said = {"index": entry["index"], "time": entry["time"], "size": body["size"], "root": body["root"]}
            self.shipped[body["sink"]] = said
        elif kind == "observation.recorded":
            seen = attestation.open_statement(body["statement"].encode("utf-8"), attestation.OBSERVATION).predicate
            self.watched[entry["actor"]["id"]] = {"index": entry["index"], **seen["log"]}


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is assessed: the log up to ``size`` entries with this root, all of it or a selection.

    ``root_at`` gives the root of the log at an earlier size. ``broken`` says which rule an entry breaks, and then the
    facts are those up to there.
    """

    facts: Facts
    grants: GrantHistory
    marks: Marks
    size: int
    root: bytes
    whole: bool
    root_at: Callable[[int], bytes]
    broken: str = ""


@dataclass(slots=True)
class _Answer:
    verdict: str = SHOWN
    why: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    due: str = ""
    see: list[int] = field(default_factory=list)

    def no(self, why: str, see: Sequence[int] = ()) -> None:
        """Not shown, whatever else is said: see these entries."""
        if self.verdict != NOT_SHOWN:
            self.verdict, self.why, self.see = NOT_SHOWN, why, list(see)[:_LISTED]

    def unsure(self, why: str, see: Sequence[int] = ()) -> None:
        """Nobody can tell, for this reason too."""
        if self.verdict == SHOWN:
            self.verdict, self.why = UNSURE, why
        elif self.verdict == UNSURE:
            self.why += f"; {why}"
        if self.verdict == UNSURE:
            self.see = [*self.see, *see][:_LISTED]

    def count(self, number: int, words: str, kind: str = "", file: str = "", entry: int | None = None) -> None:
        """A number with what it counts, and where to read on: entries of a kind, one entry, a file of the bundle.

        Of ``{one|several}`` in the words stands what fits the number.
        """
        words = _FORMS.sub(lambda found: found[1 if number == 1 else 2], words)
        said: dict[str, Any] = {"count": number, "words": words}
        said |= {"kind": kind} if kind else {}
        said |= {"file": file} if file else {}
        self.evidence.append(said if entry is None else {**said, "entry": entry})


def assess(known: Known) -> dict[str, Any]:
    """The document `claims.json`, as JSON values: the same for the same entries."""
    own = own_trust(known.facts)
    verdicts = {claim.name: claim.verdict for claim in escalation.claims(known.facts, own)}
    return {
        "typ": TYPE,
        "realm": known.facts.realm,
        "size": known.size,
        "root": f"sha256:{known.root.hex()}",
        "time": known.facts.now,
        "whole": known.whole,
        "statements": [_stated(statement, known, verdicts) for statement in STATEMENTS],
    }


def encode(document: Mapping[str, Any]) -> bytes:
    """`claims.json`: canonical JSON and a line feed."""
    return canonical.dumps_json(document) + b"\n"


def own_trust(facts: Facts) -> Trust:
    """The services as the log itself names them, taken at its word."""
    services = (ServiceKey(name, known.role, un_b64u(known.public_key)) for name, known in facts.services.items())
    return Trust(facts.realm, None, None, None, None, None, None, tuple(services))


def _stated(statement: Statement, known: Known, verdicts: Mapping[str, str]) -> dict[str, Any]:
    answer = _Answer()
    _ANSWERS[statement.name](known, answer, verdicts.get(statement.name, ""))
    if known.broken and statement.name == "record":
        answer.no(known.broken)
    elif known.broken:
        answer.unsure("the record itself does not hold")
    if not known.whole:
        answer.unsure(_SELECTION)
    said = {
        "name": statement.name,
        "sentence": statement.sentence,
        "verdict": answer.verdict,
        "why": answer.why,
        "see": answer.see,
        "evidence": answer.evidence,
        "limit": statement.limit,
        "controls": list(controls.serving(statement.name)),
    }
    return {**said, "due": answer.due} if answer.due else said


def _grants(known: Known, answer: _Answer, verdict: str) -> None:
    violations, held = known.grants.violations(), list(known.grants.delegations.values())
    roots = [row for row in held if row.parent is None]
    findings = known.grants.findings()
    if findings:
        indexes = list(dict.fromkeys(finding.index for finding in findings))
        answer.no("something was given that no person signed, or that is more than its giver had", indexes)
    elif not held:
        answer.unsure("no agent was given anything yet")
    newest = known.marks.newest.get("delegation.issued")
    people = len({row.person for row in roots if row.person})
    file = "grants/history.jsonl"
    by = "one person" if people == 1 else f"{people:,} people"
    given = f"{{permission|permissions}} given and signed by {by}"
    answer.count(len(roots), given, "delegation.issued", file, newest)
    passed = "{part of one|parts of these} passed on by agents, narrower than what they had"
    answer.count(len(held) - len(roots), passed, file=file)
    wrong = "{permission|permissions} that an agent gave itself, or that no person signed"
    answer.count(sum(violations.values()), wrong, file="grants/counts.json")


def _launches(known: Known, answer: _Answer, verdict: str) -> None:
    totals = known.facts.totals
    if not totals.launches:
        answer.unsure("no start of an agent was recorded")
    elif verdict == INVALID:
        answer.no("a start was recorded by somebody who may not record it")
    elif verdict == UNSURE and totals.judged_elsewhere:
        answer.unsure(f"{_many(totals.judged_elsewhere, 'start was', 'starts were')} judged by another version")
    elif verdict == UNSURE:
        answer.unsure("not all of what was started is known well enough")
    newest = known.marks.newest
    file = "launches/index.jsonl"
    said = "{start|starts} recorded, with the settings that people signed"
    answer.count(totals.launches, said, "launch.attested", file, newest.get("launch.attested"))
    refused = "{start|starts} refused, because something was unsafe or not signed"
    answer.count(totals.launches_refused, refused, "launch.refused", file, newest.get("launch.refused"))
    if totals.declared:
        answer.count(totals.declared, "of these {is|are} described by another program, which we cannot look into")


def _observations(known: Known, answer: _Answer, verdict: str) -> None:
    totals, launches = known.facts.totals, known.facts.launches.values()
    odd = [launch for launch in launches if launch.drifted]
    blind = sum(not launch.observations for launch in launches)
    fooled = [each["index"] for each in known.marks.watched.values() if not _same(known, each)]
    if not totals.observations:
        answer.unsure("nobody watched")
    elif verdict == INVALID:
        answer.no("somebody watched who may not")
    elif fooled:
        answer.no("the watcher was shown another record than this one", fooled)
    elif odd:
        seen = [each["index"] for each in known.facts.examples.get("drift", [])][-_LISTED:]
        what = _many(len(odd), "running agent is", "running agents are")
        answer.no(f"{what} not as {'it was' if len(odd) == 1 else 'they were'} started", seen)
    else:
        if totals.unmatched:
            seen = [each["index"] for each in known.facts.examples.get("unmatched", [])]
            told = _many(totals.unmatched, "look saw", "looks saw")
            answer.unsure(f"{told} something that nobody had said was started", seen)
        if blind:
            answer.unsure(f"{_many(blind, 'running agent was', 'running agents were')} not looked at yet")
        if verdict == UNSURE and answer.verdict == SHOWN:
            answer.unsure("a running agent was not looked at lately, or ran on after its end was recorded")
    newest, file = known.marks.newest.get("observation.recorded"), "monitor/index.jsonl"
    answer.count(totals.observations, "{look|looks} at running agents", "observation.recorded", file, newest)
    answer.count(totals.drifted, "{look|looks} that found a difference, which was recorded", file=file)
    answer.count(totals.unmatched, "{look|looks} at something that nobody had said was started", file=file)
    unseen = totals.never_observed + blind
    answer.count(unseen, "{start|starts} that nobody looked at", file="monitor/launches.jsonl")


def _canaries(known: Known, answer: _Answer, verdict: str) -> None:
    facts = known.facts
    folded = [Coverage.from_json(each) for each in facts.coverage.values()]
    runs, red = facts.totals.canary_runs, sum(each.failed for each in folded)
    if not runs:
        answer.unsure("no attack was tried yet")
    elif verdict == INVALID:
        through = [each["index"] for each in facts.examples.get("failed canaries", []) if each["got_through"]]
        answer.no("an attack was not refused", through)
    else:
        void = sum(each.void_seconds for each in folded)
        if red:
            answer.unsure(f"in {_many(red, 'round', 'rounds')} not every attack was refused as it must be")
        if void:
            answer.unsure(f"for {_length(void)} in all, no test vouches")
        if folded and all(each.open_gap(parse_time(facts.now)) for each in folded):
            last = max(each.last for each in folded)
            answer.unsure(f"no test came after {moment(last)}")
        if verdict == UNSURE and answer.verdict == SHOWN:
            answer.unsure("tests are missing for a time, or were not recorded when they were made")
    file, newest = "canaries/index.jsonl", known.marks.newest.get("canary.reported")
    answer.count(runs, "{round|rounds} of attacks on ourselves", "canary.reported", file, newest)
    passed = "{round|rounds} in which every attack was refused as it must be"
    answer.count(sum(each.passed for each in folded), passed, file=file)
    answer.count(sum(each.got_through for each in folded), "{attack that was|attacks that were} not refused", file=file)
    gaps = "{gap|gaps}, in which nobody can tell"
    answer.count(sum(each.voids for each in folded), gaps, file="canaries/coverage.json")
    ends = [format_time(parse_time(each.last) + timedelta(seconds=2 * each.every)) for each in folded if each.last]
    answer.due = max(ends, default="")


def _shipping(known: Known, answer: _Answer, verdict: str) -> None:
    copies = known.marks.shipped
    wrong = [each["index"] for each in copies.values() if not _same(known, each)]
    newest = max(copies.values(), key=lambda each: each["index"], default=None)
    if wrong:
        answer.no("a copy says something else", wrong)
    elif newest is None:
        answer.unsure("no copy was compared yet")
    else:
        due = parse_time(newest["time"]) + COPY_DUE
        # Where nothing came after a comparison, none is due: it would say nothing new.
        if newest["index"] + 1 < known.size:
            answer.due = format_time(due)
        if parse_time(known.facts.now) > due:
            answer.unsure(f"no copy was compared since {moment(newest['time'])}")
    file = "shipping/shipped.jsonl"
    answer.count(len(copies), "other {system|systems} with a copy", file=file)
    times = known.facts.totals.kinds.get("log.shipped", 0)
    compared = "{comparison|comparisons} recorded"
    answer.count(times, compared, "log.shipped", file, None if newest is None else newest["index"])
    if newest is not None:
        answer.count(newest["size"], "{line|lines} of the record in the newest comparison", file=file)


def _same(known: Known, copy: Mapping[str, Any]) -> bool:
    size: int = copy["size"]
    said: str = copy["root"]
    if size > known.size:
        return False
    return said == f"sha256:{(known.root_at(size) if size else merkle.EMPTY_ROOT).hex()}"


def _build(known: Known, answer: _Answer, verdict: str) -> None:
    totals = known.facts.totals
    if not totals.starts:
        answer.unsure("it was never measured")
    elif verdict == INVALID:
        first = known.facts.examples.get("wrong packages", [{"index": 0}])[0]
        answer.no("files had been changed when it began", [first["index"]])
    elif verdict == UNSURE:
        answer.unsure("nothing says who built it")
    newest, file = known.marks.newest.get("server.started"), "build/starts.jsonl"
    answer.count(totals.starts, "{time|times} it began, and measured itself", "server.started", file, newest)
    answer.count(totals.starts_wrong, "{time|times} it found a changed file", file=file)
    if known.facts.build:
        answer.count(known.facts.build["packages"]["checked"], "{part|parts} measured the last time", file=file)


def _decisions(known: Known, answer: _Answer, verdict: str) -> None:
    totals = known.facts.totals
    clicks = totals.assurance.get("H0", 0)
    if not totals.allowed + totals.denied:
        answer.unsure("no agent has asked for anything yet")
    if clicks:
        what = _many(clicks, "answer was a click", "answers were clicks")
        answer.unsure(f"{what} at the screen, without a signature of the person")
    if totals.single_human:
        answer.unsure("one person alone was allowed to answer what needs two")
    file, kind = "views/entries.jsonl", "action.decided"
    agreed = "{request|requests} that people agreed to, as many of them as were needed"
    answer.count(totals.by_people, agreed, "vote.cast", file)
    if totals.by_grants:
        answer.count(totals.by_grants, "{request|requests} that people had agreed to in advance", file=file)
    ruled = totals.allowed - totals.by_people - totals.by_grants
    answer.count(ruled, "{request|requests} allowed by a rule that people had put in force", kind, file)
    answer.count(totals.denied, "{request that was|requests that were} refused", kind, file)


def _record(known: Known, answer: _Answer, verdict: str) -> None:
    here = sum(known.facts.totals.kinds.values())
    read = "{line|lines} in the record, read and found to follow the rules"
    answer.count(here, read, file="views/entries.jsonl")
    if not known.whole:
        answer.count(known.size - here, "{line|lines} left out of this selection", file="SELECTION.json")


_ANSWERS: dict[str, Callable[[Known, _Answer, str], None]] = {
    "grants": _grants,
    "launches": _launches,
    "observations": _observations,
    "canaries": _canaries,
    "shipping": _shipping,
    "build": _build,
    "decisions": _decisions,
    "record": _record,
}


def overdue(document: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The document as of now: what was shown, and should have been shown again since, is shown no longer."""
    return {**document, "statements": [_as_of(statement, now) for statement in document["statements"]]}


def _as_of(statement: Mapping[str, Any], now: str) -> dict[str, Any]:
    if statement["verdict"] == SHOWN and statement.get("due", now) < now:
        return {**statement, "verdict": UNSURE, "why": f"nothing new came by {moment(statement['due'])}"}
    return dict(statement)


def worst(verdicts: Iterator[str]) -> str:
    """One verdict for several: not shown when one is, shown when all are (and there is one)."""
    given = set(verdicts)
    if NOT_SHOWN in given:
        return NOT_SHOWN
    return SHOWN if given == {SHOWN} else UNSURE


def state_of(control: controls.Control, document: Mapping[str, Any]) -> str:
    """How a control stands. What somebody else has to show too is never shown by this alone."""
    found = rests_on(control, document)
    return UNSURE if control.open and found == SHOWN else found


def rests_on(control: controls.Control, document: Mapping[str, Any]) -> str:
    """One verdict for the statements that a control rests on."""
    said = {statement["name"]: statement["verdict"] for statement in document["statements"]}
    return worst(said[name] for name in controls.NEEDS[control.need].rests_on)


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _length(seconds: int) -> str:
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{_many(days, 'day', 'days')} and {_many(hours, 'hour', 'hours')}"
    if hours:
        return f"{_many(hours, 'hour', 'hours')} and {_many(minutes, 'minute', 'minutes')}"
    return _many(max(minutes, 1), "minute", "minutes")
