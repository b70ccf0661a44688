"""`manage.py trust`: the trust anchors of this installation, for whoever verifies it from outside."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.errors import LogError, NotPublished
from audit.evidence import anchors


class Command(BaseCommand):
    help = "Print trust.json. Hand it over in person, or compare it over another way: it is what auditors believe."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            document = anchors.document()
        except NotPublished as error:
            raise CommandError("Nothing has been published yet. Start the server once, then ask again.") from error
        except LogError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
