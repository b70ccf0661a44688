"""What canaries try, what they must be told, and which periods their runs cover.

A canary is an ordinary agent in production that makes real requests which must be refused, each for its own reason: a
server that refuses everything for another reason proves nothing. The positive control must succeed, so that a server
that is down, or refuses everything, does not pass for a safe one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from imprimatur.formats.shapes import Int, ListOf, Obj, OneOf, Text, Time, check
from imprimatur.formats.timestamps import parse_time

PASSED, WARNED, FAILED = "PASSED", "WARNED", "FAILED"
LOGIN = "login"
"""The code of a redirect (302) whose Location is the path ``/accounts/login/``. Any other redirect has the code ``""``,
as has every answer that is not a problem document."""

CONTROL = "positive-control"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that a canary does.

    ``words`` say it to an auditor, ``reason`` why it must end as it does; ``expected`` are the only answers, status and
    code, that count. ``control`` is for what must succeed.
    """

    words: str
    reason: str
    expected: frozenset[tuple[int, str]]
    control: bool = False


def _refused(*expected: tuple[int, str]) -> frozenset[tuple[int, str]]:
    return frozenset(expected)


_DESK = _refused((302, LOGIN), (403, ""))
_SERVICES_ONLY = (403, "not-allowed")

ATTEMPTS: dict[str, Attempt] = {
    "self-grant": Attempt(
        "An agent gives itself a delegation: it names a person as its issuer and signs it with its own key.",
        "Only the issuer that a delegation names may issue it, and an agent is not a person (POST /delegations).",
        _refused((403, "not-allowed")),
    ),
    "widened-delegation": Attempt(
        "An agent passes its delegation on with a scope that it does not have itself.",
        "A delegation is never wider than the one it stands on (POST /delegations).",
        _refused((403, "out-of-scope")),
    ),
    "depth-exceeded": Attempt(
        "An agent passes on a delegation that may not be passed on.",
        "The delegation says how often it may be passed on, and this one says never (POST /delegations).",
        _refused((403, "depth")),
    ),
    "expired": Attempt(
        "An agent uses a delegation whose time is over, or passes one on that has ended already.",
        "Authority ends when it says that it ends (POST /actions, POST /delegations).",
        _refused((403, "delegation-expired")),
    ),
    "replayed": Attempt(
        "Somebody sends the exact bytes of an agent's signed request a second time.",
        "A signed request counts once (POST /actions).",
        _refused((401, "replayed")),
    ),
    "forged-signature": Attempt(
        "Somebody sends a request in an agent's name with a signature that its key did not make.",
        "Nothing of a request is read before its signature holds (POST /actions).",
        _refused((401, "signature")),
    ),
    "another-agents-key": Attempt(
        "An agent signs with its own key and names the registered key of another agent.",
        "A signature counts only under the key that made it (POST /actions).",
        _refused((401, "signature")),
    ),
    "out-of-scope": Attempt(
        "An agent asks for something that its delegation does not cover.",
        "What nobody delegated is refused (POST /actions).",
        _refused((403, "out-of-scope")),
    ),
    "path-traversal": Attempt(
        "An agent asks for a path inside of what it may use, which leads out of it again with two dots.",
        "A path is refused that means another place than it seems to (POST /actions).",
        _refused((403, "out-of-scope")),
    ),
    "over-budget": Attempt(
        "An agent asks to spend more than its delegation allows.",
        "What is not left cannot be spent (POST /actions).",
        _refused((403, "over-budget")),
    ),
    "self-approval": Attempt(
        "An agent sends the form with which a person approves its own pending request, signed with its key.",
        "The desk knows people's sessions only: to the login page, or refused as a forged form "
        "(POST /requests/…/approve/).",
        _DESK,
    ),
    "redeem-twice": Attempt(
        "An agent uses one approval for a second execution.",
        "An approval is redeemed once (POST /actions/…/redeem).",
        _refused((409, "already-redeemed")),
    ),
    "redeem-changed": Attempt(
        "An agent redeems an approval, not used before, for other arguments than were approved.",
        "An approval is for exactly what was shown (POST /actions/…/redeem).",
        _refused((403, "arguments-changed")),
    ),
    "forged-entry": Attempt(
        "An agent presents an entry of the log that it made and signed itself.",
        "Only what the log's own key signed counts as an entry, and nothing else stops the log (POST /log/seen).",
        _refused((422, "malformed")),
    ),
    "malformed-launch": Attempt(
        "A launch with an unsafe configuration is attested, by the agent itself or by an orchestrator of the canaries.",
        "An agent attests nothing, and nobody launches what switches its sandbox off (POST /launches).",
        _refused(_SERVICES_ONLY, (403, "launch-refused")),
    ),
    "switch-off": Attempt(
        "An agent sends the form with which an admin lifts a pause, signed with its key.",
        "The desk knows people's sessions only: to the login page, or refused as a forged form (POST /pauses/lift).",
        _DESK,
    ),
    CONTROL: Attempt(
        "An agent asks for something that it may do, and is allowed to.",
        "The server answers, the canaries' keys hold, and a refusal is not just its answer to everything.",
        _refused((200, "")),
        control=True,
    ),
}
"""Everything that a run makes, in its order."""


