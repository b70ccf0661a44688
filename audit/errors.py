"""What the log says when it cannot take an entry. Each means: no decision was made."""

# named for what happened, as callers say it

from __future__ import annotations


class LogError(Exception):
    """The log cannot be written; whatever was asked for did not happen."""


class LogNotBegun(LogError):
    """There is no log yet."""

    def __str__(self) -> str:
        return "This installation has no log yet. Run `manage.py begin` once."


class LogAlreadyBegun(LogError):
    """There is a log, and there will never be a second beginning."""

    def __str__(self) -> str:
        return "This installation already has a log. Nothing was changed."


class LogFrozen(LogError):
    """The log was frozen, on purpose or by a check that found it broken."""

    def __str__(self) -> str:
        return f"The log is frozen: {self.args[0]}" if self.args else "The log is frozen."


class LogUnguarded(LogError):
    """A guard that keeps the log append-only or durable is missing: rather no desk than one that forgets."""


class ClockBehind(LogError):
    """This machine's clock is well behind the last entry, so every expiry would be judged wrongly."""

    def __str__(self) -> str:
        return (
            f"The clock of this machine is {self.args[0]} s behind the last entry of the log. Set the clock, then ask "
            "again."
        )


class NotPublished(LookupError):
    """The entry, or a checkpoint that covers it, is not published yet. Ask again in a moment."""


class Declined(Exception):
    """What an admin asked of the log room cannot be done. The message says why, for people; nothing was changed."""


class PublishRefused(Exception):
    """What should be published contradicts what was: the log has been frozen with this reason."""


class SignerUnavailable(LogError):
    """A key of the log cannot sign: its file is missing, or the command that has it gave no signature."""


class KeyRefused(LogError):
    """A key of the log cannot be taken up or retired like this. Nothing was changed."""
