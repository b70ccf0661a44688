"""Commands that come with Django drop or empty tables. None of them does it to the log or to what guards it."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from audit import guards
from audit.models import Entry
from governance import triggers
from tests.conftest import World


@pytest.mark.parametrize(
    ("app", "name"),
    [("audit", "zero"), ("audit", "0001"), ("governance", "zero"), ("governance", "0001"), ("auth", "zero")],
)
def test_no_migration_is_undone(world: World, app: str, name: str) -> None:
    entries, applied = Entry.objects.count(), MigrationRecorder(connection).applied_migrations().keys()
    with pytest.raises(CommandError, match="would undo"):
        call_command("migrate", app, name, verbosity=0, interactive=False)
    assert Entry.objects.count() == entries > 0
    assert MigrationRecorder(connection).applied_migrations().keys() == applied
    guards.check_installed()
    assert triggers.check_installed() == []


def test_going_forward_and_slips_of_the_pen_are_djangos(world: World) -> None:
    call_command("migrate", "audit", verbosity=0)
    with pytest.raises(CommandError, match="Cannot find a migration"):
        call_command("migrate", "audit", "no_such_one", verbosity=0, stdout=StringIO())
