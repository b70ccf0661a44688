"""One run of all canaries: make every attempt, sign what each got, and tell the server.

Invariants: a run always ends, with every attempt of the table in it; what it got is signed and on the disk before
anybody is told; without an answer it is told later, and the gap shows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from imprimatur.canary import folder as folders
from imprimatur.canary.agent import PROGRAM, Agent
from imprimatur.canary.attempts import MADE, NotPrepared, Party
from imprimatur.canary.observed import Observed
from imprimatur.errors import APIError
from imprimatur.formats import attestation, canonical
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import canaries
from imprimatur.service.carrier import Carrier
from imprimatur.service.folder import Folder
from imprimatur.service.service import Service, Voice

LONGEST = 120.0
"""Seconds after which the rest of a run counts as not answered. A run ends before the next one is due."""

RETRIES = 4
EVERY = 300
"""Seconds between two runs, unless somebody says otherwise."""

Tell = Callable[[str], object]
Made = Mapping[str, Callable[[Party], Observed]]


@dataclass(frozen=True)
class Run:
    """What came of it. ``index`` is the entry that holds it; None while the server does not have it, for ``unsent``."""

    result: str
    attempts: tuple[Mapping[str, Any], ...]
    index: int | None
    unsent: str = ""

    @property
    def got_through(self) -> list[str]:
        """The attacks that were not refused."""
        return [str(each["name"]) for each in self.attempts if canaries.succeeded(each)]


def run(
    path: Path,
    *,
    every: int = EVERY,
    tell: Tell = lambda text: None,
    transport: httpx2.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
    made: Made = MADE,
) -> Run:
    """Make all attempts from the folder at ``path``, and report them. ``every`` (seconds) is when the next run is due.

    Raises ConfigError (RunUnderway among it), ForkError, StatementRefused: what no later run gets over by itself.
    """
    folder = folders.load(path)
    with folder.alone():
        results = _service(folder.results, folder, transport, sleep)
        orchestrator = _service(folder.launches, folder, transport, sleep)
        carrier = Carrier(folder.server, transport, sleep)
        try:
            one = Agent(folder.server, folder.one, folder.trust, carrier, RETRIES)
            two = Agent(folder.server, folder.two, folder.trust, carrier, RETRIES)
            party = Party(one, two, orchestrator, folder.between, folder.keep)
            began, found = one.now(), _all(party, made, tell)
            # The agents may have learnt on the way that the clock here is wrong.
            ended = one.now()
            return _report(results, folder.server, (min(began, ended), ended), found, every)
        finally:
            carrier.close()
            orchestrator.close()
            results.close()


def _service(folder: Folder, of: folders.Folder, transport: httpx2.BaseTransport | None, sleep: Any) -> Service:
    return Service(folder, of.server, of.trust, transport=transport, sleep=sleep, retries=RETRIES, program=PROGRAM)


def _all(party: Party, made: Made, tell: Tell) -> list[dict[str, Any]]:
    found, until, away = [], time.monotonic() + LONGEST, _away(party)
    for name in canaries.ATTEMPTS:
        if away:
            got = Observed(0, detail=away)
        elif time.monotonic() > until:
            got = Observed(0, detail="The run took too long before this could be tried.")
        else:
            got = _one(name, party, made)
        attempt = got.told(name, format_time(party.one.now()))
        if canaries.succeeded(attempt):
            tell(f"A CANARY WAS NOT REFUSED: {name} ({got.status} {got.code}). {got.detail}")
        found.append(attempt)
    return found


def _away(party: Party) -> str:
    """Why no attempt can be made; empty when the server answers. Asked first, so that an outage does not take long."""
    try:
        party.one.get("/me")
    except APIError as error:
        return str(error)
    return ""


def _one(name: str, party: Party, made: Made) -> Observed:
    try:
        return made[name](party)
    except NotPrepared as error:
        return Observed(0, detail=f"It could not be tried. {error}")
    except APIError as error:
        return Observed(0, detail=f"There was no proper answer: {error}")
    except Exception as error:
        # Whatever happens to one attempt, the others are made, and the run says which one it was.
        return Observed(0, detail=f"It could not be tried: {type(error).__name__}: {error}")


def _report(
    results: Service, server: str, times: tuple[datetime, datetime], found: list[dict[str, Any]], every: int
) -> Run:
    began, ended = times
    result, sorted_ = canaries.result(found), canaries.sort_out(found)
    predicate = {
        "result": result,
        "configuration": [{"name": "attempts", "digest": {"sha256": table_digest()}}],
        "passedTests": list(sorted_.passed),
        "warnedTests": list(sorted_.warned),
        "failedTests": list(sorted_.failed),
        "from": format_time(began),
        "every": every,
        "attempts": found,
        "url": server,
    }
    subject = {"server": hashlib.sha256(server.encode("ascii")).hexdigest()}
    with results.folder.locked():
        voice = results.voice()
        predicate["at"] = format_time(_after_the_last(voice, ended))
        envelope = voice.say(attestation.CANARY, subject, predicate)
        try:
            index = _told(voice, envelope)
        except APIError as error:
            return Run(result, tuple(found), None, str(error))
    return Run(result, tuple(found), index)


def _after_the_last(voice: Voice, ended: datetime) -> datetime:
    """When the run ended, and in any case after the one before it, however the clock was set meanwhile: a run that does
    not come after it would not be taken, and none after that either."""
    earlier = voice.ledger.envelopes()[-1:]
    if not earlier:
        return ended
    last = parse_time(attestation.open_statement(earlier[0]).predicate["at"])
    return max(ended, last + timedelta(milliseconds=1))


def _told(voice: Voice, envelope: bytes) -> int | None:
    return next((int(told.entry["index"]) for told in voice.catch_up() if told.envelope == envelope), None)


def table_digest() -> str:
    """SHA-256, in hex, of what is tried and which answers count, so that a run says by which table it was judged."""
    table = [
        {
            "name": name,
            "words": attempt.words,
            "expected": [{"status": status, "code": code} for status, code in sorted(attempt.expected)],
            "control": attempt.control,
        }
        for name, attempt in canaries.ATTEMPTS.items()
    ]
    return hashlib.sha256(canonical.dumps(table)).hexdigest()
