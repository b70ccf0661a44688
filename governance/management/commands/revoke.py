"""``manage.py revoke``: a delegation, an agent's key or a person's key."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import log
from governance import console
from governance.actions import revoke_delegation, revoke_key, revoke_person_key
from governance.models import PersonKey
from imprimatur.formats.digests import is_digest


class Command(BaseCommand):
    help = "Revoke a delegation (sha256:…), an agent's key (its thumbprint) or a person's key (its fingerprint)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what")
        parser.add_argument("--reason", required=True, help="goes into the log")
        parser.add_argument("--since", help="for keys: from when what they signed is dead; now, if left out")
        parser.add_argument("--stolen", action="store_true", help="for a person's key: say so in the log")
        parser.add_argument("--by", metavar="LOGIN", help="who decided it; otherwise the log names the console")

    def handle(self, *args: Any, **options: Any) -> None:
        what, reason = options["what"], options["reason"]
        since = console.time_given(options["since"])
        with console.refusals():
            by = console.person_called(options["by"]) if options["by"] else None
            if is_digest(what):
                if since is not None:
                    raise CommandError("A delegation is revoked from now on; --since is for keys.")
                result = log.commit(revoke_delegation.apply, revoke_delegation.Command(what, by, reason))
                self.stdout.write("Revoked." if result.entry else "It was revoked before. Nothing was changed.")
            elif PersonKey.objects.filter(pk=what).exists():
                command = revoke_person_key.Command(what, reason, since=since, by=by, stolen=options["stolen"])
                log.commit(revoke_person_key.apply, command)
                self.stdout.write("Revoked the key, and what it signed from that time on.")
            else:
                log.commit(revoke_key.apply, revoke_key.Command(what, reason, since=since, by=by))
                self.stdout.write("Revoked the key, and what it signed from that time on.")
