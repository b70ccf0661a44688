"""At a start: refuse sources that a configured provenance is not about, then measure in the background, for the log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from audit.actions import note_started
from audit.errors import LogError
from audit.log import commit
from server import build_statement, provenance

logger = logging.getLogger("imprimatur.provenance")

LEAST_URGENT = 19  # nice(1)


def provenance_of_this_tree() -> build_statement.Provenance | None:
    """The configured statement, held against the sources that are here; None when none is configured.

    Raises ImproperlyConfigured when it does not hold, or cannot be read: configured means required.
    """
    if not settings.PROVENANCE and not settings.PROVENANCE_KEY:
        return None
    if not settings.PROVENANCE or not settings.PROVENANCE_KEY:
        raise ImproperlyConfigured("IMPRIMATUR_PROVENANCE and IMPRIMATUR_PROVENANCE_KEY go together: set both.")
    root = Path(settings.BASE_DIR)
    try:
        return build_statement.verify(
            build_statement.read(Path(settings.PROVENANCE)),
            build_statement.public_key(Path(settings.PROVENANCE_KEY)),
            tree=provenance.tree_digest(root),
            lock=(root / provenance.LOCK).read_text(encoding="utf-8"),
        )
    except (build_statement.DoesNotHold, build_statement.CannotTell, provenance.CannotMeasure) as error:
        raise ImproperlyConfigured(
            f"The provenance of the running sources does not hold: {error} Install what the builder built, or ask "
            "them for a statement about this. `manage.py provenance` shows what is here."
        ) from error


class Measuring(threading.Thread):
    """Measures once, at the lowest priority, and writes the entry. A failure is logged and stops nothing."""

    def __init__(self, process: str, held: build_statement.Provenance | None) -> None:
        super().__init__(name="provenance", daemon=True)
        self._process = process
        self._held = held
        self._ending = threading.Event()

    def run(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_URGENT)
        try:
            body = provenance.measure(lambda: not self._ending.is_set()).body(self._process)
            if self._held is not None:
                body["provenance"] = self._held.body()
            if not self._ending.is_set():
                commit(note_started.apply, note_started.Command(body))
        except provenance.CannotMeasure as error:
            if not self._ending.is_set():
                logger.critical("what this server is made of was not measured: %s", error)
        except LogError as error:
            logger.warning("what this server is made of is not in the log: %s", error)
        except Exception:
            logger.exception("what this server is made of was not measured")
        finally:
            connection.close()

    def stop(self) -> None:
        """Give up measuring, and end."""
        self._ending.set()
        if self.is_alive():
            self.join(10)
