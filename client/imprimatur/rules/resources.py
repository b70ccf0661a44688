"""What a resource is, in one normal form per kind, and when one pattern includes another.

The kind follows from the action's domain alone: `file` and `code` name absolute paths, `network` names hosts with a
port and a path, `email` names addresses, every other domain names things by segments (`vendor/acme`). Nothing is
guessed and hardly anything is rewritten: what two programs could read in two ways is refused.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

MAX_LENGTH = 4096
HTTPS_PORT = 443

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_SCHEME_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER_LIKE = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# `%2e`, `%2f`, `%5c`, control characters, and over-long UTF-8, under any number of layers of `%25`.
_ENCODED = re.compile(r"%(?:25)*(?:2[ef]|5c|[01][0-9a-f]|7f|c[01])", re.IGNORECASE)
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@%]*")
# Narrower than RFC 5321: without `*` (not a wildcard here), `%` and `!` (relays route on them), `|` and `/`.
_LOCAL_PART = re.compile(r"[A-Za-z0-9_+=&'~#-]+(?:\.[A-Za-z0-9_+=&'~#-]+)*")
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class ResourceError(ValueError):
    """A resource that is refused; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A set of resources of one kind. An action's own resource is the pattern that holds just it and what lies below.

    `host` is absent for paths and names. With `wildcard` the set holds the subdomains of `host` and not `host` itself.
    `local` is the part of an address before the `@`; absent, it is every address at the host.
    """

    kind: str
    segments: tuple[str, ...] = ()
    host: str | None = None
    wildcard: bool = False
    port: int | None = None
    local: str | None = None

    def includes(self, other: Pattern) -> bool:
        """Whether everything in `other` is in this pattern. Reflexive and transitive."""
        return (
            self.kind == other.kind
            and self.includes_host(other)
            and self.port == other.port
            and (self.local is None or self.local == other.local)
            and other.segments[: len(self.segments)] == self.segments
        )

    def includes_host(self, other: Pattern) -> bool:
        """Whether the host, or every host, of `other` is one of this pattern's hosts, whatever the port or path."""
        if self.host is None or other.host is None:
            return self.host is other.host
        if self.wildcard and other.host.endswith("." + self.host):
            return True
        return self.host == other.host and self.wildcard == other.wildcard

    def text(self) -> str:
        """The normal form. Reading it again gives the same pattern."""
        path = "/".join(self.segments)
        if self.kind == "path":
            return "/" + path
        if self.kind == "name":
            return path
        host = ("*." if self.wildcard else "") + (self.host or "")
        if self.kind == "address":
            return host if self.local is None else f"{self.local}@{host}"
        if self.port not in (None, HTTPS_PORT):
            host = f"{host}:{self.port}"
        return f"{host}/{path}" if path else host


def kind_of(domain: str) -> str:
    """The kind of resource that actions of this domain have: path, network, address or name."""
    return {"file": "path", "code": "path", "network": "network", "email": "address"}.get(domain, "name")


def read_resource(domain: str, text: str) -> Pattern:
    """Read the resource of one action.

    Raises:
        ResourceError: when it is ambiguous, holds a wildcard where one would mean something, or is not of its kind.
    """
    return _read(kind_of(domain), text, pattern=False)


def read_pattern(domain: str, text: str) -> Pattern:
    """Read the resource part of a scope, which may be a wildcard where the kind has wildcards.

    Raises:
        ResourceError: as `read_resource`, and for a wildcard that would not do what it seems to say.
    """
    return _read(kind_of(domain), text, pattern=True)


def read_path(text: str) -> Pattern:
    """Read a path constraint: the path and everything below it."""
    return _read("path", text, pattern=True)


def read_host(text: str) -> Pattern:
    """Read a domain constraint: `example.com` or `*.example.com`, with no port, path or address.

    Raises:
        ResourceError: otherwise.
    """
    _check_characters(text)
    host, wildcard = _host(text, pattern=True)
    return Pattern("host", host=host, wildcard=wildcard)


