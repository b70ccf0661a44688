"""Scopes: `domain:verb[:resource]`. One rule, in the table of docs/scope.md, which the tests execute.

A scope without a resource covers every resource of its verb, and an action that has none. A scope with a resource
covers that resource and what lies below it, by segments, and never an action without a resource. `domain:*` is every
verb of the domain; `*` is everything. The resource is normalised first (`imprimatur.rules.resources`); what is refused
there is covered by nothing, not even by `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from imprimatur.rules.resources import Pattern, ResourceError, read_pattern, read_resource

_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")

PERMISSIONS: dict[str, str] = {
    "READ_FILE": "file:read",
    "WRITE_FILE": "file:write",
    "EXECUTE_CODE": "code:execute",
    "NETWORK_ACCESS": "network:http",
    "DATABASE_READ": "db:read",
    "DATABASE_WRITE": "db:write",
    "SEND_EMAIL": "email:send",
    "API_CALL": "api:call",
}

PRESETS: dict[str, list[str]] = {
    "READONLY": ["file:read", "db:read"],
    "STANDARD": ["file:read", "file:write", "db:read", "network:http", "api:call"],
    "FULL": list(PERMISSIONS.values()),
}


class ScopeError(ValueError):
    """A scope or a resource that cannot be read without guessing; the message says what to write."""


@dataclass(frozen=True)
class Scope:
    """A set of actions. Always valid and normalised: building one checks it.

    Invariant: if `a.within(b)`, then whatever `a` covers, `b` covers. `within` is reflexive and transitive.

    Raises:
        ScopeError: when a part is not well-formed.
    """

    domain: str
    verb: str
    resource: str | None = None
    _pattern: Pattern | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.domain == "*":
            if self.verb != "*" or self.resource is not None:
                raise ScopeError("Everything is written as a bare *; nothing may follow it.")
            return
        _check_word(self.domain, "domain")
        if self.verb != "*":
            _check_word(self.verb, "verb")
        if self.resource is not None:
            try:
                pattern = read_pattern(self.domain, self.resource)
            except ResourceError as error:
                raise ScopeError(str(error)) from None
            object.__setattr__(self, "_pattern", pattern)
            object.__setattr__(self, "resource", pattern.text())

    def covers(self, action: str, resource: str | None) -> bool:
        """Whether this scope allows the action on the resource. Anything malformed is not covered; never raises."""
        try:
            domain, verb, target = _read_action(action, resource)
        except ScopeError:
            return False
        return self._holds(domain, verb, target)

    def within(self, parent: Scope) -> bool:
        """Whether everything this scope covers is covered by `parent`."""
        if self.domain == "*" or self.verb == "*":
            return parent.domain == "*" or (
                parent.verb == "*" and parent.domain == self.domain and _includes(parent._pattern, self._pattern)
            )
        return parent._holds(self.domain, self.verb, self._pattern)

    def _holds(self, domain: str, verb: str, target: Pattern | None) -> bool:
        if self.domain == "*":
            return True
        return self.domain == domain and self.verb in ("*", verb) and _includes(self._pattern, target)

    def __str__(self) -> str:
        if self.domain == "*":
            return "*"
        return f"{self.domain}:{self.verb}" + ("" if self.resource is None else f":{self.resource}")


def parse(text: str) -> Scope:
    """Read a scope such as `file:write:/project/src`.

    Raises:
        ScopeError: when it is not one; the message says what to write.
    """
    if not isinstance(text, str):
        raise ScopeError("A scope is text, such as file:read:/project.")
    return _parse(text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Scope:
    if text == "*":
        return Scope("*", "*")
    domain, colon, rest = text.partition(":")
    if not colon:
        raise ScopeError("A scope is written domain:verb or domain:verb:resource, such as file:read:/project.")
    if domain == "*":
        raise ScopeError("Only a bare * covers every domain; otherwise name the domain, as in file:*.")
    verb, colon, resource = rest.partition(":")
    return Scope(domain, verb, resource if colon else None)


def normalise(action: str, resource: str) -> str:
    """The normal form of an action's resource. Doing it again changes nothing.

    Raises:
        ScopeError: when the action is not `word:word`, or the resource is refused (`..`, empty segments, NUL, control
            and invisible characters, backslash, encoded separators, hosts that are not plain ASCII, and so on).
    """
    target = _read_action(action, resource)[2]
    if target is None:
        raise ScopeError("The resource is missing.")
    return target.text()


def any_covers(scopes: Iterable[Scope], action: str, resource: str | None) -> bool:
    """Whether one of the scopes covers the action. No scopes cover nothing."""
    try:
        domain, verb, target = _read_action(action, resource)
    except ScopeError:
        return False
    return any(scope._holds(domain, verb, target) for scope in scopes)


def expand(words: Iterable[str]) -> list[str]:
    """Turn presets (`STANDARD`), permissions (`WRITE_FILE`, `WRITE_FILE:/project/src`) and scopes into normal scopes.

    Keeps the order and drops repeats. No word but a typed `*` ever expands to `*`.

    Raises:
        ScopeError: when a word is none of these.
    """
    found: dict[str, None] = {}
    for word in words:
        if not isinstance(word, str):
            raise ScopeError("A scope is text, such as file:read:/project.")
        head, colon, rest = word.partition(":")
        if word in PRESETS:
            texts = PRESETS[word]
        elif head in PERMISSIONS:
            texts = [PERMISSIONS[head] + colon + rest]
        else:
            texts = [word]
        found.update((str(parse(text)), None) for text in texts)
    return list(found)


def _read_action(action: str, resource: str | None) -> tuple[str, str, Pattern | None]:
    domain, _, verb = action.partition(":") if isinstance(action, str) else ("", "", "")
    _check_word(domain, "domain")
    _check_word(verb, "verb")
    if resource is None:
        return domain, verb, None
    try:
        return domain, verb, read_resource(domain, resource)
    except ResourceError as error:
        raise ScopeError(str(error)) from None


def _includes(pattern: Pattern | None, target: Pattern | None) -> bool:
    if pattern is None:
        return True
    return target is not None and pattern.includes(target)


def _check_word(word: str, what: str) -> None:
    if not isinstance(word, str) or _WORD.fullmatch(word) is None:
        raise ScopeError(f"The {what} of a scope or an action is a lower-case word, such as file or read.")
