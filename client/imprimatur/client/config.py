"""Where to ask, who is asking, and whom to believe: from arguments or the environment, checked before anything else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from imprimatur.errors import ConfigError
from imprimatur.formats import canonical, delegation, digests, ids, trust
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.trust import Trust, TrustError

URL, KEY, DELEGATION, TRUST, AGENT = (
    "IMPRIMATUR_URL",
    "IMPRIMATUR_KEY",
    "IMPRIMATUR_DELEGATION",
    "IMPRIMATUR_TRUST",
    "IMPRIMATUR_AGENT",
)
ALLOW_HTTP = "IMPRIMATUR_ALLOW_HTTP"
SINGLE_HUMAN = "IMPRIMATUR_SINGLE_HUMAN"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1|[a-z0-9.-]+\.localhost")


@dataclass(frozen=True, slots=True)
class Config:
    """A complete, checked configuration. Its repr shows no key.

    ``single_human`` accepts receipts in which one person both approved and confirmed.
    """

    origin: str
    key: KeyPair = field(repr=False)
    agent: str
    trust: Trust = field(repr=False)
    delegation: str | None = None
    single_human: bool = False

    @property
    def realm(self) -> str:
        """The pinned realm."""
        return self.trust.realm


def load(
    url: str | None = None,
    key: KeyPair | str | os.PathLike[str] | None = None,
    delegation: str | os.PathLike[str] | None = None,
    trust: Trust | str | os.PathLike[str] | None = None,
    agent: str | None = None,
    *,
    single_human: bool | None = None,
) -> Config:
    """Arguments first, then ``IMPRIMATUR_URL``, ``_KEY`` (path), ``_DELEGATION`` (id, or the file that ``imprimatur
    delegate`` wrote), ``_TRUST`` (path), ``_AGENT`` (only when a rotated key's file does not name its agent),
    ``_SINGLE_HUMAN`` (``yes``, where policy lets one person both approve and confirm).

    Raises ConfigError that names what is missing and how to get it.
    """
    origin = check_origin(_need(url, URL, "the address of the server, such as https://imprimatur.example.com"))
    pair = key if isinstance(key, KeyPair) else load_key(_need(key, KEY, "the agent's key file (`imprimatur keygen`)"))
    if isinstance(trust, Trust):
        pinned = trust
    else:
        pinned = load_trust(_need(trust, TRUST, "the pinned server's trust file (`imprimatur enroll` writes it)"))
    if not pinned.decision:
        raise ConfigError("The trust file names no decision key, so no receipt could be checked. Enrol again.")
    identity = agent or os.environ.get(AGENT) or pair.agent or ids.agent_id(pair.public_key)
    if not ids.is_id("ag", identity):
        raise ConfigError("The agent id has the form ag_ and 32 characters; leave it out unless the key was rotated.")
    given = delegation if delegation is not None else os.environ.get(DELEGATION) or None
    alone = os.environ.get(SINGLE_HUMAN) == "yes" if single_human is None else single_human
    return Config(origin, pair, identity, pinned, None if given is None else delegation_id(given), alone)


def check_origin(url: str) -> str:
    """Scheme, host and port of the server. Plain http only to this machine, unless ``IMPRIMATUR_ALLOW_HTTP=yes``."""
    origin = url.rstrip("/")
    parts = urlsplit(origin)
    if not _ORIGIN.fullmatch(origin) or not parts.hostname:
        raise ConfigError(
            "The server's address is scheme, host and port alone, such as https://imprimatur.example.com."
        )
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname) and os.environ.get(ALLOW_HTTP) != "yes":
        raise ConfigError(
            f"Plain http to another machine shows every parameter on the way. Use https, or set {ALLOW_HTTP}=yes."
        )
    return origin


def load_key(path: str | os.PathLike[str]) -> KeyPair:
    """The agent's key. Raises ConfigError."""
    try:
        return KeyPair.load(path)
    except KeyFileError as error:
        raise ConfigError(f"{_sentence(str(error))} Make a key with `imprimatur keygen`.") from None


def load_trust(path: str | os.PathLike[str]) -> Trust:
    """The pinned server. Raises ConfigError."""
    try:
        return trust.load(path, own=True)
    except TrustError as error:
        raise ConfigError(
            f"{_sentence(str(error))} Compare it with the one that an admin has (`manage.py trust`)."
        ) from None


def delegation_id(given: str | os.PathLike[str]) -> str:
    """A delegation's id, from the id itself or from the file that holds the signed document. Raises ConfigError."""
    text = os.fspath(given)
    if digests.is_digest(text):
        return text
    try:
        held = canonical.loads(Path(text).read_bytes())
        return delegation.delegation_id(held["document"])
    except OSError as error:
        raise ConfigError(
            f"Cannot read the delegation {text}: {error.strerror}. Give its id (sha256:…) or its file."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{text} holds no delegation. Give its id (sha256:…) or its file.") from None


def _need(value: str | os.PathLike[str] | None, variable: str, what: str) -> str:
    found = value if value is not None else os.environ.get(variable)
    if not found:
        raise ConfigError(f"Set {variable} or pass it as an argument: {what}.")
    return os.fspath(found)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!")) else ".")