def _read(kind: str, text: str, *, pattern: bool) -> Pattern:
    _check_characters(text)
    if kind == "network":
        return _network(text, pattern=pattern)
    if kind == "address":
        return _address(text, pattern=pattern)
    if pattern and "*" in text:
        raise ResourceError("Leave the * out: a path or name already covers everything below it.")
    if _ENCODED.search(text):
        raise ResourceError("The resource holds an encoded separator, dot or control character; write it plainly.")
    if kind == "path":
        if not text.startswith("/"):
            raise ResourceError("A path begins with /; a relative path means different files in different places.")
        return Pattern("path", segments=_segments(text[1:]))
    if text.startswith("/"):
        raise ResourceError("A name has no / in front; write it like vendor/acme.")
    return Pattern("name", segments=_segments(text))


def _check_characters(text: str) -> None:
    if not isinstance(text, str) or not text:
        raise ResourceError("The resource is empty.")
    if len(text) > MAX_LENGTH:
        raise ResourceError(f"The resource is longer than {MAX_LENGTH} characters.")
    if "\\" in text:
        raise ResourceError("The resource holds a backslash, which some systems read as a separator; use /.")
    if text.isascii():
        if not text.isprintable():
            raise ResourceError("The resource holds a control character.")
        return
    if any(unicodedata.category(character) in _HIDDEN for character in text):
        raise ResourceError("The resource holds a control or invisible character.")
    if unicodedata.normalize("NFC", text) != text:
        raise ResourceError("The resource is not in Unicode form NFC, so two spellings of it would look the same.")


def _segments(text: str) -> tuple[str, ...]:
    if text.endswith("/"):
        text = text[:-1]
        if not text:
            raise ResourceError("The resource has an empty segment (//).")
    if not text:
        return ()
    segments = tuple(text.split("/"))
    for segment in segments:
        _check_segment(segment)
    return segments


def _check_segment(segment: str) -> None:
    if not segment:
        raise ResourceError("The resource has an empty segment (//).")
    if segment != segment.strip():
        raise ResourceError("A segment of the resource begins or ends with white space, which nobody would see.")
    folded = segment if segment.isascii() else unicodedata.normalize("NFKC", segment)
    # `..;x` is `..` to servers that know path parameters, `...` is `..` or `.` to some file systems.
    if not folded.split(";", 1)[0].strip(". "):
        raise ResourceError("The resource has a segment of dots (. or ..); write where it really leads.")
    if "/" in folded or "\\" in folded:
        raise ResourceError("The resource holds a look-alike of a separator.")


