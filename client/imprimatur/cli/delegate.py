"""``imprimatur delegate``: a person gives an agent authority, signed with their own SSH key on their own machine."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from imprimatur.cli import ssh
from imprimatur.cli.say import DONE, REFUSED, agree, complain, say
from imprimatur.client import answers, config
from imprimatur.client.base import answer, may_leave
from imprimatur.errors import ConfigError, ServerError
from imprimatur.formats import canonical, delegation
from imprimatur.formats.digests import fingerprint
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import money, scope

_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("delegate", help="give an agent authority, signed with your SSH key")
    command.add_argument("--issuer", required=True, metavar="pe_…", help="you: your person id")
    command.add_argument("--to", required=True, metavar="ag_…", help="the agent")
    command.add_argument("--realm", help="the installation; or --trust, or IMPRIMATUR_TRUST")
    command.add_argument("--trust", help="trust file to take the realm from")
    command.add_argument(
        "--scope", required=True, action="append", help="domain:verb[:resource], a permission or a preset; repeat"
    )
    command.add_argument("--spend", metavar="150.00", help="limit; without it the agent spends nothing")
    command.add_argument("--unit", default="USD")
    command.add_argument("--per-action", metavar="50.00", help="limit of a single action")
    command.add_argument("--path", action="append", help="constraint: only below this path; repeat")
    command.add_argument("--domain", action="append", help="constraint: only this domain; repeat")
    command.add_argument("--max-file-size", type=int, metavar="BYTES")
    command.add_argument("--tool", action="append", help="constraint: only this tool; repeat")
    command.add_argument("--starts", metavar="TIME", help="default: now")
    command.add_argument("--expires", required=True, metavar="2h", help="30m, 2h, 7d, or a time")
    command.add_argument("--max-depth", type=int, default=0, help="how many times it may be passed on; default 0")
    command.add_argument("--on-behalf-of", metavar="pe_…", help="for whom it acts; they can then never approve it")
    command.add_argument("--purpose", help="one sentence for whoever reads it later")
    command.add_argument("--key", required=True, type=Path, help="your SSH key, or its .pub with the key in ssh-agent")
    command.add_argument("--out", type=Path, help="default: delegation-<id>.json")
    command.add_argument("--submit", metavar="URL", help="send it to this server as well")
    command.add_argument("--yes", action="store_true", help="do not ask before signing")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Show exactly what will be signed, sign it, write it, and send it if asked."""
    document = build(options)
    raw = canonical.dumps(document)
    show(document)
    if not options.yes and not (sys.stdin.isatty() and agree("Sign this?")):
        complain("Nothing was signed. Answer yes at the terminal, or pass --yes.")
        return REFUSED
    signature = ssh.sign(raw, options.key, delegation.SSH_NAMESPACE)
    identifier = delegation.delegation_id(document)
    path = options.out or Path(f"delegation-{identifier[7:19]}.json")
    write(path, {"document": document, "signature": signature})
    say("delegation", f"{identifier}")
    say("written", f"{path}")
    if options.submit:
        submit(config.check_origin(options.submit), document, signature)
        say("accepted", f"{options.submit}")
    say("next", f"on the agent's side: export IMPRIMATUR_DELEGATION={identifier}")
    return DONE


def build(options: argparse.Namespace, now: datetime | None = None) -> dict[str, Any]:
    """The document these options describe, checked. Raises ConfigError."""
    start = parse_moment(options.starts, now or datetime.now(UTC)) if options.starts else now or datetime.now(UTC)
    try:
        document: dict[str, Any] = {
            "typ": delegation.TYP,
            "realm": realm_of(options),
            "issuer": options.issuer,
            "subject": options.to,
            "scope": scope.expand(options.scope),
            "not_before": format_time(start),
            "not_after": format_time(parse_moment(options.expires, start)),
            "max_depth": options.max_depth,
            "nonce": secrets.token_urlsafe(18),
        }
        if options.spend is not None:
            document["spend"] = {"unit": money.check_unit(options.unit), "limit": amount(options.spend)}
            if options.per_action is not None:
                document["spend"]["per_action"] = amount(options.per_action)
        elif options.per_action is not None:
            raise ConfigError("--per-action needs --spend, the limit of all actions together.")
        limits = {
            "paths": options.path,
            "domains": options.domain,
            "max_file_size": options.max_file_size,
            "tools": options.tool,
        }
        constraints = {name: value for name, value in limits.items() if value is not None}
        more = {
            "constraints": constraints or None,
            "on_behalf_of": options.on_behalf_of,
            "purpose": options.purpose,
        }
        document.update({name: value for name, value in more.items() if value is not None})
        delegation.validate(document)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"This delegation cannot be written: {error}") from None
    return document


def show(document: dict[str, Any]) -> None:
    """Every field that is signed, then the exact bytes."""
    say("You are about to sign:")
    labels = {"not_before": "from", "not_after": "until", "max_depth": "passed on"}
    for name in sorted(document):
        value, label = document[name], labels.get(name, name)
        if isinstance(value, list):
            for item in value:
                _line(label, item)
        elif isinstance(value, dict):
            for inner in sorted(value):
                _line(f"{label} {inner}", value[inner] if isinstance(value[inner], str) else json.dumps(value[inner]))
        else:
            _line(label, "never" if name == "max_depth" and value == 0 else str(value))
    if "spend" not in document:
        _line("spend", "nothing")
    _line("fingerprint", fingerprint(delegation.delegation_id(document)))
    _line("bytes", canonical.dumps(document).decode("utf-8"))


def _line(label: str, text: str) -> None:
    say(f"  {label}", text, width=22)


def submit(origin: str, document: dict[str, Any], signature: dict[str, str]) -> None:
    """Hand the signed document in; the signature is the authority. Raises APIError."""
    body = canonical.dumps({"document": document, "signature": signature})
    try:
        reply = httpx2.post(
            f"{origin}/delegations/signed",
            content=body,
            headers={"content-type": "application/json", "accept": "application/json"},
            timeout=30.0,
            follow_redirects=False,
            trust_env=may_leave(origin),
        )
    except httpx2.RequestError:
        raise ServerError(
            f"There was no answer from {origin}. The file is written; send it again later.", code="unavailable"
        ) from None
    if not 200 <= reply.status_code < 300:
        raise answers.failure(answer(reply))


def write(path: Path, document: dict[str, Any]) -> None:
    """A new file; never overwrites. Raises ConfigError."""
    try:
        with path.open("xb") as file:
            file.write(canonical.dumps(document) + b"\n")
    except FileExistsError:
        raise ConfigError(f"{path} exists already; give another path with --out.") from None


def realm_of(options: argparse.Namespace) -> str:
    """The realm from --realm, or from a trust file."""
    if options.realm:
        return str(options.realm)
    path = options.trust or os.environ.get(config.TRUST)
    if not path:
        raise ConfigError("Say which installation this is for: --realm, or --trust with the pinned trust file.")
    return config.load_trust(path).realm


def amount(text: str) -> str:
    """The canonical spelling of an amount."""
    return money.format_amount(money.read_amount(text))


def parse_moment(text: str, start: datetime) -> datetime:
    """``2h`` after ``start``, or a time. Raises ConfigError."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return start + timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        return parse_time(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write 30m, 2h, 7d, or a time like 2030-01-31T12:00:00.000Z.") from None
