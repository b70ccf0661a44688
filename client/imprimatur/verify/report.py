"""The report of a verification, for people and as JSON, and the command that prints it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from imprimatur.formats.trust import Trust, TrustError, load
from imprimatur.inert import inert
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, VERIFIED, Report
from imprimatur.verify.compare import CompareError, Comparison, compare
from imprimatur.verify.progress import Bar

EXIT = {VALID: 0, INVALID: 1, CANNOT_TELL: 2}

_MARKS = {VALID: "ok ", VERIFIED: "ok ", INVALID: "BAD", CANNOT_TELL: " ? "}
_WORDS = {
    VALID: "VALID: nothing is wrong under the anchors you gave. A line marked with ? says what cannot be shown.",
    INVALID: "INVALID: do not rely on this bundle. Keep it, and ask whoever gave it to you.",
    CANNOT_TELL: "CANNOT TELL: nothing is wrong, and not everything could be shown. See the lines marked with ?.",
}


_ENFORCEMENT = {
    "E0": "its own wrapper",
    "E1": "a proxy or hook",
    "E2": "a sandbox",
    "E3": "the resource itself",
}
_FORKED = (
    "FORKED: these are two histories of one log. Somebody rewrote what had been signed, or showed different logs to "
    "different people. Keep both files; show them to whoever answers for this installation, and to the others who hold "
    "checkpoints of it."
)
_MOST = 200  # lines of one list in the human output; --json has them all


def human(report: Report, *, decisions: bool = False) -> str:
    """The report in plain lines for a terminal, every decision included if wanted. What came from the bundle is made
    inert."""
    lines = []
    if report.realm:
        lines += [f"Log of {inert(report.realm, 'terminal')}: {report.size} entries, root {report.root}", ""]
    for claim in report.claims:
        controls = ", ".join(claim.controls)
        lines.append(f"[{_MARKS[claim.verdict]}] {claim.name}: {inert(claim.detail, 'terminal')}  ({controls})")
    counts = report.counts()
    if report.decisions:
        lines += ["", "Decisions: " + ", ".join(f"{count} {status}" for status, count in counts.items())]
        listed = report.decisions if decisions else [made for made in report.decisions if made["status"] == INVALID]
        lines += [_decision(made) for made in listed]
        if counts[CANNOT_TELL] and not decisions:
            lines.append("  (--decisions lists them all, and why)")
    if any(found["decisions"] for found in report.coverage.values()):
        lines += ["", "What forced agents to ask     decisions   redeemed"]
        for level, found in report.coverage.items():
            lines.append(f"  {level} {_ENFORCEMENT[level]:<22} {found['decisions']:>10} {found['redeemed']:>10}")
    if report.limits:
        lines += ["", "What this bundle does not prove:"]
        lines += [f"  - {inert(limit, 'terminal')}" for limit in report.limits]
    return "\n".join([*lines, "", _WORDS[report.verdict], ""])


def _decision(made: Mapping[str, Any]) -> str:
    level = f", {made['assurance']}" if "assurance" in made else ""
    what = f"{made['verdict']} {made['request']} ({made['risk']}{level})"
    told = inert(f"entry {made['index']}: {what}: {'; '.join(made['why'])}", "terminal")
    return f"  [{_MARKS[made['status']]}] {told}"


def as_json(report: Report) -> str:
    """The report as one JSON document."""
    return json.dumps(report.as_json(), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def compared(found: Comparison, reports: Sequence[Report]) -> str:
    """A comparison in plain lines for a terminal, after the verdicts on both bundles."""
    lines = [f"Log of {inert(found.realm, 'terminal')}"]
    for name, size, root, report in zip(("earlier", "later"), found.sizes, found.roots, reports, strict=True):
        lines.append(f"[{_MARKS[report.verdict]}] the {name} bundle: {size} entries, root {root}: {report.verdict}")
        lines += [
            f"      {claim.name}: {inert(claim.detail, 'terminal')}"
            for claim in report.claims
            if claim.verdict == INVALID
        ]
    if found.continues is None:
        return "\n".join([*lines, "", f"CANNOT TELL: {inert(found.fault, 'terminal')}", ""])
    if not found.continues:
        return "\n".join(
            [*lines, "", f"[BAD] entry {found.forked_at} is another one in the later bundle", "", _FORKED, ""]
        )
    lines.append(f"[ok ] the later log begins with the same {found.sizes[0]} entries, and adds to them")
    kinds = (f"{count} {kind}" for kind, count in sorted(found.added.items()))
    lines += ["", f"Added: {found.sizes[1] - found.sizes[0]} entries: {', '.join(kinds) or 'none that is shown'}"]
    if found.left_out:
        lines.append(f"  {found.left_out} of them are left out of the later bundle: nothing is told of those")
    changes = [
        inert(f"entry {change.index}, {change.time}: {change.kind} {change.subject}", "terminal")
        for change in found.authority
    ]
    gone = [inert(f"entry {item.index}: {item.where} is now {item.state}", "terminal") for item in found.openings_gone]
    lines += _listed("Who may do what changed in", "entries", changes)
    lines += _listed("No longer opened:", "openings", gone)
    lines += _listed("Files of one name that differ:", "files", found.files_changed)
    return "\n".join([*lines, "", _WORDS[_verdict(found, reports)], ""])


def _listed(what: str, of: str, items: Sequence[str]) -> list[str]:
    more = [f"  … and {len(items) - _MOST} more (--json lists them all)"] if len(items) > _MOST else []
    return ["", f"{what} {len(items)} {of}", *(f"  {item}" for item in items[:_MOST]), *more]


def _verdict(found: Comparison, reports: Sequence[Report]) -> str:
    """Of a comparison: invalid when the log was forked or a bundle is; valid when both are and the later continues."""
    verdicts = {report.verdict for report in reports}
    if found.continues is False or INVALID in verdicts:
        return INVALID
    return VALID if found.continues and verdicts == {VALID} else CANNOT_TELL


def main(argv: Sequence[str] | None = None) -> int:
    """`verify BUNDLE [--trust trust.json] [--compare EARLIER] [--decisions] [--json] [--quiet]`: prints the report.

    Exit code 0 valid, 1 invalid (or forked), 2 cannot tell, or wrong usage. A bar is drawn on a terminal's standard
    error; the report goes to standard output.
    """
    given = _parser().parse_args(argv)
    bar = None if given.quiet or not sys.stderr.isatty() else Bar(sys.stderr)
    trust: Trust | None = None
    reports: list[Report] = []
    try:
        try:
            if given.trust:
                trust = load(given.trust)
            reports += [verify_bundle(path, trust, bar) for path in (given.compare, given.bundle) if path is not None]
            found = compare(given.compare, given.bundle) if given.compare is not None else None
        finally:
            if bar is not None:
                bar.clear()
    except (TrustError, CompareError, OSError) as error:
        print(f"verify: {inert(str(error), 'terminal')}", file=sys.stderr)
        judged = zip((given.compare, given.bundle), reports, strict=False) if isinstance(error, CompareError) else ()
        wrong = [path for path, report in judged if report.verdict == INVALID]
        for path in wrong:
            print(f"verify: {inert(path, 'terminal')} is invalid", file=sys.stderr)
        return EXIT[INVALID] if wrong else 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if found is None:
        sys.stdout.write(as_json(reports[0]) if given.json else human(reports[0], decisions=given.decisions))
        return EXIT[reports[0].verdict]
    sys.stdout.write(compared_json(found, reports) if given.json else compared(found, reports))
    return EXIT[_verdict(found, reports)]


def compared_json(found: Comparison, reports: Sequence[Report]) -> str:
    """A comparison as one JSON document, with the reports on both bundles (without their decisions)."""
    earlier, later = ({**report.as_json(), "decisions": []} for report in reports)
    document = {
        "typ": "imprimatur/comparison/v1",
        "verdict": _verdict(found, reports),
        **found.as_json(),
        "earlier": earlier,
        "later": later,
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify",
        description="Verify an evidence bundle offline, against trust anchors that you bring.",
        epilog="exit status: 0 valid, 1 invalid or forked, 2 cannot tell, or wrong usage",
    )
    parser.add_argument("bundle", help="the zip")
    parser.add_argument("--trust", help="trust.json, from somewhere else than the bundle")
    parser.add_argument(
        "--compare", metavar="EARLIER", help="an earlier bundle of the same log, to compare with this one"
    )
    parser.add_argument("--decisions", action="store_true", help="list every decision, and why it is verified or not")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="draw no progress bar")
    return parser
