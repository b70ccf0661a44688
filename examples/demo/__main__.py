"""Start the demo's services and its agent. Ends with Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

from examples.demo import identity, ledger
from examples.demo.agent import Robo
from examples.demo.deeds import World
from examples.demo.identity import DemoError, Identity
from examples.demo.journal import Journal
from examples.demo.mailbox import Mailbox
from examples.demo.project import Project
from imprimatur import ImprimaturError
from imprimatur.errors import ServerError

SCRIPTS = ("steady", "once")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="The demo's live agent.")
    parser.add_argument("--data", type=Path, required=True, help="the installation's data folder")
    parser.add_argument("--url", required=True, help="the server")
    options = parser.parse_args()
    options.script = os.environ.get("IMPRIMATUR_DEMO_SCRIPT", "steady")
    if options.script not in SCRIPTS:
        parser.error("IMPRIMATUR_DEMO_SCRIPT is " + " or ".join(SCRIPTS))
    return options


def enrolled(url: str, folder: Path, patience: float = 60.0) -> Identity:
    """Enrol, waiting for a server that is still starting. Raises DemoError, ImprimaturError."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return identity.enrol(url, folder)
        except ServerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


async def work(robo: Robo, script: str) -> None:
    """Run the agent until a signal comes."""
    task = asyncio.ensure_future(robo.run(script))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> int:
    """Set up and work."""
    options = parse()
    # Each refusal stands in agent.log; the terminal belongs to whoever started the demo.
    logging.getLogger("imprimatur").setLevel(logging.CRITICAL)
    folder = options.data / "demo"
    journal = Journal(folder / "agent.log")
    try:
        who = enrolled(options.url, folder)
        project = Project(folder / "project")
        project.prepare()
        mailbox = Mailbox(folder / "mail")
        mailbox.start()
        bank = ledger.serve(ledger.Ledger(folder / "ledger.json", who.trust))
    except (DemoError, ImprimaturError) as error:
        print(f"The demo's agent cannot start: {error}", file=sys.stderr)
        return 1
    journal.write(event="started", script=options.script)
    try:
        world = World(project, mailbox, f"http://127.0.0.1:{bank.server_port}")
        asyncio.run(work(Robo(who, world, journal), options.script))
    except (DemoError, ImprimaturError) as error:
        print(f"The demo's agent stopped: {error}", file=sys.stderr)
        return 1
    finally:
        bank.shutdown()
        mailbox.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
