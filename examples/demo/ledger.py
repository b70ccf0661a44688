"""A bank of sorts: it books a payment only against a receipt that allows exactly this payment, and only once.

It trusts the pinned decision key and nothing the agent says, which is what enforcement at the resource looks like.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imprimatur.formats import canonical, commitments, receipts
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.timestamps import format_time
from imprimatur.formats.trust import Trust
from imprimatur.rules import grants, money

_MOST = 1_000_000


class Refused(Exception):
    """The ledger does not book this. The message says why."""


class Ledger:
    """Payments in a JSON file. Every booking names the action it was approved as, and no action is booked twice."""

    def __init__(self, path: Path, trust: Trust) -> None:
        self._path = path
        self._trust = trust
        self._lock = threading.Lock()
        if not path.exists():
            path.write_text("[]\n", encoding="utf-8")

    @property
    def bookings(self) -> list[dict[str, str]]:
        """All bookings so far."""
        found: list[dict[str, str]] = json.loads(self._path.read_text(encoding="utf-8"))
        return found

    def pay(self, presented: Mapping[str, Any]) -> dict[str, str]:
        """Check the receipt against the payment, then book it. Raises Refused."""
        try:
            payment = dict(presented["payment"])
            keys, attempt = dict(presented["openings"]), str(presented["attempt"])
            receipt = receipts.parse(presented["receipt"])
            opened = {
                name: commitments.commitment_of(commitments.Opening(name, un_b64u(keys[name]), value))
                for name, value in payment.items()
            }
            cost = {
                "amount": money.format_amount(money.read_amount(payment["amount"])),
                "unit": money.check_unit(payment["currency"]),
            }
            body = receipt.entry["body"]
            expected = receipts.Expected(
                realm=self._trust.realm,
                decision_keys=self._trust.decision_keys(),
                agent=body["binding"]["agent"],
                delegation=body["binding"]["delegation"],
                tool="make_payment",
                parameters=opened,
                context=body["binding"]["context"],
                idempotency_key=body["request"]["idempotency_key"],
                cost=cost,
                require_human="H0",
                attempt=attempt,
                covers=grants.covers(payment),
            )
            receipts.check(receipt, expected=expected, now=datetime.now(UTC))
        except receipts.ReceiptError as error:
            raise Refused(f"the receipt does not allow this payment: {error.message}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"this is not a payment with its receipt: {error}") from None
        with self._lock:
            bookings = self.bookings
            action = receipt.entry["subject"]
            if any(one["action"] == action for one in bookings):
                raise Refused("this receipt was used for a payment already")
            booking = {
                "action": action,
                "payee": str(payment["payee"]),
                "amount": cost["amount"],
                "currency": cost["unit"],
                "reference": str(payment["reference"]),
                "booked_at": format_time(datetime.now(UTC)),
            }
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps([*bookings, booking], indent=2) + "\n", encoding="utf-8")
            fresh.replace(self._path)
        return booking


def serve(ledger: Ledger) -> ThreadingHTTPServer:
    """Serve the ledger on a free port of this machine, in a thread of its own. The caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _MOST:
                self._answer(413, {"error": "a payment is one small JSON object"})
                return
            try:
                document = canonical.loads(self.rfile.read(int(length)))
                if self.path != "/payments" or not isinstance(document, dict):
                    raise Refused("POST a payment with its receipt to /payments")
                self._answer(201, ledger.pay(document))
            except (Refused, ValueError) as error:
                self._answer(403, {"error": str(error)})

        def do_GET(self) -> None:
            self._answer(200, {"bookings": ledger.bookings})

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet: the ledger's file is its log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, name="ledger", daemon=True).start()
    return server
