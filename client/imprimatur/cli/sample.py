"""``imprimatur sample``: draw a random sample of a bundle's entries, the same that the desk draws from that seed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, note
from imprimatur.errors import ConfigError
from imprimatur.formats.timestamps import parse_time
from imprimatur.verify import sampling


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "sample",
        help="draw a random sample from a bundle, offline",
        description="Prints the indexes of a sample, one a line: the entries with the smallest SHA-256 over the seed, "
        "a zero byte and the index in decimal. The desk draws the same ones. Verify the bundle before you rely on it.",
    )
    command.add_argument("--bundle", type=Path, required=True, help="the zip")
    command.add_argument("--seed", required=True, help="any words that were agreed on before")
    command.add_argument("-n", "--count", type=int, default=25, help=f"how many, at most {sampling.MOST} (default: 25)")
    command.add_argument("--size", type=int, help="draw from the first SIZE entries (default: all in the bundle)")
    command.add_argument("--kind", default="", help="such as action.decided, or a family such as delegation.")
    command.add_argument("--agent", default="", help="with --kind action.decided or action.requested")
    command.add_argument("--actor", default="", help="id of who did it")
    command.add_argument("--subject", default="", help="id of what it is about")
    command.add_argument("--verdict", default="", choices=("", "allow", "deny"))
    command.add_argument("--risk", default="", choices=("", "LOW", "MEDIUM", "HIGH", "CRITICAL"))
    command.add_argument("--since", default="", metavar="TIME", help="from this time on: 2026-11-01T00:00:00.000Z")
    command.add_argument("--until", default="", metavar="TIME", help="before this time")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Print the indexes."""
    names = ("kind", "agent", "actor", "subject", "verdict", "risk", "since", "until")
    try:
        for time in (options.since, options.until):
            if time:
                parse_time(time)
        wanted = sampling.Wanted(**{name: getattr(options, name) for name in names})
        drawn = sampling.sample_of(options.bundle, options.seed, options.count, wanted, options.size)
        whole = sampling.is_whole(options.bundle)
    except ValueError as error:
        raise ConfigError(f"No sample was drawn: {error}.") from None
    if not whole:
        note("This bundle holds a selection, so the sample is one of the selection and not of the log.")
    for index in drawn:
        print(index)
    return DONE
