"""What commands print: plain lines, in which nothing that others wrote can move the cursor or hide."""

from __future__ import annotations

import io
import sys

from imprimatur.inert import inert

DONE, REFUSED, USAGE, PENDING, NO_ANSWER = 0, 1, 2, 3, 4


WIDTH = 13


def spell_everything() -> None:
    """Have what the terminal's alphabet lacks written as an escape, rather than end the command half-way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(label: str, text: str = "", width: int = WIDTH) -> None:
    """One line on standard output: a word of ours, and what it is about."""
    print(f"{label:<{width}}{inert(text, 'terminal')}", flush=True)


def complain(text: str) -> None:
    """One line on standard error."""
    print("imprimatur: " + inert(" ".join(text.split()), "terminal"), file=sys.stderr, flush=True)


def agree(question: str) -> bool:
    """Whether the person at the terminal types yes. Enter, anything else and the end of input are no."""
    try:
        return input(f"{question} Type yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False
