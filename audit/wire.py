"""One request to a witness or a collector, bounded in time and size, no redirects: it may be slow or hostile."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from imprimatur.inert import visible

CONNECT_WITHIN = 5.0  # seconds
ANSWER_WITHIN = 15.0  # seconds for the whole exchange
MOST_BYTES = 16 * 1024
MOST_WORDS = 200  # characters that are repeated of an answer
SIZE_TYPE = "text/x.tlog.size"


def post(url: str, body: bytes) -> tuple[int, str, str]:
    """Status, content type and text of the answer to a POST. Raises OSError like :func:`exchange`."""
    return exchange("POST", url, body, {"Content-Type": "text/plain; charset=utf-8"})


def exchange(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], within: float | None = None
) -> tuple[int, str, str]:
    """Status, content type and text of the answer, which has to be whole after ``within`` seconds (15 by default).

    Redirects are not followed. Raises OSError (TimeoutError among them) when there is no answer that can be read
    within the limits.
    """
    parts = urlsplit(url)
    seconds = ANSWER_WITHIN if within is None else within
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_WITHIN)
    # A time-out of a socket starts anew with every byte; this one does not.
    late = threading.Event()
    timer = threading.Timer(seconds, _cut, [connection, late])
    timer.daemon = True
    try:
        connection.connect()
        connection.sock.settimeout(seconds)
        timer.start()
        connection.request(
            method, f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", body, dict(headers)
        )
        answer = connection.getresponse()
        raw = answer.read(MOST_BYTES + 1)
        if late.is_set():
            raise TimeoutError("it took too long")
        if len(raw) > MOST_BYTES:
            raise OSError("the answer is too long")
        return answer.status, (answer.headers.get("Content-Type") or "").strip(), raw.decode("utf-8")
    except (http.client.HTTPException, UnicodeDecodeError) as error:
        raise OSError(f"the answer cannot be read: {type(error).__name__}") from error
    finally:
        timer.cancel()
        connection.close()


def words(text: str) -> str:
    """What the other side said, as one short line that is safe to log, to show and to store.

    PostgreSQL refuses a text with NUL, so keeping it as it came would stop whoever keeps it: the publisher.
    """
    return visible(" ".join(text[:MOST_WORDS].split()))


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    found = connection.sock
    if isinstance(found, socket.socket):
        try:
            found.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself
