"""`manage.py migrate`, which leaves a database alone that a newer version has been at, and never goes back.

Undoing a migration drops tables, and guards with them: one word too many would be the end of the log.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Upstream
from django.db import connections
from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.executor import MigrationExecutor

from audit import authorizer
from server import checks


class Command(Upstream):
    def handle(self, *args: Any, **options: Any) -> str | None:
        try:
            checks.assert_known_schema()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if options["app_label"] and options["migration_name"]:
            _must_not_go_back(options["database"], options["app_label"], options["migration_name"])
        # Migrations may reshape the log's tables; the triggers stand all the same.
        with authorizer.opened(connections[options["database"]]):
            return super().handle(*args, **options)


def _must_not_go_back(database: str, app: str, name: str) -> None:
    """Raise CommandError when this would undo a migration of ours. What cannot be found is for Django to say."""
    executor = MigrationExecutor(connections[database])
    try:
        target = None if name == "zero" else executor.loader.get_migration_by_prefix(app, name).name
        plan = executor.migration_plan([(app, target)])
    except (AmbiguityError, KeyError):
        return
    undone = [
        f"{each.app_label}.{each.name}" for each, backwards in plan if backwards and each.app_label in checks.ROOMS
    ]
    if undone:
        raise CommandError(
            f"This would undo {undone[0]}, and drop what it made: parts of the log, or what guards it. Nothing was "
            "changed. To go back to an older version, restore a backup that it wrote."
        )