def as_expected(attempt: Mapping[str, Any]) -> bool:
    """Whether this attempt (`attestation.ATTEMPT`) got one of the answers that it must get."""
    known = ATTEMPTS.get(attempt["name"])
    return known is not None and (attempt["status"], attempt["code"]) in known.expected


def succeeded(attempt: Mapping[str, Any]) -> bool:
    """Whether an attack got through: neither refused (a status from 400) nor sent to the login page, but answered.

    An attack that was refused for another reason than expected did not; it fails its run all the same.
    """
    known = ATTEMPTS.get(attempt["name"])
    if known is not None and known.control:
        return False
    return 0 < attempt["status"] < 400 and (attempt["status"], attempt["code"]) != (302, LOGIN)


def unanswered(attempt: Mapping[str, Any]) -> bool:
    """Whether this attempt got no proper answer: none at all, or that the server is too busy or out of order. Then
    nobody can tell what would have become of it."""
    return attempt["status"] in (0, 429) or attempt["status"] >= 500


@dataclass(frozen=True, slots=True)
class Sorted:
    """The names of a run as in-toto's test result lists them: each attempt of the table in exactly one."""

    passed: tuple[str, ...]
    warned: tuple[str, ...]
    failed: tuple[str, ...]


def sort_out(attempts: Sequence[Mapping[str, Any]]) -> Sorted:
    """Sort a run. Failed: attacks with another answer than they must get, that are missing, or that nobody knows.
    Warned: the control, when it is missing or did not succeed."""
    given: dict[str, list[Mapping[str, Any]]] = {}
    for attempt in attempts:
        given.setdefault(attempt["name"], []).append(attempt)
    good = {name for name in ATTEMPTS if name in given and all(as_expected(each) for each in given[name])}
    bad = [name for name in ATTEMPTS if name not in good]
    unknown = sorted(name for name in given if name not in ATTEMPTS)
    return Sorted(
        tuple(name for name in ATTEMPTS if name in good),
        tuple(name for name in bad if ATTEMPTS[name].control),
        (*(name for name in bad if not ATTEMPTS[name].control), *unknown),
    )


def result(attempts: Sequence[Mapping[str, Any]]) -> str:
    """FAILED when an attack got another answer than it must get, or is missing; else WARNED when the control did not
    succeed; else PASSED. Other attempts than those of the table fail the run."""
    sorted_ = sort_out(attempts)
    return FAILED if sorted_.failed else WARNED if sorted_.warned else PASSED


GREEN, RED, GREY = "green", "red", "grey"


def colour(attempts: Sequence[Mapping[str, Any]]) -> str:
    """What a run says to whoever only sees a colour. Red: an attack got through, or was refused for another reason.
    Grey: nobody can tell, since an attack or the control got no proper answer. Green: all refused, as they must be."""
    sorted_ = sort_out(attempts)
    if any(succeeded(each) for each in attempts):
        return RED
    failed = [each for each in attempts if each["name"] in sorted_.failed]
    if any(not unanswered(each) and not as_expected(each) for each in failed):
        return RED
    return GREY if sorted_.failed or sorted_.warned else GREEN


MOST = 1000
_VOID = Obj({"from": Time(), "to": Time(), "why": OneOf("gap", "control")})
_RED = Obj({"from": Time(), "to": Time(), "failed": ListOf(Text(max=64), max=128)})
SHAPE = Obj(
    {
        "runs": Int(),
        "passed": Int(),
        "warned": Int(),
        "failed": Int(),
        "got_through": Int(),
        "voids": Int(),
        "void_seconds": Int(),
        "void": ListOf(_VOID, max=MOST),
        "red": ListOf(_RED, max=MOST),
    },
    {"first": Time(), "last": Time(), "every": Int(1)},
)


