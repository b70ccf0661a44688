"""``manage.py reset_second_factor``: let somebody in again who lost their passkey, app and recovery codes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit.log import commit
from governance import console
from governance.actions import login_reset


class Command(BaseCommand):
    help = "Forget somebody's second factors for logging in. Their sessions end; their signing keys stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("login")

    def handle(self, *args: Any, **options: Any) -> None:
        person = console.person_called(options["login"])
        with console.refusals():
            commit(login_reset.apply, login_reset.Command(person, login_reset.SECOND_FACTOR))
        self.stdout.write(f"{person.user.username} logs in with the password alone now, and can set up a new factor.")
