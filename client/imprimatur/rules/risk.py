"""The four risk levels and their order."""

from __future__ import annotations

from enum import StrEnum


class Risk(StrEnum):
    """How much attention an action needs. Compares by level, never by spelling."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def level(self) -> int:
        """0 for LOW up to 3 for CRITICAL."""
        return _LEVELS[self.value]

    @property
    def blocks(self) -> bool:
        """Whether a person must decide before the action runs."""
        return self.level >= _LEVELS["HIGH"]

    # Without these four, the inherited string order would put CRITICAL below HIGH below LOW.
    def __lt__(self, other: str) -> bool:
        return self.level < _level(other)

    def __le__(self, other: str) -> bool:
        return self.level <= _level(other)

    def __gt__(self, other: str) -> bool:
        return self.level > _level(other)

    def __ge__(self, other: str) -> bool:
        return self.level >= _level(other)


_LEVELS = {"LOW": 0, "MEDIUM": 1, "HIGH": 2, "CRITICAL": 3}


def _level(other: object) -> int:
    # Raising rather than returning NotImplemented: Python would fall back to comparing the strings.
    if isinstance(other, str) and str(other) in _LEVELS:
        return _LEVELS[str(other)]
    raise TypeError(f"{other!r} is not a risk level; use LOW, MEDIUM, HIGH or CRITICAL.")


def risk_of(text: object) -> Risk:
    """The risk level called `text`; whatever is unknown is HIGH."""
    return Risk(text) if isinstance(text, str) and str(text) in _LEVELS else Risk.HIGH


def maximum(*risks: Risk) -> Risk:
    """The highest of the given levels.

    Raises:
        ValueError: when none is given, because no level at all is not LOW.
        TypeError: when one of them is not a risk level.
    """
    if not risks:
        raise ValueError("There is no maximum of no risk levels.")
    return Risk(max(risks, key=_level))
