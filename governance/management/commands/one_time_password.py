"""``manage.py one_time_password``: let somebody in again who lost their password."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from governance import console
from governance.actions import add_person


class Command(BaseCommand):
    help = "Give somebody a new one-time password. It ends their sessions, and is changed at the next login."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("login")

    def handle(self, *args: Any, **options: Any) -> None:
        person = console.person_called(options["login"])
        password = add_person.one_time_password()
        with transaction.atomic():
            person.user.set_password(password)
            person.user.save(update_fields=["password"])
            person.must_change_password = True
            person.save(update_fields=["must_change_password"])
        self.stdout.write(f"One-time password of {person.user.username}: {password}")
        self.stdout.write("It is shown only now, and has to be changed at the next login.")
        if not person.user.is_active:
            self.stdout.write("They are switched off, and cannot log in until an admin switches them on.")
