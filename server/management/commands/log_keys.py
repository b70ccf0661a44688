"""``manage.py log_keys``: the keys that sign entries and checkpoints, and how others take their place."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import keyring, log, proofs, signer
from audit.actions import add_log_key, change_decision_key, retire_log_key
from audit.errors import LogError, LogNotBegun, NotPublished
from audit.models import LogHead
from imprimatur.formats import note
from imprimatur.formats.encoding import b64u
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import dsse_keyid

TELL_DECISION = """{name} is made and signs nothing yet. Before it does, hand a new trust.json to agents and
auditors, in which "decision" names it as well:

    {{"key": "{key}", "from": {size}}}

An agent that does not know the key runs nothing once it is in force. Then:

    manage.py log_keys use-decision {name} --reason "…"
"""
TELL_LOG = """{name} is made and signs nothing yet. Witnesses, mirrors and auditors may learn of it beforehand:

    {vkey}

Then have it sign beside the others with:

    manage.py log_keys use-log {name} --reason "…"
"""


class Command(BaseCommand):
    help = "Show the keys of the log, make further ones, put them in use, retire them. A running server follows."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
        commands.add_parser("list", help="which key signs what, from which entry to which")
        commands.add_parser("keep-public", help="write the public half beside every key, before a key is moved away")
        for what, words in (("new-decision", "signs entries"), ("new-log", "signs checkpoints")):
            made = commands.add_parser(what, help=f"make a key that {words}, and use it for nothing yet")
            made.add_argument(
                "--public",
                metavar="FILE",
                help="take this public key (PEM) instead: IMPRIMATUR_SIGNER has the other half",
            )
        for what, words in (
            ("use-decision", "sign every later entry with this key instead"),
            ("use-log", "sign checkpoints with this key as well"),
        ):
            used = commands.add_parser(what, help=words)
            used.add_argument("name", help="as new-… printed it")
            used.add_argument("--reason", required=True, help="goes into the log")
        retired = commands.add_parser("retire-log", help="sign no more checkpoints with this key")
        retired.add_argument("name", help="as list shows it")
        retired.add_argument("--reason", required=True, help="goes into the log")

    def handle(self, *args: Any, **options: Any) -> None:
        if not LogHead.objects.exists():
            raise CommandError(str(LogNotBegun()))
        try:
            if options["what"] == "list":
                self._list()
            elif options["what"] == "keep-public":
                for name in (*signer.names(signer.DECISION), *signer.names(signer.LOG)):
                    signer.keep_public(name)
                    self.stdout.write(f"{name}.pub")
            elif options["what"] in ("new-decision", "new-log"):
                self._new(options["what"].removeprefix("new-"), options["public"])
            elif options["what"] == "use-decision":
                self._use_decision(options["name"], options["reason"])
            elif options["what"] == "use-log":
                self._use_log(options["name"], options["reason"])
            else:
                self._retire(options["name"], options["reason"])
        except (LogError, KeyFileError) as error:
            raise CommandError(str(error)) from error

    def _list(self) -> None:
        ring = keyring.ring()
        known: set[str] = set()
        for decision in ring.decision:
            signs = f"entries {decision.first} to {'now' if decision.last is None else decision.last}"
            known.add(self._line(signer.DECISION, decision.public_key, signs))
        for each in ring.log:
            signs = f"checkpoints of {each.since + 1} entries to {'now' if each.until is None else each.until}"
            known.add(self._line(signer.LOG, each.vkey.public_key, signs))
        for role in (signer.DECISION, signer.LOG):
            for name in signer.names(role):
                if name not in known:
                    self.stdout.write(f"{name:<28}  nothing yet")

    def _line(self, role: str, public_key: bytes, signs: str) -> str:
        keyid = dsse_keyid(public_key)
        try:
            name, away = signer.name_of(role, keyid), ""
        except LogError:
            name, away = signer.later_name(role, keyid), "; it is not in the folder of keys"
        self.stdout.write(f"{name:<28}  {signs}{away}")
        return name

    def _new(self, role: str, public: str | None) -> None:
        if public is None:
            name = signer.make_later(role)
        else:
            try:
                name = signer.take_public(role, Path(public).read_text(encoding="ascii"))
            except (OSError, ValueError) as error:
                raise CommandError(f"{public} cannot be used: {error}") from error
        key = signer.public_key(name)
        if role == signer.DECISION:
            size = LogHead.objects.get().size
            self.stdout.write(TELL_DECISION.format(name=name, key=b64u(key), size=size), ending="")
        else:
            self.stdout.write(TELL_LOG.format(name=name, vkey=note.Vkey(LogHead.objects.get().realm, key)), ending="")

    def _named(self, role: str, name: str) -> signer.Signer:
        if name not in signer.names(role):
            raise CommandError(f"There is no {role} key called {name} in the folder of keys. `list` shows all.")
        return signer.load(name)

    def _use_decision(self, name: str, reason: str) -> None:
        new = self._named(signer.DECISION, name)
        before = keyring.in_force()
        old = signer.name_of(signer.DECISION, before.keyid)
        signer.keep_public(old)  # before the entry: it is needed as long as there is a log
        entry = log.commit(change_decision_key.apply, change_decision_key.Command(new, reason))
        self.stdout.write(
            f"Entry {entry.index} introduces {name}, which signs every later one. {old} signs nothing more: destroy "
            f"its private half ({old}.key) when the entry is published; {old}.pub stays. Hand out the new "
            "trust.json (`manage.py trust`)."
        )

    def _use_log(self, name: str, reason: str) -> None:
        new = self._named(signer.LOG, name)
        try:
            text = proofs.latest_checkpoint().note.partition("\n\n")[0] + "\n"
        except NotPublished as error:
            raise CommandError("Nothing has been published yet. Start the server once, then ask again.") from error
        # A key that cannot sign would stop the publisher, so it signs what it will sign anyway: the log as it is.
        new.sign(text.encode("utf-8"))
        entry = log.commit(add_log_key.apply, add_log_key.Command(new, reason))
        self.stdout.write(
            f"From entry {entry.index} on, checkpoints carry the signature of {name} as well. Hand out the new "
            "trust.json (`manage.py trust`) and give witnesses the new key, before you retire another."
        )

    def _retire(self, name: str, reason: str) -> None:
        if name not in signer.names(signer.LOG):
            raise CommandError(f"There is no log key called {name} in the folder of keys. `list` shows all.")
        vkey = note.Vkey(LogHead.objects.get().realm, signer.public_key(name)).format()
        signer.keep_public(name)
        entry = log.commit(retire_log_key.apply, retire_log_key.Command(vkey, reason))
        self.stdout.write(
            f"From entry {entry.index} on, {name} signs no checkpoint. Destroy its private half ({name}.key) when the "
            f"entry is published; {name}.pub stays. Hand out the new trust.json (`manage.py trust`)."
        )
