"""Lift the guards of the log in a test that must empty its tables, and put them back afterwards.

A TransactionTestCase (or pytest's ``transactional_db``) flushes all tables when it ends, which the append-only
triggers refuse. Wrap the flush, or the whole test, in ``lifted()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from audit import guards


@contextmanager
def lifted() -> Iterator[None]:
    """Drop the guards, and install them again even when the block fails."""
    guards.run(guards.remove_statements(connection.vendor))
    try:
        yield
    finally:
        guards.run(guards.remove_statements(connection.vendor))
        guards.run(guards.install_statements(connection.vendor))
