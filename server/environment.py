"""Typed reading of the environment: every setting of Imprimatur comes through here, and from nowhere else."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

PREFIX = "IMPRIMATUR_"

# What was read: name to (the text as it was given, whether it differs from the default). For `server.provenance`.
_read: dict[str, tuple[str, bool]] = {}


def read() -> dict[str, tuple[str, bool]]:
    """Every setting that was asked for, by its full name: how it was given, and whether that changes anything."""
    return dict(_read)


def _note(name: str, value: str, differs: bool) -> None:
    _read[PREFIX + name] = (value, differs)


def text(name: str, default: str = "") -> str:
    """The setting ``IMPRIMATUR_<name>``, or the contents of the file in ``IMPRIMATUR_<name>_FILE`` (secrets)."""
    file = os.environ.get(f"{PREFIX}{name}_FILE")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{PREFIX}{name}_FILE: {file} cannot be read: {error.strerror}") from error
    else:
        value = os.environ.get(f"{PREFIX}{name}", default)
    _note(name, value, value != default)
    return value


def flag(name: str, default: bool = False) -> bool:
    """A yes/no setting. Anything but the known words is an error, so that a typing slip never switches something on."""
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        _note(name, "yes", not default)
        return True
    if value in {"0", "false", "no", "off"}:
        _note(name, "no", default)
        return False
    raise ImproperlyConfigured(f"{PREFIX}{name} must be yes or no, not {value!r}")


def number(name: str, default: int, *, least: int = 0) -> int:
    """A whole number, not below ``least``."""
    value = text(name)
    try:
        result = int(value) if value else default
    except ValueError as error:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be a whole number, not {value!r}") from error
    if result < least:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be at least {least}")
    _note(name, str(result), result != default)
    return result


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, empty parts dropped."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def pairs(name: str) -> list[tuple[str, str]]:
    """Pairs ``left=right``, separated by spaces; quotes keep spaces. The last ``=`` divides: ``cn=staff=reviewer``."""
    try:
        found = [part.rpartition("=") for part in shlex.split(text(name))]
    except ValueError as error:
        raise ImproperlyConfigured(f"{PREFIX}{name}: {error}") from error
    if any(not left or not right for left, _, right in found):
        raise ImproperlyConfigured(f"{PREFIX}{name} must be pairs such as desk-admins=admin, separated by spaces")
    return [(left, right) for left, _, right in found]
