"""The report of a verification, for people and as JSON, and the command that prints it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence

from imprimatur.formats.trust import Trust, TrustError, load
from imprimatur.inert import inert
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Report

EXIT = {VALID: 0, INVALID: 1, CANNOT_TELL: 2}

_MARKS = {VALID: "ok ", INVALID: "BAD", CANNOT_TELL: " ? "}
_WORDS = {
    VALID: "VALID: nothing is wrong under the anchors you gave. A line marked with ? says what cannot be shown.",
    INVALID: "INVALID: do not rely on this bundle. Keep it, and ask whoever gave it to you.",
    CANNOT_TELL: "CANNOT TELL: nothing is wrong, and not everything could be shown. See the lines marked with ?.",
}


def human(report: Report) -> str:
    """The report in plain lines for a terminal. Whatever came from the bundle is made inert."""
    lines = []
    if report.realm:
        lines += [f"Log of {inert(report.realm, 'terminal')}: {report.size} entries, root {report.root}", ""]
    for claim in report.claims:
        controls = ", ".join(claim.controls)
        lines.append(f"[{_MARKS[claim.verdict]}] {claim.name}: {inert(claim.detail, 'terminal')}  ({controls})")
    if report.limits:
        lines += ["", "What this bundle does not prove:"]
        lines += [f"  - {inert(limit, 'terminal')}" for limit in report.limits]
    return "\n".join([*lines, "", _WORDS[report.verdict], ""])


def as_json(report: Report) -> str:
    """The report as one JSON document."""
    return json.dumps(report.as_json(), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """`verify BUNDLE [--trust trust.json] [--json]`: prints the report. Exit code 0 valid, 1 invalid, 2 cannot tell
    or wrong usage."""
    parser = argparse.ArgumentParser(
        prog="verify", description="Verify an evidence bundle offline, against trust anchors that you bring."
    )
    parser.add_argument("bundle", help="the zip")
    parser.add_argument("--trust", help="trust.json, from somewhere else than the bundle")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(argv)
    trust: Trust | None = None
    try:
        if given.trust:
            trust = load(given.trust)
        report = verify_bundle(given.bundle, trust)
    except (TrustError, OSError) as error:
        print(f"verify: {inert(str(error), 'terminal')}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(as_json(report) if given.json else human(report))
    return EXIT[report.verdict]
