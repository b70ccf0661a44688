"""`manage.py publish`: the publisher as a process of its own, with a database role and the log's key for itself."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from audit import publisher, roles, witnesses
from audit.errors import LogUnguarded
from server import checks


class Command(BaseCommand):
    help = "Publish the log: tiles, signed checkpoints, cosignatures. Until SIGTERM. Needs IMPRIMATUR_PUBLISHER=apart."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PUBLISHER != roles.APART:
            raise CommandError(
                "The web process publishes here. Set IMPRIMATUR_PUBLISHER=apart for both processes, then try again."
            )
        try:
            checks.assert_known_schema()
            checks.assert_durable(publishing=True)
            checks.assert_keys_apart(publishing=True)
        except (ImproperlyConfigured, LogUnguarded) as error:
            raise CommandError(str(error)) from error
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        asking = witnesses.Client(publisher.read_tile, publisher.kick)
        asking.start()
        publishing = publisher.Publisher(asking=asking)
        publishing.start()
        self.stdout.write("Publishing.")
        self.stdout.flush()
        ended.wait()
        publishing.stop()
        asking.stop()
