"""REPORT.html of a bundle: what happened, in plain words, for whoever does not run commands.

One file that needs nothing else: no script, nothing from the network. Every text that somebody wrote is made inert.
Derived from the entries alone, its times included, so that the same bundle has the same report.
"""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string

from audit.evidence import words
from audit.evidence.source import Source
from audit.evidence.staging import Staging
from audit.evidence.tally import RISKS, Tally, tally

NAME = "REPORT.html"

# How a request ended, in the order in which a reader asks.
WAYS = {
    "rule": "allowed by a rule of the policy, without asking anybody",
    "people": "approved by people",
    "in advance": "approved by people in advance",
    "DENIED": "denied by a person or by the policy",
    "REFUSED": "refused: outside the agent’s authority, over its budget, or not what it claimed to be",
    "EXPIRED": "not answered in time, and so denied",
    "CANCELLED": "taken back by the agent",
    "SUPERSEDED": "replaced by another request of the agent",
    "INVALIDATED": "ended because authority or policy changed",
    "open": "still open when this log ends",
}
REASONS = {
    "reviewer-denied": "a person denied it",
    "policy-denied": "the policy forbids it",
    "policy-error": "the policy could not be evaluated",
    "out-of-scope": "outside what the agent was given",
    "constraint": "against a constraint of its delegation",
    "resource-mismatch": "what it claimed is not what its parameters do",
    "over-budget": "over the budget",
    "depth": "passed on too often",
    "delegation-expired": "its delegation was not in force",
    "delegation-revoked": "its delegation was revoked",
    "expired": "nobody answered in time",
    "approval-expired": "nobody answered in time",
    "cancelled": "the agent took it back",
    "superseded": "the agent replaced it",
    "invalidated": "what it rested on changed",
    "policy-changed": "the policy changed meanwhile",
    "paused": "everything, the agent or the tool was paused",
    "suspended": "the agent was suspended",
}
# In the order of the claims: what agents were given, what runs, what was tried, where copies are, what it is made of.
FOLDERS = ("grants", "launches", "monitor", "canaries", "shipping", "build", "oscal")
ANSWERS = {"approve": "approved", "confirm": "confirmed", "deny": "denied", "recalled": "taken back"}
STRENGTHS = {
    "H0": "a click in a session: the operator vouches for it",
    "H1": "signed, the person not verified",
    "H2": "signed with a passkey or key of their own",
    "H3": "signed with a device-bound, attested key",
}
LEVELS = {
    "E0": "the agent’s own wrapper",
    "E1": "a separate proxy or hook",
    "E2": "a sandbox in which asking is the only way",
    "E3": "the resource itself checks the receipt",
}
OUTCOMES = {
    "SUCCEEDED": "reported as done",
    "FAILED": "reported as failed",
    "UNREPORTED": "never reported",
    "withdrawn": "approved and taken back, or not used in time",
}
ODD = {
    "console": "changes made at the operator’s console, where no person is named",
    "clicks": "entries of people made by a click in a session (H0), not signed",
    "single_human": "activated policies that let one person alone answer what needs two",
    "unreported": "executed actions whose outcome was never reported",
    "late": "outcomes reported too late",
    "erased": "openings erased: what they said is gone, the commitments stay",
}


def add(source: Source, staging: Staging) -> None:
    """Put the report into the bundle."""
    staging.add(NAME, text(source))


def text(source: Source) -> str:
    """The page."""
    counted = tally(source)
    return render_to_string("audit/report.html", _context(source, counted))


def _context(source: Source, counted: Tally) -> dict[str, Any]:
    left_out = words.completeness(source.filters, source.size, source.shown)
    return {
        "realm": source.realm,
        "folders": FOLDERS,
        "size": source.size,
        "shown": source.shown,
        "root": source.checkpoint.root,
        "begun": words.moment(counted.begun),
        "ended": words.moment(counted.ended),
        "chosen": words.chosen(source.filters, agent=lambda id: counted.name("agent", id)),
        "left_out": left_out,
        "withheld": not source.filters.get("openings", True),
        "requests": counted.requests,
        "ways": [(counted.ways[way], said) for way, said in WAYS.items() if counted.ways[way]],
        "risks": [(risk, counted.verdicts[risk]) for risk in RISKS if counted.verdicts[risk].total()],
        "outcomes": [(counted.outcomes[each], said) for each, said in OUTCOMES.items() if counted.outcomes[each]],
        "answers": [
            {
                "name": counted.name("person", person),
                "id": person,
                "did": [f"{counts[each]:,} {said}" for each, said in ANSWERS.items() if counts[each]],
            }
            for person, counts in sorted(counted.answers.items())
        ],
        "assurance": [(level, counted.assurance[level], said) for level, said in STRENGTHS.items()],
        "levels": [(level, counted.levels[level], said) for level, said in LEVELS.items() if counted.levels[level]],
        "refusals": [
            (count, REASONS.get(code, ""), code)
            for code, count in sorted(counted.refusals.items(), key=lambda item: (-item[1], item[0]))
        ],
        "changes": [{**change, "time": words.moment(change["time"])} for change in counted.changes],
        "changes_in_all": counted.changes_in_all,
        "odd": [(counted.odd[each], said) for each, said in ODD.items()],
    }
