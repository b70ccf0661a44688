"""`manage.py sinks`: what the copies on other systems hold, and with `--check` everything read back from them now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from audit.sinks import standing
from audit.sinks.checking import check_all


class Command(BaseCommand):
    help = "List the sinks. With --check read everything back from them now; ends with 1 if one cannot, or differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="read back and compare everything that they hold")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            bad = self._check() if options["check"] else self._list()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if bad:
            raise CommandError(
                "Change nothing. Keep both copies as they are, and compare them with a checkpoint or a bundle that "
                "somebody else holds."
            )

    def _list(self) -> bool:
        found = standing()
        if not found:
            self.stdout.write("No sinks are set: IMPRIMATUR_SINKS names them.")
        for sink in found:
            read = (
                f"{sink.held} {'stated by it' if sink.own_word else 'read back'}" if sink.held_at else "none read back"
            )
            self.stdout.write(f"{sink.name}: {sink.sent} of {sink.published} sent, {read}. {sink.error}".rstrip())
        return any(sink.differs for sink in found)

    def _check(self) -> bool:
        bad = failed = False
        for result in check_all():
            self.stdout.write(f"{result.name}: {result.words}")
            bad, failed = bad or result.differs, failed or result.failed
        if failed and not bad:
            raise CommandError("What cannot be read back is not confirmed.")
        return bad
