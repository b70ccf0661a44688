"""``imprimatur approve | confirm | deny | review``: answer a request in a terminal, with one's own SSH key.

The card is made here from the bytes that are bound, never taken from the server; what is signed must match it to the
last field. That makes it the answer to a desk whose pages lie. Only then is the person asked, and only then is anything
signed; until the signature is sent, nothing has happened.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from imprimatur import cards
from imprimatur.cli import desk, reading, ssh
from imprimatur.cli.desk import Reviewer
from imprimatur.cli.reading import Asked, Seen
from imprimatur.cli.say import DONE, REFUSED, agree, complain, say, typed
from imprimatur.errors import APIError, ConfigError, ConflictError, ServerError
from imprimatur.formats import digests, merkle, signing, statement
from imprimatur.formats.encoding import b64u
from imprimatur.formats.ids import is_id
from imprimatur.formats.timestamps import format_time
from imprimatur.inert import inert
from imprimatur.rules.risk import Risk

READ_LIFE = timedelta(seconds=120)
SPARE = 20
"""Seconds a statement must still be good for when it is signed; otherwise it is fetched and compared again."""
LONGEST_REASON = 10_000

_HELP = {
    "approve": "answer yes to a request, signed with your SSH key",
    "confirm": "give the second answer on a CRITICAL request, signed with your SSH key",
    "deny": "answer no to a request, signed with your SSH key",
    "review": "read a request in the terminal, and answer nothing",
}
_SAID = {"approve": "approved", "confirm": "confirmed", "deny": "denied"}


def add(commands: Any) -> None:
    """Declare the commands."""
    for name, words in _HELP.items():
        command = commands.add_parser(
            name,
            help=words,
            description="The card is rendered here and compared with what is signed. If they differ, nothing is signed "
            "and the exit status is 5.",
        )
        command.add_argument("request", metavar="act_…", help="the request's id, or the address of its page")
        desk.add_options(command)
        command.add_argument("--json", action="store_true", help="the result as JSON on standard output")
        if name != "review":
            command.add_argument(
                "--reason", default="", help="why, for the log" + (" (needed)" if name == "deny" else "")
            )
        if name in reading.ALLOWING:
            command.add_argument(
                "--yes", action="store_true", help="do not ask before signing; the card is shown anyway"
            )
        if name == "confirm":
            command.add_argument("--typed", metavar="TARGET", help="the target's name, as the card shows it")
        command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Read, compare, show, ask, sign, send. Nothing is signed unless all of it holds together."""
    allowing = options.command in reading.ALLOWING
    reason = getattr(options, "reason", "").strip()
    if options.command == "deny" and not reason:
        raise ConfigError("Say why with --reason: whoever asked reads it, and the log keeps it.")
    if len(reason) > LONGEST_REASON:
        raise ConfigError(f"--reason has at most {LONGEST_REASON} characters. Say it in fewer.")
    if allowing and not options.yes and not sys.stdin.isatty():
        complain("Nothing was signed. Answer yes at the terminal, or pass --yes.")
        return REFUSED
    if options.command == "confirm" and options.typed is None and not sys.stdin.isatty():
        raise ConfigError("A confirmation needs the target's name, typed at the terminal or given with --typed.")
    me = desk.reviewer(options)
    # A denial is what most people may give, so it is what opens a card that is only read.
    decision = "deny" if options.command == "review" else options.command
    asked = Asked(me.realm, request_id(options.request, me.server), decision, me.person, me.key.fingerprint, reason)
    tell = sys.stderr if options.json else sys.stdout
    try:
        seen, fetched = fetch(me, asked)
        show(seen, me, asked, lambda label="", text="": say(label, text, file=tell), tell.write)
        if options.command == "review":
            return _finish(options, {"request": asked.request, "state": seen.state}, seen)
        name = _typed(options, seen)
        if allowing and not options.yes and not agree(f"Sign that you {options.command} this?"):
            complain("Nothing was signed, and nothing sent. Silence denies.")
            return REFUSED
        if time.monotonic() - fetched > seen.life.total_seconds() - SPARE:
            seen = _again(me, asked, seen)
        value = ssh.sign(seen.raw, me.path, statement.SSH_NAMESPACE, me.key)["value"]
    except KeyboardInterrupt:
        complain("Stopped. No answer was sent, and silence denies.")
        return REFUSED
    return _finish(options, send(me, asked, seen, value, name), seen)


def request_id(given: str, server: str) -> str:
    """The id, from itself or from the address of the request's page on this server. Raises ConfigError."""
    if is_id("act", given):
        return given
    parts = urlsplit(given)
    steps = [step for step in parts.path.split("/") if step]
    if parts.scheme and len(steps) >= 2 and steps[0] == "requests" and is_id("act", steps[1]):
        if f"{parts.scheme}://{parts.netloc}" != server:
            raise ConfigError(f"This address is not on {server}. Give the id alone if it is the same desk.")
        return steps[1]
    raise ConfigError("Give the request's id (act_ and 26 characters), or the address of its page.")


