"""`manage.py audit_fsck`: derive everything again from the entries, and say where what is stored differs."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit import fsck
from audit.models import LogHead

BETWEEN = 5.0  # seconds between two lines about progress


class Command(BaseCommand):
    help = "Check the whole log: entries, rules, tiles, checkpoints, marks, openings, rows. Ends with 1 if any differ."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quick", action="store_true", help="hashes, files and marks; no signatures, rules, rows")
        parser.add_argument("--json", action="store_true", help="the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        head = LogHead.objects.first()
        if head is not None and head.realm != settings.REALM:
            raise CommandError(
                f"This database holds the log of {head.realm}, and the settings are those of {settings.REALM}. "
                f"Nothing was checked. Set IMPRIMATUR_REALM={head.realm}, and IMPRIMATUR_DATA to its folder."
            )
        told = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= BETWEEN:
                told = time.monotonic()
                self.stderr.write(f"{done} of {total} entries")

        result = fsck.run(quick=options["quick"], progress=progress)
        if options["json"]:
            self.stdout.write(json.dumps(result.as_dict(), indent=2, ensure_ascii=False))
        else:
            self._tell(result)
        if not result.good:
            many = "difference" if result.count == 1 else "differences"
            raise CommandError(
                f"{result.count} {many}. Change nothing, take a copy of everything, and compare it with a "
                "checkpoint and a bundle that somebody else holds."
            )

    def _tell(self, result: fsck.Result) -> None:
        for finding in result.findings:
            self.stdout.write(f"{finding.where}: {finding.what}")
        if result.count > len(result.findings):
            self.stdout.write(f"and {result.count - len(result.findings)} more")
        what = "hashes, files and marks" if result.quick else "signatures, rules, hashes, files, openings and rows"
        self.stdout.write(
            f"{result.size} entries ({result.published} published), {result.checkpoints} checkpoints, "
            f"{result.openings} openings, {result.seconds:.1f} s. "
            + (f"All agree: {what}." if result.good else f"Compared: {what}.")
        )
