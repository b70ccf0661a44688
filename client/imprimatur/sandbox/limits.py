"""Limits of a process (prlimit(2)), put on a process that waits to begin, so that all it starts inherits them.

``RLIMIT_NPROC`` counts per user namespace. Set before the sandbox has one, it would count every process of that user on
the machine; set inside, it begins at zero. The kernel exempts uid 0 of the machine from it altogether.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping

KERNEL = {
    "address_space": resource.RLIMIT_AS,
    "cpu_seconds": resource.RLIMIT_CPU,
    "file_size": resource.RLIMIT_FSIZE,
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
}
"""The kernel's limits by the names that observations use (``attestation.LIMITS``); bytes and seconds."""


class LimitError(Exception):
    """A limit does not hold."""


def put(pid: int, limits: Mapping[str, int]) -> None:
    """Set them, soft and hard, and read them back. Raises OSError, or LimitError when the kernel has others then."""
    for name, value in limits.items():
        resource.prlimit(pid, KERNEL[name], (value, value))
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    for name, value in limits.items():
        if resource.prlimit(pid, KERNEL[name]) != (value, value):
            raise LimitError(f"the limit {name} could not be set to {value}")
