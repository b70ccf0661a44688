"""``manage.py log_restart``: begin a new log, under a new realm, that says which log it continues."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from audit import publisher
from audit.models import LogHead
from governance.management.commands import begin
from imprimatur.formats import note
from imprimatur.formats.checkpoint import Checkpoint, open_checkpoint

LONGEST = 16_384  # characters of the old checkpoint with its cosignatures


class Command(begin.Command):
    help = (
        "Where a log cannot go on (its key leaked, its end is lost): begin a new one in a new, empty data folder, "
        "under a new realm. Entry 0 holds the old log's last checkpoint. Everybody enrols anew."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--from", dest="old", required=True, metavar="PATH", help="the old data folder, or its log/checkpoint"
        )
        parser.add_argument(
            "--old-vkey", required=True, metavar="VKEY", help="the old log key, from the old trust.json"
        )
        parser.add_argument("--reason", required=True, help="why the old log ends; goes into entry 0")

    def handle(self, *args: Any, **options: Any) -> None:
        if LogHead.objects.exists() or publisher.mark_path().exists():
            raise CommandError(
                "This installation has a log. A new one begins in a new, empty data folder (IMPRIMATUR_DATA) and "
                "database; the old folder stays as it is."
            )
        signed = _read(Path(options["old"]))
        old = _opened(signed, options["old_vkey"])
        if options["realm"] == old.origin or old.origin == settings.REALM:
            raise CommandError(
                f"{old.origin} is the realm of the old log. Give the new one a realm of its own (IMPRIMATUR_REALM): "
                "nothing signed for the old one may count in it."
            )
        continues = {"log_vkey": options["old_vkey"], "checkpoint": signed, "reason": options["reason"]}
        self.start(options, continues)
        if not options["json"]:
            self.stdout.write(
                f"Entry 0 says that this log continues {old.origin}, of {old.size} entries, root {old.root.hex()}. "
                "Keep the old folder, a bundle of the whole old log and its trust.json, and give the old checkpoint to "
                "the witnesses and auditors of the new log."
            )


def _read(path: Path) -> str:
    file = path / "log" / publisher.CHECKPOINT if path.is_dir() else path
    try:
        signed = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CommandError(f"The old log's last checkpoint {file} cannot be read: {error}") from error
    if len(signed) > LONGEST:
        raise CommandError(f"{file} is too long for a checkpoint.")
    return signed


def _opened(signed: str, vkey: str) -> Checkpoint:
    try:
        found, _ = open_checkpoint(signed, [note.Vkey.parse(vkey)])
    except ValueError as error:
        raise CommandError(f"The old log's last checkpoint does not hold under this key: {error}") from error
    if not found.size:
        raise CommandError("The old log has no entry: there is nothing to continue.")
    return found
