"""`manage.py trust`: the trust anchors of this installation, for whoever verifies it from outside."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.errors import LogError, NotPublished
from audit.evidence import anchors


class Command(BaseCommand):
    help = "Print trust.json. Hand it over in person, or compare it over another way: it is what auditors believe."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tlog-policy", action="store_true", help="print policy.tlog (C2SP) instead: log, witnesses, quorum"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["tlog_policy"]:
                self.stdout.write(anchors.policy(), ending="")
                return
            document = anchors.document()
        except NotPublished as error:
            raise CommandError("Nothing has been published yet. Start the server once, then ask again.") from error
        except LogError as error:
            raise CommandError(str(error)) from error
        if "origins" in document:
            # From the environment, unlike the rest: people who sign on other pages would not be believed.
            self.stderr.write(f"People sign on {', '.join(document['origins'])} (IMPRIMATUR_ORIGINS): is that so?")
        self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
