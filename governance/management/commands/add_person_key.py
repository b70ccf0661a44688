"""``manage.py add_person_key``: register the SSH key with which an admin signs delegations."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit import log
from governance import console
from governance.actions import add_person_key


class Command(BaseCommand):
    help = "Register an SSH key (ssh-ed25519 or a security key) with which an admin signs delegations."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("login")
        parser.add_argument("file", help="the .pub file")
        parser.add_argument("--by", metavar="LOGIN", help="the admin who decided it (else: the console)")

    def handle(self, *args: Any, **options: Any) -> None:
        with console.refusals():
            by = console.person_called(options["by"]) if options["by"] else None
            command = add_person_key.Command(
                console.person_called(options["login"]), console.text_of(options["file"]), by=by
            )
            added = log.commit(add_person_key.apply, command)
        self.stdout.write(f"Registered the key {added.key.fingerprint}.")
