"""`manage.py log_recover`: bring back what a restored database lacks, and open a frozen log again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import recovery
from audit.errors import LogError, PublishRefused
from audit.models import LogHead

STILL = """The log is frozen: {reason}
It holds {size} entries. With --yes this command

1. brings back, from the published files, entries that were signed for and are missing from the database; they must
   give exactly the root that was signed. The log comes back with its keys and legal holds, and what was erased is
   erased again; what those entries did to agents, delegations and requests is not done again;
2. with --reopen as well, checks everything once more and opens the log.

Before you open it, find out why it was frozen. A frozen log is a finding: take a copy of the data folder first, and
read the entries that came back, revocations first. Nothing was changed."""


class Command(BaseCommand):
    help = "After a restored backup: bring back published entries that the database lacks, and open the frozen log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--yes", action="store_true", help="do it; without this nothing is changed")
        parser.add_argument("--reopen", action="store_true", help="open the log if everything fits together")

    def handle(self, *args: Any, **options: Any) -> None:
        head = LogHead.objects.first()
        if head is None:
            raise CommandError("This installation has no log yet. Run `manage.py begin` once.")
        if head.state == LogHead.OPEN:
            raise CommandError("The log is open: there is nothing to recover.")
        if not options["yes"]:
            self.stdout.write(STILL.format(reason=head.frozen_reason, size=head.size))
            return
        try:
            found = recovery.recover()
            self._tell(found)
            if options["reopen"]:
                recovery.reopen()
                head.refresh_from_db()
                if head.state != LogHead.OPEN:
                    raise PublishRefused(head.frozen_reason)
        except (LogError, PublishRefused) as error:
            raise CommandError(f"{error}. The log stays frozen.") from error
        if options["reopen"]:
            self.stdout.write("Everything fits together. The log is open.")
        else:
            self.stdout.write(
                "The log is still frozen. When you have read them: `manage.py log_recover --yes --reopen`."
            )

    def _tell(self, found: recovery.Recovered) -> None:
        if found.first == found.end:
            self.stdout.write("No entry was missing.")
            return
        last = found.end - 1
        span = f"entry {last}" if found.first == last else f"entries {found.first} to {last}"
        self.stdout.write(f"Brought back {span}. What they did outside the log has to be done again by hand.")