def fetch(me: Reviewer, asked: Asked) -> tuple[Seen, float]:
    """Ask to read the request, signed; rebuild and compare what comes back. With the moment it was asked for.

    Raises Mismatch, APIError, ConfigError.
    """
    now = datetime.now(UTC)
    document = {
        "typ": signing.READ,
        "realm": me.realm,
        "person": me.person,
        "credential": me.key.fingerprint,
        "request": asked.request,
        "log_size": 0,  # this client follows no log: it has seen nothing of it
        "log_root": f"sha256:{merkle.EMPTY_ROOT.hex()}",
        "nonce": b64u(secrets.token_bytes(16)),
        "issued_at": format_time(now),
        "expires_at": format_time(now + READ_LIFE),
    }
    raw = signing.encode(document)
    body: dict[str, Any] = {
        "statement": raw.decode("utf-8"),
        "evidence": ssh.sign(raw, me.path, signing.ssh_namespace(signing.READ), me.key),
        "decision": asked.decision,
    }
    if asked.reason:
        body["reason"] = asked.reason
    began = time.monotonic()
    found = desk.post(me.server, "/terminal/card", body)
    return reading.read(found, asked, datetime.now(UTC)), began


def show(seen: Seen, me: Reviewer, asked: Asked, line: Callable[..., None], write: Callable[[str], Any]) -> None:
    """The request as this client makes it: what will happen, then who says what, then what can be compared."""
    line("request", f"{asked.request} in {me.realm}")
    line("agent", f"{seen.agent} ({seen.binding['agent']})")
    if seen.on_behalf_of:
        line("on behalf of", seen.on_behalf_of)
    line("risk", f"{seen.risk}, {seen.reversibility}")
    for number, stage in enumerate(seen.stages):
        here = " (your answer)" if number == seen.stage and asked.decision in reading.ALLOWING else ""
        line("needs" if not number else "then", f"{stage['count']} {stage['role']} to {stage['kind']}{here}")
    # The card's own text is visible already; escaping it twice would change it.
    write(
        "\nWhat will happen\n\n"
        + "".join(f"  {text}\n" for text in cards.as_text(seen.card).rstrip("\n").split("\n"))
        + "\n"
    )
    if not seen.known:
        line("WARNING", "the registry does not know this tool: all of this is the agent's own claim")
    for name in seen.card.withheld:
        loud = "WITHHELD, and CRITICAL" if Risk(seen.risk) is Risk.CRITICAL else "WITHHELD"
        line("WARNING", f"{loud}: nobody at this desk can see {name}. You would answer for it unseen")
    if seen.justification is not None:
        write("The agent says, in its own words\n\n")
        words = inert(seen.justification, "terminal", lines=True)
        write("".join(f"  | {text}\n" for text in words.split("\n")) + "\n")
    for vote in seen.earlier:
        why = f": {vote.reason}" if vote.reason else ""
        # Its words are compared, its signature is not here: how sure it is, the desk says.
        sure = f"{vote.assurance} by the desk's word"
        line("before you", f"{vote.name} ({vote.person}), {vote.decision}, {sure}, {vote.at}{why}")
    if seen.builds_on is not None:
        line("builds on", f"the answer of {seen.builds_on.name}")
    if asked.reason:
        line("your reason", asked.reason)
    line("fingerprint", f"{digests.fingerprint(seen.action_digest)}, as the desk shows it for this action")
    line("time left", _left(seen.expires_at - datetime.now(UTC)))
    line("key", f"{me.key.fingerprint} of {me.person}")


def send(me: Reviewer, asked: Asked, seen: Seen, value: str, name: str | None) -> dict[str, Any]:
    """Hand the signature in. Raises APIError; when the answer to it was lost, says how to find out."""
    body = {"ceremony": seen.ceremony, "value": value, **({} if name is None else {"typed": name})}
    try:
        found = desk.post(me.server, "/terminal/answer", body)
    except (ServerError, KeyboardInterrupt) as error:
        if isinstance(error, APIError) and error.status and error.code != "unknown-answer":
            raise
        raise ServerError(
            "Your answer was signed and sent, and it is not known whether it arrived. Look with: imprimatur review "
            f"{asked.request}",
            code="unavailable",
        ) from None
    known = isinstance(found.get("state"), str) and type(found.get("vote")) is int
    if not known or found.get("request") != asked.request:
        raise ServerError(f"The server answered about something else. Look with: imprimatur review {asked.request}")
    return found


def _again(me: Reviewer, asked: Asked, before: Seen) -> Seen:
    """A fresh statement for whoever read slowly, if everything they read still stands exactly so. Raises APIError."""
    seen, _ = fetch(me, asked)
    if seen != before:
        raise ConflictError("The request changed while you were reading it. Nothing was signed: read it again.")
    return seen


def _typed(options: argparse.Namespace, seen: Seen) -> str | None:
    """The target's name, for a confirmation. Raises ConfigError when it is another."""
    if options.command != "confirm":
        return None
    name: str = typed("Type the target's name, exactly as shown:") if options.typed is None else options.typed
    if name != seen.card.target:
        raise ConfigError("What you typed is not the name of the target. Nothing was signed: read the card again.")
    return name


def _finish(options: argparse.Namespace, found: dict[str, Any], seen: Seen) -> int:
    if options.json:
        result = {
            "request": found["request"],
            "state": found["state"],
            "decision": None if options.command == "review" else options.command,
            "vote": found.get("vote"),
            "action_digest": seen.action_digest,
            "display_digest": cards.display_digest(seen.card),
            "withheld": list(seen.card.withheld),
        }
        print(json.dumps(result, ensure_ascii=True), flush=True)
        return DONE
    if options.command != "review":
        say(_SAID[options.command], f"{found['request']}")
        say("log entry", f"{found.get('vote')}")
    say("state", f"{found['state']}")
    return DONE


def _left(left: timedelta) -> str:
    seconds = int(left.total_seconds())
    if seconds <= 0:
        return "none, by this machine's clock"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s, then it is denied"
