"""``imprimatur compare``: verify two bundles of one log, and show that the later continues the earlier."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "compare",
        help="compare two bundles of one log, offline",
        description="Verifies both, proves that the later log begins with the earlier one, and lists what was added, "
        "whose authority changed, and what was erased between. Exit status 1: one is invalid, or the log was forked.",
    )
    parser.add_argument("earlier", help="the older zip")
    parser.add_argument("later", help="the newer zip")
    parser.add_argument("--trust", help="trust.json, from somewhere else than the bundles")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.add_argument("--quiet", action="store_true", help="draw no progress bar")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Compare; returns the verifier's exit status: 0 valid, 1 invalid or forked, 2 cannot tell."""
    from imprimatur.verify.report import main

    words = ["--compare", options.earlier]
    words += ["--trust", options.trust] if options.trust else []
    words += [flag for flag in ("--json", "--quiet") if getattr(options, flag.removeprefix("--"))]
    return main([*words, "--", options.later])
