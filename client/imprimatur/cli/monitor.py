"""``imprimatur monitor``: watch what really runs on this machine, and the server's log."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, REFUSED, complain, note, say
from imprimatur.cli.service import connection, opened
from imprimatur.cli.witness import address
from imprimatur.client.config import check_origin
from imprimatur.client.wire import API
from imprimatur.errors import APIError, ConfigError
from imprimatur.formats import attestation
from imprimatur.monitor.following import Follower
from imprimatur.monitor.observing import Monitor, Round
from imprimatur.monitor.own_log import OwnLog
from imprimatur.monitor.processes import Proc
from imprimatur.service.machine import node
from imprimatur.service.service import ForkError, Service, StatementRefused
from imprimatur.witness import mirror, server


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("monitor", help="watch what really runs on this machine, and the server's log")
    connection(command)
    command.add_argument("--service", type=Path, required=True, metavar="FOLDER", help="the monitor's folder")
    command.add_argument("--interval", type=_seconds, default=5.0, metavar="S", help="between two looks (default: 5)")
    command.add_argument(
        "--heartbeat", type=_seconds, default=60.0, metavar="S", help="say what did not change this often (default: 60)"
    )
    command.add_argument(
        "--grace", type=_seconds, default=10.0, metavar="S", help="how long a launch may have no process (default: 10)"
    )
    command.add_argument("--once", action="store_true", help="look once, say everything, and stop")
    command.add_argument(
        "--node", metavar="NAME", help="this machine's name, as its launches have it (default: host name)"
    )
    command.add_argument(
        "--witness-listen", metavar="HOST:PORT", help="be a witness for the server too, at this address"
    )
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Look until stopped. Status 1 when the log or the server is not what it was, or with --once when a look failed."""
    stop = threading.Event()
    with opened(options, options.service, attestation.MONITOR) as service, service.folder.locked(0.0):
        try:
            monitor, follower = _made(options, service)
            with _witness(options, follower), _stopped_by_signals(stop):
                _welcome(service)
                return _look(options, monitor, stop)
        except (ForkError, StatementRefused) as error:
            complain(str(error))
            return REFUSED


def _made(options: argparse.Namespace, service: Service) -> tuple[Monitor, Follower]:
    voice = service.voice()
    try:
        voice.catch_up()
    except APIError as error:
        note(f"The server cannot be asked what it has of this monitor ({error}); what is seen waits until it can.")
    source = mirror.from_url(f"{check_origin(options.server or os.environ['IMPRIMATUR_URL'])}{API}/log")
    follower = Follower(service.folder, service.trust, source)
    own_log = OwnLog(service.folder, service.trust.realm, voice.ledger)
    about = node(options.node)
    grace = 0.0 if options.once else options.grace
    made = Monitor(voice, Proc(), follower, own_log, about, heartbeat=options.heartbeat, grace=grace)
    say("monitor", f"{service.folder.service} on {about['name']}")
    say("own log", own_log.vkey.format())
    return made, follower


def _welcome(service: Service) -> None:
    if os.geteuid() != 0:
        note(
            f"This monitor is not root: it looks into the processes of user {os.geteuid()} only, and counts the others "
            "as unread. Run it as root, or as the user that launches agents."
        )
    say("following", service.trust.realm)


def _look(options: argparse.Namespace, monitor: Monitor, stop: threading.Event) -> int:
    failed: list[str] = []
    while not stop.is_set():
        done = monitor.round()
        _tell(done, failed)
        failed = done.problems
        if options.once:
            return REFUSED if done.problems or done.waiting else DONE
        stop.wait(options.interval)
    return DONE


def _tell(done: Round, before: list[str]) -> None:
    for problem in done.problems:
        if problem not in before:  # said once, not every five seconds
            complain(problem)
    for told in done.told:
        found = told.body["findings"]
        drift = ", ".join(sorted({f"{row['code']}" for row in found})) or (
            "as launched" if told.body["matched"] else ""
        )
        predicate = attestation.open_statement(told.envelope).predicate
        count = len(predicate["processes"])
        matched = "" if told.body["matched"] else "NO SUCH LAUNCH"
        say(f"entry {told.entry['index']}", f"{predicate.get('launch', '')} {count} processes: {matched}{drift}")


@contextmanager
def _witness(options: argparse.Namespace, follower: Follower) -> Iterator[None]:
    """Answer the server as a witness meanwhile, from the same memory."""
    if not options.witness_listen:
        yield
        return
    listening = server.Server(address(options.witness_listen), follower.witness)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    say("witness", f"http://{options.witness_listen}{listening.path}")
    try:
        yield
    finally:
        listening.shutdown()
        listening.server_close()


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """What was seen is on the disk and what was answered is too, so nothing has to be finished."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise ConfigError(f"{text} is no number of seconds.") from None
    if not 0 < found <= 86_400:
        raise ConfigError("That is between 0 and 86,400 seconds.")
    return found
