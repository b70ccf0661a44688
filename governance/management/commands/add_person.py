"""``manage.py add_person``: add somebody from the console of the machine."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit import log
from governance import console
from governance.actions import add_person, add_person_key
from governance.models import ROLES


class Command(BaseCommand):
    help = "Add a person and print their one-time password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("login")
        parser.add_argument("roles", nargs="*", metavar="ROLE", help=f"any of {', '.join(ROLES)}")
        parser.add_argument("--name", default="", help="the name people see; made from the login when left out")
        parser.add_argument("--email", default="", help="where mail for this person goes")
        parser.add_argument("--ssh-key", metavar="FILE", help="a .pub file: the key an admin signs delegations with")
        parser.add_argument("--by", metavar="LOGIN", help="the admin who decided it (else: the console)")

    def handle(self, *args: Any, **options: Any) -> None:
        with console.refusals():
            by = console.person_called(options["by"]) if options["by"] else None
            line = console.text_of(options["ssh_key"]) if options["ssh_key"] else None
            command, password = add_person.new(
                options["login"], tuple(options["roles"]), name=options["name"], email=options["email"], by=by
            )
            person = log.commit(add_person.apply, command).person
            self.stdout.write(f"Added {person.name} ({person.id}).\nOne-time password: {password}")
            self.stdout.write("It is shown only now, and has to be changed at the first login.")
            if line is not None:
                added = log.commit(add_person_key.apply, add_person_key.Command(person, line))
                self.stdout.write(f"Registered the key {added.key.fingerprint}.")
