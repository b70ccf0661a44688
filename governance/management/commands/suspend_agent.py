"""``manage.py suspend_agent``: stop an agent, or let it go on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit import log
from governance import console
from governance.actions import resume_agent, suspend_agent


class Command(BaseCommand):
    help = "Suspend an agent: from now on nothing it holds or passed on can be used. With --resume, let it go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("agent", help="name or id")
        parser.add_argument("--reason", required=True, help="goes into the log")
        parser.add_argument("--resume", action="store_true")
        parser.add_argument("--by", metavar="LOGIN", help="who decided it; otherwise the log names the console")

    def handle(self, *args: Any, **options: Any) -> None:
        with console.refusals():
            by = console.person_called(options["by"]) if options["by"] else None
            agent = console.agent_called(options["agent"])
            if options["resume"]:
                log.commit(resume_agent.apply, resume_agent.Command(agent, options["reason"], by=by))
                self.stdout.write(f"Resumed {agent.name}. What was pending stays invalidated.")
            else:
                log.commit(suspend_agent.apply, suspend_agent.Command(agent, options["reason"], by=by))
                self.stdout.write(f"Suspended {agent.name}.")
