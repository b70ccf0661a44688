"""``manage.py begin``: once, at the beginning of an installation."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from governance import begin, console
from governance.models import ADMIN
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY
from imprimatur.rules.tools import DEFAULT_TOOLS

NEXT = """Next:
  1. Sign in, choose a password, and enrol a passkey under Your keys. The first one counts at once.
  2. Add two reviewers under People, and have each enrol a key. You vouch for the first, who vouches for the second.
  3. Invite an agent, and sign what it may do."""


class Command(BaseCommand):
    help = "Make the keys, begin the log, add the first admin, the default tools and a policy. Safe to run again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--realm", default=settings.REALM, help="the name of this installation, for ever")
        parser.add_argument("--admin", default="admin", metavar="LOGIN", help="login of the first admin")
        parser.add_argument("--name", default="", help="name of the first admin")
        parser.add_argument("--email", default="", help="where mail for the first admin goes")
        parser.add_argument(
            "--demo-policy",
            action="store_true",
            help="let a click in a session approve (assurance H0); only for trying things out",
        )
        parser.add_argument("--json", action="store_true", help="print the result for a program")

    def handle(self, *args: Any, **options: Any) -> None:
        self.start(options)

    def start(self, options: Mapping[str, Any], continues: Mapping[str, str] | None = None) -> None:
        """Begin as the options say; ``continues`` is the end of another realm's log, for entry 0."""
        policy = DEMO_POLICY if options["demo_policy"] else DEFAULT_POLICY
        first = begin.Newcomer(options["admin"], (ADMIN,), name=options["name"], email=options["email"])
        with console.refusals():
            begun = begin.begin_installation([first], options["realm"], policy, list(DEFAULT_TOOLS.values()), continues)
        if options["json"]:
            self.stdout.write(
                json.dumps({"fresh": begun.fresh, "realm": begun.realm, "passwords": dict(begun.passwords)})
            )
        elif begun.fresh:
            self._report(begun, options["demo_policy"])
        else:
            self.stdout.write(f"The realm {begun.realm} has begun already. Nothing was changed.")

    def _report(self, begun: begin.Begun, demo: bool) -> None:
        self.stdout.write(f"The realm {begun.realm} has begun.")
        for login, password in begun.passwords.items():
            self.stdout.write(f"First admin: {login}\nOne-time password: {password}")
        self.stdout.write("It is shown only now, and has to be changed at the first login.")
        self.stdout.write(NEXT)
        if demo:
            self.stdout.write("The demonstration policy is active: a click approves. Activate another before real use.")
        for warning in begun.warnings:
            self.stdout.write(f"Still to do: {warning}")
