"""Which fields are withheld is the agent's choice, so what is kept for a choice must be bounded."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from imprimatur.rules import tools

NAMES = [f"field_{number}" for number in range(10)]


class Fits:
    """A compiled schema that remembers what it requires, and finds nothing wrong."""

    alive = 0

    def __init__(self, schema: dict[str, Any]) -> None:
        self.required = schema["required"]
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1

    def iter_errors(self, parameters: object) -> list[Any]:
        return []


def test_every_combination_of_withheld_fields_is_checked_and_few_are_kept() -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in NAMES}, "required": NAMES}
    validator = tools.Validator({"schema": schema, "withhold": NAMES}, Fits)
    for size in range(len(NAMES) + 1):
        for withheld in combinations(NAMES, size):
            assert validator.problems({}, withheld) == []
    assert Fits.alive <= 64


def test_after_many_other_combinations_a_missing_field_is_still_missed() -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"type": "string"} for name in NAMES},
        "required": NAMES,
    }
    validator = tools.validator({"schema": schema, "withhold": NAMES})
    sent = dict.fromkeys(NAMES[1:], "x")
    for size in range(4):
        for withheld in combinations(NAMES, size):
            assert bool(validator.problems(sent, withheld)) == (NAMES[0] not in withheld)
