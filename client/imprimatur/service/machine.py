"""This machine, as launches and observations name it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")


def node(name: str | None = None) -> dict[str, str]:
    """Its host name (or the one given), its kernel, and its boot: launch and monitor have to agree on the name."""
    about = os.uname()
    found = {"name": name or about.nodename, "kernel": f"{about.sysname} {about.release} {about.machine}"}
    with contextlib.suppress(OSError):  # no Linux, or hidden
        found["boot"] = boot()
    return found


def boot() -> str:
    """The id that the kernel gave itself when it started. Raises OSError."""
    return BOOT.read_text(encoding="ascii").strip()