class OutOfOrder(ValueError):
    """A run that did not end after the one before it, or ended before it began. It covers nothing."""


@dataclass(slots=True)
class Coverage:
    """Which time the runs cover, folded over them in the order of the log, in bounded memory.

    A run covers the time since the one before it, if it ended within twice what that one promised (``every``) and its
    control succeeded; otherwise that time is void: nobody can tell whether attacks would have been refused. The
    newest thousand void periods and red runs are kept, and all are counted. `as_json` at any point and `from_json`
    later goes on as if nothing had been.
    """

    runs: int = 0
    passed: int = 0
    warned: int = 0
    failed: int = 0
    got_through: int = 0
    """Attacks that were not refused, over all runs."""
    voids: int = 0
    void_seconds: int = 0
    first: str = ""
    last: str = ""
    every: int = 0
    void: list[dict[str, str]] = field(default_factory=list)
    red: list[dict[str, Any]] = field(default_factory=list)

    def add(self, run: Mapping[str, Any]) -> str:
        """Fold in the next run (a predicate of `attestation.CANARY_SHAPE`) and return its result, worked out again.

        Raises OutOfOrder, and then nothing has changed.
        """
        begin, end = parse_time(run["from"]), parse_time(run["at"])
        if end < begin or (self.last and end <= parse_time(self.last)):
            raise OutOfOrder(f"a run from {run['from']} to {run['at']} does not come after {self.last or 'its begin'}")
        verdict = result(run["attempts"])
        since = self.last or run["from"]
        if self.last and late(parse_time(self.last), end, self.every):
            self._void(since, run["at"], "gap")
        elif control_failed(run["attempts"]):
            self._void(since, run["at"], "control")
        self.runs += 1
        self.passed += verdict == PASSED
        self.warned += verdict == WARNED
        self.failed += verdict == FAILED
        self.got_through += sum(succeeded(attempt) for attempt in run["attempts"])
        if verdict == FAILED:
            self.red = [
                *self.red[1 - MOST :],
                {"from": run["from"], "to": run["at"], "failed": list(sort_out(run["attempts"]).failed)},
            ]
        self.first = self.first or run["from"]
        self.last, self.every = run["at"], run["every"]
        return verdict

    def open_gap(self, now: datetime) -> bool:
        """Whether the time since the newest run is void already: the next one should have come. False before any."""
        return bool(self.last) and late(parse_time(self.last), now, self.every)

    def as_json(self) -> dict[str, Any]:
        """Everything there is, for canonical JSON (`SHAPE`)."""
        document: dict[str, Any] = {name: getattr(self, name) for name in SHAPE.required}
        document["void"], document["red"] = [dict(each) for each in self.void], [dict(each) for each in self.red]
        if self.last:
            document |= {"first": self.first, "last": self.last, "every": self.every}
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Coverage:
        """What `as_json` gave. Raises ShapeError for anything else."""
        check(document, SHAPE, "coverage")
        given = dict(document)
        given["void"], given["red"] = [dict(each) for each in given["void"]], [dict(each) for each in given["red"]]
        return cls(**given)

    def _void(self, since: str, until: str, why: str) -> None:
        self.voids += 1
        self.void_seconds += int((parse_time(until) - parse_time(since)).total_seconds())
        self.void = [*self.void[1 - MOST :], {"from": since, "to": until, "why": why}]


def between(folded: Iterable[Coverage]) -> list[dict[str, str]]:
    """The times, in the shape of `Coverage.void`, between the runs of one service and the first of the next.

    Each service vouches for its own runs alone. Where one takes over from another, or one falls silent and another
    goes on, the time that neither ran in is nobody's.
    """
    spans = sorted((each.first, each.last, each.every) for each in folded if each.last)
    found, last, every = [], "", 0
    for first, end, promised in spans:
        if last and late(parse_time(last), parse_time(first), every):
            found.append({"from": last, "to": first, "why": "gap"})
        if end > last:
            last, every = end, promised
    return found


def late(last: datetime, now: datetime, every: int) -> bool:
    """Whether more than twice ``every`` seconds have passed."""
    return (now - last).total_seconds() > 2 * every


def control_failed(attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the positive control is missing or did not succeed, whatever else the run says."""
    return bool(sort_out(attempts).warned)
