"""The secret that Django signs sessions and form tokens with."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def secret_key(given: str, data: Path) -> str:
    """Return the given secret, or one kept in ``<data>/secret.key`` (mode 0600), made on first use.

    Raises ImproperlyConfigured when the given secret is too short to be one.
    """
    if given:
        if len(given) < 32:
            raise ImproperlyConfigured("IMPRIMATUR_SECRET_KEY must have at least 32 characters")
        return given
    file = data / "secret.key"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text(encoding="ascii")
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secrets.token_urlsafe(48))
    return file.read_text(encoding="ascii")
