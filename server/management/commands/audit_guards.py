"""`manage.py audit_guards`: put back the guards that keep the log append-only, once it is known who took them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection, transaction

from audit import authorizer, guards


class Command(BaseCommand):
    help = "Install the log's triggers anew. On PostgreSQL connect as the owner of the tables. Changes no row."

    def handle(self, *args: Any, **options: Any) -> None:
        with authorizer.opened(), transaction.atomic(), connection.cursor() as cursor:
            for statement in (
                *guards.remove_statements(connection.vendor, guards.TABLES),
                *guards.install_statements(connection.vendor, guards.TABLES),
            ):
                cursor.execute(statement)
        guards.check_installed()
        self.stdout.write("Every guard of the log stands. What was changed while one was missing, audit_fsck tells.")
