"""Whoever comes to an address, and what they bring. Everybody comes through the whole server, as over the network."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.conf import settings
from django.middleware.csrf import _get_new_csrf_string

from governance.models import Person
from imprimatur.formats import httpsig
from imprimatur.formats.encoding import b64, b64u
from imprimatur.formats.keys import KeyPair
from tests.accounts import sessions
from tests.door.agent import ORIGIN, PREFIX, Answer, through_asgi, through_django

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass
class Visit:
    """One request. The token against forged forms is always right: anybody gets one with the login page."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def send(self) -> Answer:
        token = _get_new_csrf_string()
        cookies = {**self.cookies, settings.CSRF_COOKIE_NAME: token}
        headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            "X-CSRFToken": token,
            **self.headers,
        }
        # Hot calls are answered beside Django. Pages come the way that keeps one test on one connection.
        way = through_asgi if self.path.startswith(PREFIX) else through_django
        return way(self.method, self.path, headers, self.body)

    def with_session(self, key: str) -> Visit:
        """The same request from a browser with this session."""
        return Visit(
            self.method, self.path, self.headers, {**self.cookies, settings.SESSION_COOKIE_NAME: key}, self.body
        )


def plain(method: str, path: str, *, form: bool = False) -> Visit:
    """Nobody's request, with an empty body of either kind."""
    body = b"" if form or method == "GET" else b"{}"
    headers = {} if method == "GET" else {"Content-Type": FORM if form else JSON}
    return Visit(method, path, headers, body=body)


def signed(method: str, path: str, key: KeyPair) -> Visit:
    """The same with a good signature of this key, under the one profile that there is."""
    visit = plain(method, path)
    shape = "GET" if method == "GET" else "POST"
    if shape == "POST":
        visit.headers["Idempotency-Key"] = b64u(secrets.token_bytes(12))
        if path == f"{PREFIX}/actions":
            visit.headers["Imprimatur-Commitments"] = "sha256:" + "0" * 64
    visit.headers |= httpsig.sign_request(
        method=shape,
        target_uri=ORIGIN + path,
        headers=visit.headers,
        body=visit.body or None,
        key=key,
        created=int(time.time()),
        nonce=None if shape == "GET" else b64u(secrets.token_bytes(16)),
    )
    return visit


def disguises(method: str, path: str, key: KeyPair, name: str) -> dict[str, Visit]:
    """Everything a program with this key and name can make of it that looks like a login.

    Methods that no address takes get all of it in one request.
    """
    secret = b64u(key.sign(b"let me in"))
    everything = signed(method, path, key).with_session(name)
    everything.headers |= {
        "Authorization": f"Bearer {secret}",
        "Remote-User": "ada",
        "X-Remote-User": "ada",
        "X-Forwarded-User": "ada",
        "X-Forwarded-For": "127.0.0.1",
    }
    if method not in ("GET", "POST"):
        return {"all of it at once": everything}
    found = {"a signed request": signed(method, path, key), "all of it at once": everything}
    form = not path.startswith(PREFIX)
    for label, value in {
        "a bearer's token": f"Bearer {secret}",
        "its thumbprint as a token": f"Bearer {key.thumbprint}",
        "name and password": "Basic " + b64(f"{name}:{secret}".encode()),
    }.items():
        visit = plain(method, path, form=form)
        visit.headers["Authorization"] = value
        found[label] = visit
    cookie = plain(method, path)
    found["a made-up session"] = cookie.with_session(key.thumbprint.lower()[:32].replace("-", "a").replace("_", "b"))
    if method == "POST" and form:
        login = plain(method, path, form=True)
        login.body = urlencode({"login": name, "username": name, "password": secret, "code": secret}).encode()
        found["a form"] = login
    return found


def session_of(person: Person) -> str:
    """The key of a session in which this person has just signed in."""
    key = sessions.signed_in(person).session.session_key
    assert key
    return key


# What is new with every answer: tokens of forms, challenges, the time.
_CHANGING = re.compile(rb"(csrfmiddlewaretoken[^>]{0,9}value=|challenge|data-now=)[^>]{0,120}")


def same(answer: Answer, other: Answer) -> bool:
    """Whether two answers give the same: status, place, what is said."""
    return (answer.status, answer.headers.get("location"), _CHANGING.sub(b"", answer.raw)) == (
        other.status,
        other.headers.get("location"),
        _CHANGING.sub(b"", other.raw),
    )
