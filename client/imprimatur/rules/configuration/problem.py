"""What is wrong with a configuration or a launch: a stable code for programs and a sentence that says what to do."""

from __future__ import annotations

from dataclasses import dataclass

from imprimatur.inert import visible


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to refuse. ``code`` is stable; ``message`` says where and what to do, in at most 500 characters."""

    code: str
    message: str


class ConfigurationError(ValueError):
    """A layer that cannot be used at all. ``problems`` lists everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


def quote(text: object, most: int = 80) -> str:
    """Text of a stranger inside a message: on one line, nothing hidden, and marked where it was cut."""
    shown = visible(str(text)[: most + 1])
    return f"'{shown}'" if len(shown) <= most else f"'{shown[:most]}'…"