def _host(text: str, *, pattern: bool) -> tuple[str, bool]:
    if not text.isascii():
        raise ResourceError("The host is not plain ASCII; write its ASCII form (xn--...).")
    wildcard = text.startswith("*.")
    if wildcard and not pattern:
        raise ResourceError("An action names one host, not a wildcard.")
    host = (text[2:] if wildcard else text).lower()
    if host == "*":
        raise ResourceError("Leave the resource out to mean every host.")
    if host.startswith("["):
        if wildcard:
            raise ResourceError("An address has no subdomains.")
        return _ipv6(host), False
    host = host.removesuffix(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ResourceError(f"{text!r} is not a host name; * may stand only in front, as in *.example.com.")
    if _NUMBER_LIKE.fullmatch(host.rsplit(".", 1)[-1]):
        try:
            canonical = str(ipaddress.IPv4Address(host))
        except ValueError:
            canonical = ""
        if canonical != host or wildcard:
            raise ResourceError("A numeric host is an IPv4 address in its usual form, such as 192.0.2.1.")
    return host, wildcard


def _ipv6(host: str) -> str:
    if not host.endswith("]") or "%" in host:
        raise ResourceError("An IPv6 address stands in brackets and has no zone.")
    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        raise ResourceError("That is not an IPv6 address.") from None
    if address.ipv4_mapped is not None:
        raise ResourceError("Write the IPv4 address itself, not its IPv6 form.")
    return f"[{address.compressed}]"


def _network(text: str, *, pattern: bool) -> Pattern:
    port = HTTPS_PORT
    scheme = _SCHEME.match(text)
    if scheme is not None:
        if pattern:
            raise ResourceError("A scope has no scheme: write the host, and :80 behind it for plain http.")
        name = scheme[1].lower()
        if name not in _SCHEME_PORTS:
            raise ResourceError(f"{name}:// is not http, https, ws or wss; write host:port.")
        port = _SCHEME_PORTS[name]
        text = text[scheme.end() :]
    authority, mark, rest = _cut(text)
    if pattern and ("?" in rest or "#" in rest or mark in ("?", "#")):
        raise ResourceError("A scope ends with the path; it has no query and no fragment.")
    if "@" in authority:
        raise ResourceError("A user name in front of the host is refused: it makes one host look like another.")
    host_text, colon, port_text = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host_text, port_text = authority, ""
    elif not _PORT.fullmatch(port_text) or int(port_text) > 65535:
        raise ResourceError("A port is a number from 1 to 65535.")
    if port_text:
        port = int(port_text)
    if not host_text:
        raise ResourceError("The host is missing.")
    host, wildcard = _host(host_text, pattern=pattern)
    path = re.split(r"[?#]", rest, maxsplit=1)[0] if mark == "/" else ""
    return Pattern("network", segments=_url_segments(path, pattern=pattern), host=host, wildcard=wildcard, port=port)


def _cut(text: str) -> tuple[str, str, str]:
    found = re.search(r"[/?#]", text)
    return (text, "", "") if found is None else (text[: found.start()], found[0], text[found.end() :])


def _url_segments(path: str, *, pattern: bool) -> tuple[str, ...]:
    if pattern and "*" in path:
        raise ResourceError("Leave the * out of the path: it already covers everything below it.")
    segments = _segments(path)
    for segment in segments:
        if not _URL_CHARACTERS.fullmatch(segment):
            raise ResourceError("The path of a URL is plain ASCII without spaces; percent-encode the rest.")
        _check_percent(segment)
    return tuple(re.sub(r"%..", lambda match: match[0].upper(), segment) for segment in segments)


def _check_percent(segment: str) -> None:
    raw = bytearray()
    for part in re.findall(r"%.{0,2}|[^%]", segment):
        if not part.startswith("%"):
            raw += part.encode()
            continue
        if not re.fullmatch(r"%[0-9A-Fa-f]{2}", part):
            raise ResourceError("The path has a % that encodes nothing.")
        octet = int(part[1:], 16)
        if octet in _UNRESERVED or octet in b"/\\%" or octet < 0x20 or octet == 0x7F:
            raise ResourceError("The path encodes a character that must be written plainly, or not at all.")
        raw.append(octet)
    try:
        _check_segment(raw.decode())
    except UnicodeDecodeError:
        raise ResourceError("The path does not decode to UTF-8.") from None


def _address(text: str, *, pattern: bool) -> Pattern:
    local, at, domain = text.rpartition("@")
    if not at and not pattern:
        raise ResourceError("An email action names one address, such as bo@example.com.")
    host, wildcard = _host(domain, pattern=pattern and not at)
    if host.startswith("[") or _NUMBER_LIKE.fullmatch(host.rsplit(".", 1)[-1]):
        raise ResourceError("An address has a domain name behind the @, not a number.")
    if not at:
        return Pattern("address", host=host, wildcard=wildcard)
    if len(local) > 64 or not _LOCAL_PART.fullmatch(local):
        raise ResourceError("That is not one plain address: no names, lists, quotes, % or ! in front of the @.")
    return Pattern("address", host=host, local=local)
