"""`manage.py migrate`, which leaves a database alone that a newer version has been at."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Upstream
from django.db import connections

from audit import authorizer
from server import checks


class Command(Upstream):
    def handle(self, *args: Any, **options: Any) -> str | None:
        try:
            checks.assert_known_schema()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        # Migrations may reshape the log's tables; the triggers stand all the same.
        with authorizer.opened(connections[options["database"]]):
            return super().handle(*args, **options)
