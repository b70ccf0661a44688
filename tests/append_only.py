"""Lift the guards of the log in a test that must empty its tables, and put them back afterwards.

A TransactionTestCase (or pytest's ``transactional_db``) flushes all tables when it ends, which the append-only
triggers refuse. Call ``let_tests_flush()`` once, in ``conftest.py``, and its flush runs without them. A test that
plays a restored backup or a hostile owner of the database wraps just that in ``lifted()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.test import TransactionTestCase

from audit import authorizer, guards


@contextmanager
def lifted() -> Iterator[None]:
    """Drop the guards, and install them again even when the block fails."""
    with authorizer.opened():
        guards.run(guards.remove_statements(connection.vendor))
        try:
            yield
        finally:
            guards.run(guards.remove_statements(connection.vendor))
            guards.run(guards.install_statements(connection.vendor))


def let_tests_flush() -> None:
    """Make the flush at the end of every TransactionTestCase run without the guards. Calling it again is harmless."""
    flush = TransactionTestCase._fixture_teardown
    if getattr(flush, "lifts_the_guards", False):
        return

    def teardown(case: Any) -> None:
        with lifted():
            flush(case)

    teardown.lifts_the_guards = True  # type: ignore[attr-defined]  # a mark on our own function
    TransactionTestCase._fixture_teardown = teardown
