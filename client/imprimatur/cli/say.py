"""What commands print: plain lines, in which nothing that others wrote can move the cursor or hide."""

from __future__ import annotations

import io
import sys
from typing import TextIO

from imprimatur.inert import inert

DONE, REFUSED, USAGE, PENDING, NO_ANSWER, MISMATCH = 0, 1, 2, 3, 4, 5


WIDTH = 13


def spell_everything() -> None:
    """Have what the terminal's alphabet lacks written as an escape, rather than end the command half-way."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(label: str, text: str = "", width: int = WIDTH, file: TextIO | None = None) -> None:
    """One line, on standard output unless ``file`` is given: a word of ours, and what it is about."""
    print(f"{label:<{width}}{inert(text, 'terminal')}", file=file, flush=True)


def complain(text: str) -> None:
    """One line on standard error."""
    print("imprimatur: " + inert(" ".join(text.split()), "terminal"), file=sys.stderr, flush=True)


def note(text: str) -> None:
    """One line for the person at the terminal, kept out of what a program reads."""
    print(inert(text, "terminal"), file=sys.stderr, flush=True)


def typed(question: str) -> str:
    """What the person at the terminal types on one line; the end of input is nothing."""
    print(f"{question} ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\r\n")


def agree(question: str) -> bool:
    """Whether the person at the terminal types yes. Enter, anything else and the end of input are no."""
    return typed(f"{question} Type yes to go on:").strip().lower() == "yes"
