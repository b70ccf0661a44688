"""The witness over HTTP: `POST <prefix>/add-checkpoint`, with limits on bodies, time and connections."""

from __future__ import annotations

import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from imprimatur.inert import inert
from imprimatur.witness.protocol import MAX_BODY, PLAIN, Answer, StateError, Witness

MOST_CONNECTIONS = 64
IDLE = 30.0  # seconds a kept connection may be silent
BODY_WITHIN = 10.0  # seconds for a whole body


class Server(ThreadingHTTPServer):
    """Serves one witness. When all connections are taken the one that is open longest gives way, so that nobody can
    keep the log out by holding them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], witness: Witness, prefix: str = "") -> None:
        """Listen on `address`; `prefix` is the path above `/add-checkpoint`. Raises OSError."""
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.witness = witness
        self.path = f"{prefix.rstrip('/')}/add-checkpoint"
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            while len(self._open) >= MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _end(oldest)
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # somebody hung up: no news
            tell(f"a request failed: {type(error).__name__}: {error}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "imprimatur-witness"
    sys_version = ""
    timeout = IDLE
    server: Server

    def do_POST(self) -> None:
        if self.path != self.server.path:
            self.refuse(HTTPStatus.NOT_FOUND, f"this witness listens at {self.server.path}")
            return
        body = self.body()
        if body is None:
            return
        try:
            answer = self.server.witness.add_checkpoint(body)
        except StateError as error:
            tell(f"nothing is cosigned: {error}")
            answer = Answer(503, "this witness cannot remember anything now, so it signs nothing\n")
        self.answer(answer)
        tell(f"{answer.status} {'cosigned' if answer.status == HTTPStatus.OK else answer.body}")

    def do_GET(self) -> None:
        if self.path == self.server.path:
            self.refuse(HTTPStatus.METHOD_NOT_ALLOWED, "POST a checkpoint")
        else:
            self.refuse(HTTPStatus.NOT_FOUND, f"this witness listens at {self.server.path}")

    def body(self) -> bytes | None:
        """The whole body; None when the request was refused, is too slow, or was given up."""
        said = self.headers.get("Content-Length", "")
        if not (said.isascii() and said.isdecimal()) or "Transfer-Encoding" in self.headers:
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "say the length of the body in Content-Length")
            return None
        if len(said) > 9 or int(said) > MAX_BODY:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_BODY} bytes")
            return None
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        parts, left, until = [], int(said), time.monotonic() + BODY_WITHIN
        while left:
            patience = until - time.monotonic()
            if patience <= 0:
                self.close_connection = True
                return None
            self.connection.settimeout(patience)
            part = self.rfile.read1(left)
            if not part:
                self.close_connection = True
                return None
            parts.append(part)
            left -= len(part)
        self.connection.settimeout(IDLE)
        return b"".join(parts)

    def handle_expect_100(self) -> bool:
        return True  # said in `body`, once the length is known to be allowed

    def answer(self, answer: Answer) -> None:
        """Send it."""
        raw = answer.body.encode("utf-8")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(raw)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)

    def refuse(self, status: HTTPStatus, said: str) -> None:
        """Answer, and end the connection: what follows could be the rest of a body."""
        self.close_connection = True
        self.answer(Answer(status, f"{said}\n", PLAIN))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `do_POST` says what became of each request."""


def tell(text: str) -> None:
    """One line for whoever runs the witness."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {inert(text.strip(), 'terminal')}\n")
    sys.stderr.flush()


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
