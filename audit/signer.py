"""The keys of the log. The decision key signs entries; the log key signs checkpoints and nothing else.

Only this module opens them. Invariant 4 of the design: neither can issue a delegation or cast a vote.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from imprimatur.formats.keys import KeyPair

DECISION, LOG = "decision.key", "log.key"


def make_keys(folder: Path) -> None:
    """Create both keys, each mode 0600. Refuses to replace an existing one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (DECISION, LOG):
        KeyPair.generate().save(folder / name)
    forget()


@cache
def decision_key() -> KeyPair:
    """The key that signs entries (and so receipts). Lives with the writer."""
    return KeyPair.load(Path(settings.KEYS_DIR) / DECISION)


@cache
def log_key() -> KeyPair:
    """The key that signs checkpoints. Lives with the publisher."""
    return KeyPair.load(Path(settings.KEYS_DIR) / LOG)


def forget() -> None:
    """Drop what was read, after the files changed."""
    decision_key.cache_clear()
    log_key.cache_clear()
