"""What the log says when it cannot take an entry. Each means: no decision was made."""

from __future__ import annotations


class LogError(Exception):
    """The log cannot be written; whatever was asked for did not happen."""


class LogNotBegun(LogError):
    """There is no log yet."""

    def __str__(self) -> str:
        return "This installation has no log yet. Run `manage.py begin` once."


class LogFrozen(LogError):
    """The log was frozen, on purpose or by a check that found it broken."""

    def __str__(self) -> str:
        return f"The log is frozen: {self.args[0]}" if self.args else "The log is frozen."
