"""`manage.py provenance`: what this installation is made of, and whether its builder says the same."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from imprimatur import durable
from imprimatur.formats import pem
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair
from server import build_statement, provenance


class Command(BaseCommand):
    help = (
        "Measure sources, packages and settings, as every start of the server does. With --statement: exit 0 when the "
        "builder's statement holds for the sources that are here, 1 when it does not, 2 when nobody can tell."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--statement", type=Path, metavar="FILE", help="a SLSA provenance statement (DSSE)")
        parser.add_argument("--key", type=Path, metavar="BUILDER.pub", help="the builder's Ed25519 key (PEM)")
        parser.add_argument("--sign", type=Path, metavar="KEY", help="as the builder: sign with this key file")
        parser.add_argument("--builder", default="", metavar="URI", help="with --sign: what names the builder")
        parser.add_argument("--out", type=Path, metavar="FILE", help="with --sign: the new file")

    def handle(self, *args: Any, **options: Any) -> None:
        root = Path(settings.BASE_DIR)
        try:
            if options["sign"]:
                self._sign(root, options)
            elif options["statement"] or options["key"]:
                sys.exit(self._verify(root, options))
            else:
                measured = provenance.measure()
                self.stdout.write(json.dumps(measured.body("console"), indent=2, sort_keys=True))
                if measured.packages.wrong:
                    sys.exit(1)
        except provenance.CannotMeasure as error:
            raise CommandError(str(error), returncode=2) from error

    def _verify(self, root: Path, options: dict[str, Any]) -> int:
        if not options["statement"] or not options["key"]:
            raise CommandError("Give both --statement and --key: one says nothing alone.", returncode=2)
        try:
            held = build_statement.verify(
                build_statement.read(options["statement"]),
                build_statement.public_key(options["key"]),
                tree=provenance.tree_digest(root),
                lock=_lock(root),
            )
        except build_statement.DoesNotHold as error:
            self.stderr.write(f"DOES NOT HOLD: {error}")
            return 1
        except build_statement.CannotTell as error:
            self.stderr.write(f"CANNOT TELL: {error}")
            return 2
        self.stdout.write(f"HOLDS: {held.builder} built these sources. Statement {held.statement}")
        return 0

    def _sign(self, root: Path, options: dict[str, Any]) -> None:
        if not options["builder"] or not options["out"]:
            raise CommandError("--sign needs --builder URI and --out FILE.", returncode=2)
        try:
            key = KeyPair.load(options["sign"])
        except KeyFileError as error:
            raise CommandError(str(error), returncode=2) from error
        tree = provenance.tree_digest(root)
        raw = build_statement.sign(
            key,
            builder=options["builder"],
            tree=tree,
            commit=provenance.commit_of(root),
            lock=_lock(root),
        )
        try:
            durable.write_once(options["out"], raw + b"\n")
        except (OSError, durable.ContradictionError) as error:
            raise CommandError(f"{options['out']} was not written: {error}", returncode=2) from error
        self.stderr.write(f"Signed: the tree {tree}. The key that it holds by:")
        self.stdout.write(pem.public_pem(key.public_key), ending="")  # alone, so that it can be sent to a file


def _lock(root: Path) -> str:
    return (root / provenance.LOCK).read_text(encoding="utf-8")
