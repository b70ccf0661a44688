"""``manage.py one_time_password``: let somebody in again who lost their password."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit.log import commit
from governance import console
from governance.actions import login_reset


class Command(BaseCommand):
    help = "Give somebody a new one-time password. It ends their sessions, and is changed at the next login."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("login")

    def handle(self, *args: Any, **options: Any) -> None:
        person = console.person_called(options["login"])
        command, password = login_reset.new_password(person)
        commit(login_reset.apply, command)
        self.stdout.write(f"One-time password of {person.user.username}: {password}")
        self.stdout.write("It is shown only now, and has to be changed at the next login.")
        if not person.user.is_active:
            self.stdout.write("They are switched off, and cannot log in until an admin switches them on.")
