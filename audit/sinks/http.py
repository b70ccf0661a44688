"""A sink behind HTTP: a collector that takes lines, and perhaps says what it holds.

    POST <url>   Content-Type: application/x-ndjson   Imprimatur-First: <index>   Imprimatur-Count: <entries>

with the lines of `audit.sinks.lines`. 2xx: all of them are kept for good. 409 with ``{"size": n}``: it holds n entries,
go on from there. A checkpoint comes with a count of 0 and the size it covers as the first index. `GET <url>` answers
``{"size": n, "root": "<hex>"}`` where the collector offers that. It is then its own claim: nothing of it was seen here.
"""

from __future__ import annotations

from typing import Any

from audit import wire
from audit.sinks import lines
from audit.sinks.sink import Differs, SinkError, Stated
from audit.sinks.tree import Published
from imprimatur.formats import canonical
from imprimatur.formats.merkle import MAX_TREE_SIZE

MOST_IN_A_POST = 4 << 20  # bytes, but one entry at least
POST_WITHIN, GET_WITHIN = 60.0, 15.0  # seconds


class HttpSink(Stated):
    """Posts to one address. What counts as taken was answered with 2xx."""

    every = 1.0

    def __init__(self, name: str, url: str, token: str = "") -> None:
        super().__init__(name, url.partition("?")[0])  # what is behind it may be a secret, and pages show the place
        self._url, self._token = url, token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def where(self, log: Published, known: int) -> int:
        found = self._state()
        if found is None:
            return known
        size, root = found
        if root is not None and size <= log.size and root != log.root_at(size):
            raise Differs(f"it states another root for {size} entries")
        return size

    def take(self, log: Published, start: int, end: int) -> int:
        body, count = bytearray(), 0
        for index, raw in enumerate(log.entries(start, end), start=start):
            line = lines.entry(index, raw)
            if count and len(body) + len(line) > MOST_IN_A_POST:
                break
            body += line
            count += 1
        return self._post(bytes(body), start, count)

    def seal(self, log: Published) -> None:
        if (found := self._post(lines.checkpoint(log.signed), log.size, 0)) != log.size:
            raise SinkError(f"holds {found} entries now, and held {log.size} a moment before")

    def stated(self, log: Published) -> tuple[int, bytes] | None:
        found = self._state()
        return None if found is None or found[1] is None else (found[0], found[1])

    def _post(self, body: bytes, first: int, count: int) -> int:
        headers = {
            "Content-Type": "application/x-ndjson",
            "Imprimatur-First": str(first),
            "Imprimatur-Count": str(count),
            **self._headers,
        }
        status, text = self._exchange("POST", body, headers, POST_WITHIN)
        if 200 <= status < 300:
            return first + count
        if status != 409:
            raise SinkError(f"answered {status}{self._words(text)}")
        size = _size(_document(text))
        if size == first:
            raise SinkError(f"answered 409, and holds exactly the {size} entries that we began after")
        return size

    def _state(self) -> tuple[int, bytes | None] | None:
        """Size, and root if it says one; None when it offers neither."""
        status, text = self._exchange("GET", None, self._headers, GET_WITHIN)
        if status in (404, 405, 501):
            return None
        if status != 200:
            raise SinkError(f"answered {status}{self._words(text)} when asked what it holds")
        document = _document(text)
        size, root = _size(document), document.get("root")
        if root is None:
            return size, None
        try:
            raw = bytes.fromhex(root)
        except (TypeError, ValueError) as error:
            raise SinkError("states a root that is none") from error
        if len(raw) != 32:
            raise SinkError("states a root that is none")
        return size, raw

    def _exchange(self, method: str, body: bytes | None, headers: dict[str, str], within: float) -> tuple[int, str]:
        try:
            status, _, text = wire.exchange(method, self._url, body, headers, within)
        except OSError as error:
            raise SinkError(f"does not answer ({error})") from error
        return status, text

    def _words(self, text: str) -> str:
        # Some echo what they were sent, and whoever reads the page is not to learn the token.
        said = wire.words(text.replace(self._token, "…") if self._token else text)
        return f" ({said})" if said else ""


def _document(text: str) -> dict[str, Any]:
    try:
        found = canonical.loads(text.encode("utf-8"))
    except ValueError as error:
        raise SinkError("answered with something that is no JSON") from error
    if not isinstance(found, dict):
        raise SinkError("answered with something that is no JSON object")
    return found


def _size(document: dict[str, Any]) -> int:
    size = document.get("size")
    if type(size) is not int or not 0 <= size <= MAX_TREE_SIZE:
        raise SinkError("does not say how many entries it holds")
    return size


__all__ = ["HttpSink"]
