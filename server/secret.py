"""The secret that Django signs sessions and form tokens with."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SHORTEST = 32


def secret_key(given: str, data: Path) -> str:
    """Return the given secret, or one kept in ``<data>/secret.key`` (mode 0600), made on first use.

    Raises ImproperlyConfigured when the given or the kept secret is too short to be one.
    """
    if given:
        if len(given) < SHORTEST:
            raise ImproperlyConfigured(f"IMPRIMATUR_SECRET_KEY must have at least {SHORTEST} characters")
        return given
    file = data / "secret.key"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        _make(file)
    value = file.read_text(encoding="ascii").strip()
    if len(value) < SHORTEST:
        # Sessions signed with half a secret could be forged.
        raise ImproperlyConfigured(
            f"{file} holds no secret. Delete it; a new one is made, and everybody signs in again."
        )
    return value


def _make(file: Path) -> None:
    """Write a new secret, whole or not at all. When another process was first, its secret is the secret."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".secret-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(temporary)
    finally:
        Path(temporary).unlink()
