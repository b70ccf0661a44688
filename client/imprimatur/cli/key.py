"""``imprimatur key enrol``: have an SSH key of one's own sign decisions, with a one-time code from the desk."""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imprimatur.cli import desk, reading, ssh
from imprimatur.cli.desk import Reviewer
from imprimatur.cli.reading import Mismatch
from imprimatur.cli.say import DONE, REFUSED, agree, complain, say
from imprimatur.client import config
from imprimatur.errors import APIError, ConfigError
from imprimatur.formats import keys, signing, sshsig
from imprimatur.formats.canonical import CanonicalError
from imprimatur.formats.shapes import ShapeError
from imprimatur.formats.timestamps import parse_time


def add(commands: Any) -> None:
    """Declare the command."""
    key = commands.add_parser("key", help="your own signing key")
    inner = key.add_subparsers(dest="step", metavar="STEP", required=True)
    command = inner.add_parser(
        "enrol",
        help="enrol your SSH key with a code from the desk",
        description="The whole command stands at the desk under Your keys. The secret half stays on this machine.",
    )
    command.add_argument("--server", "--url", metavar="URL", required=True, help="the desk")
    command.add_argument("--person", metavar="pe_…", required=True, help="you: your person id")
    command.add_argument("--code", required=True, help="the one-time code from Your keys, good for 15 minutes")
    command.add_argument("--key", type=Path, default=Path(desk.DEFAULT_KEY), help=f"default: {desk.DEFAULT_KEY}")
    command.add_argument("--label", default=None, help="what you call the key; default: this machine's name")
    command.add_argument("--realm", help="the installation's name, if you know it already")
    command.add_argument("--trust", metavar="FILE", help=f"trust file that pins it; or {config.TRUST}")
    command.add_argument("--yes", action="store_true", help="do not ask before signing")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Name the key, check what it is to sign, sign it, and say what the person compares with whoever vouches."""
    server = config.check_origin(options.server)
    path = options.key.expanduser()
    public = ssh.public_key(path)
    label = " ".join((options.label or platform.node() or "terminal").split())[:80]
    pinned = desk.pinned_realm(options)
    if not options.yes and not sys.stdin.isatty():
        complain("Nothing was signed. Answer yes at the terminal, or pass --yes.")
        return REFUSED
    if options.yes and pinned is None:
        raise ConfigError("Nobody is asked, so say which installation this is: --realm or --trust.")
    try:
        begun = desk.post(
            server,
            "/terminal/key",
            {"person": options.person, "line": public.line, "label": label, "code": options.code},
        )
        raw, document = check(begun, public, options.person, label, pinned)
        say("installation", document["realm"])
        say("person", document["person"])
        say("key", f"{label} ({public.type})")
        say("fingerprint", by_four(public.fingerprint))
        if not options.yes and not agree("Is this your desk, and is this you?"):
            complain("Nothing was signed. The code is used up: make a new one under Your keys.")
            return REFUSED
        value = ssh.sign(raw, path, signing.ssh_namespace(signing.ENROLMENT), public)["value"]
    except KeyboardInterrupt:
        complain("Stopped. No key was enrolled. The code may be used up: make a new one under Your keys.")
        return REFUSED
    done = desk.post(server, "/terminal/key/enrol", {"ceremony": begun["ceremony"], "value": value})
    if done.get("key") != public.fingerprint:
        raise APIError("The server wrote down another key than yours. Tell an admin before anybody vouches for it.")
    noted = desk.write_note(Reviewer(server, document["realm"], options.person, path, public))
    say("enrolled", "it does not count yet: somebody has to vouch for it")
    say("next", "read the fingerprint to somebody who holds a signing key here and knows your face or voice. They")
    say("", "compare all of it and vouch under People at the desk. If nobody holds a key yet, an admin puts in force")
    say("", "their own first one.")
    if noted is not None:
        say("noted", f"{noted}; from now on: imprimatur approve act_…")
    else:
        say("not noted", f"{desk.note_path()} is about another installation; pass --server, --realm and --person")
    return DONE


def check(
    begun: dict[str, Any], public: sshsig.SshKey, person: str, label: str, realm: str | None
) -> tuple[bytes, dict[str, Any]]:
    """The statement that enrols this key, and no other, for this person. Raises Mismatch."""
    raw = str(begun.get("statement", "")).encode("utf-8", "replace")
    try:
        document = signing.parse(raw, signing.ENROLMENT)
    except (CanonicalError, ShapeError) as error:
        raise Mismatch(f"What the server asks to sign enrols no key: {error}.") from None
    expected = {
        "realm": document["realm"] if realm is None else realm,
        "person": person,
        "kind": signing.SSH,
        "key": public.fingerprint,
        "thumbprint": keys.thumbprint(public.public_key),
        "public_key": public.line,
        "label": label,
        "device_bound": public.type == sshsig.SK_ED25519,
    }
    for name, value in expected.items():
        if document[name] != value:
            raise Mismatch(f"It asks to sign as {name.replace('_', ' ')} {document[name]}, and it should be {value}.")
    now = datetime.now(UTC)
    if parse_time(document["issued_at"]) > now + reading.SKEW or parse_time(document["expires_at"]) < now:
        raise Mismatch("It asks to sign for another time. Compare this machine's clock with the server's.")
    if not isinstance(begun.get("ceremony"), str):
        raise Mismatch("The server's answer cannot be read. Is it of another version?")
    return raw, document


def by_four(text: str) -> str:
    """A long value in groups of four, as the desk shows it to whoever compares."""
    name, colon, value = text.rpartition(":")
    return f"{name}{colon}" + " ".join(value[at : at + 4] for at in range(0, len(value), 4))
