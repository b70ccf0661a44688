"""``manage.py vouch_key``: put a person's enrolled key in force where nobody else can."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import log
from governance import console
from governance.actions import vouch_key


class Command(BaseCommand):
    help = "Vouch for a person's enrolled signing key. The log names the console, and reports count it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("login")
        parser.add_argument("fingerprint", help="as the person reads it out from their own page, Your keys")

    def handle(self, *args: Any, **options: Any) -> None:
        person = console.person_called(options["login"])
        with console.refusals():
            if vouch_key.pending(options["fingerprint"]).person_id != person.pk:
                raise CommandError(f"This key is not one of {person.name}.")
            log.commit(vouch_key.apply, vouch_key.Command(options["fingerprint"], None))
        self.stdout.write(f"The key of {person.name} is in force. Reports say that the console vouched for it.")
