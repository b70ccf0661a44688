"""`manage.py audit_roles`: on PostgreSQL, take from the application's role what nobody may do to the log."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from audit import roles

DONE = """{owner} (no login) owns all tables. {app} reads the log and adds to it, and changes nothing in it.

Next:
1. give {app} a password (`ALTER ROLE ... PASSWORD`), and put it into IMPRIMATUR_DATABASE_URL;
2. set IMPRIMATUR_DATABASE_ROLES=yes, so that nothing starts with another role;
3. for a new version: `manage.py migrate` as now (a superuser, with ?role={owner} behind the URL), then this again.

{publisher}{owner} and every superuser can still lift the guards: let witnesses or others hold checkpoints."""


PUBLISHER = """{publisher} alone adds checkpoints, and adds no entry. {app} adds entries, and no checkpoint. Set
IMPRIMATUR_PUBLISHER=apart for the web process, run `manage.py publish` as {publisher} with data of its own, and move
the log's key there: docs/operations.md says how. Name --publisher again whenever this runs again.

"""


class Command(BaseCommand):
    help = "PostgreSQL: an owner without login for the tables, and a role for the server that cannot change the log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--owner", required=True, help="owns the tables, runs migrations, cannot log in")
        parser.add_argument("--app", required=True, help="the role that the server connects as")
        parser.add_argument("--publisher", default="", help="the role of `manage.py publish`, where it runs apart")

    def handle(self, *args: Any, **options: Any) -> None:
        owner, app, publisher = options["owner"], options["app"], options["publisher"]
        try:
            roles.set_up(owner, app, publisher)
        except roles.RolesRefused as error:
            raise CommandError(f"{error}. Nothing was changed.") from error
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL refused, and nothing was changed: {error}") from error
        more = PUBLISHER.format(publisher=publisher, app=app) if publisher else ""
        self.stdout.write(DONE.format(owner=owner, app=app, publisher=more))
