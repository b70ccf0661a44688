"""Whether a delegation is narrower than its parent, facet by facet.

What a chain allows is the conjunction of its links, so a constraint a child leaves out still holds through its parent.
A child that *states* more than its parent is refused all the same: nobody should read a delegation and believe more of
it than is true. Signatures, and that `parent` is the digest of the parent, are checked where documents are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from imprimatur.formats.timestamps import parse_time
from imprimatur.rules.money import check_unit, parse_amount
from imprimatur.rules.resources import Pattern, read_host, read_path
from imprimatur.rules.scope import Scope, parse

MAX_CHAIN = 16
MAX_DEPTH = MAX_CHAIN - 1

_CONSTRAINTS = frozenset({"paths", "domains", "max_file_size", "tools"})
_T = TypeVar("_T")
_SPEND = frozenset({"unit", "limit", "per_action"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One facet in which a delegation is not narrower than its parent, or cannot be read."""

    facet: str
    message: str


class LinkError(ValueError):
    """A delegation document that cannot be read. `facet` says which part."""

    def __init__(self, facet: str, message: str) -> None:
        super().__init__(message)
        self.facet = facet


@dataclass(frozen=True, slots=True)
class Money:
    """A delegation's spend facet in millionths of `unit`; absent spend has no unit and a limit of zero."""

    unit: str | None
    limit: int
    per_action: int | None


@dataclass(frozen=True, slots=True)
class Link:
    """One delegation, read and checked: the facets that decide. `None` constrains nothing by this link."""

    realm: str
    issuer: str
    subject: str
    parent: str | None
    on_behalf_of: str | None
    scopes: tuple[Scope, ...]
    paths: tuple[Pattern, ...] | None
    domains: tuple[Pattern, ...] | None
    max_file_size: int | None
    tools: frozenset[str] | None
    money: Money
    not_before: datetime
    not_after: datetime
    max_depth: int


def read(document: Mapping[str, Any]) -> Link:
    """Read the facets of a delegation document.

    Raises:
        LinkError: when one of them is missing, of the wrong type or not well-formed; unknown constraints included.
    """
    if not isinstance(document, Mapping):
        raise LinkError("document", "The delegation is not an object.")
    constraints = _facet("constraints", lambda: _constraints(document.get("constraints", {})))
    not_before = _facet("not_before", lambda: parse_time(document["not_before"]))
    not_after = _facet("not_after", lambda: parse_time(document["not_after"]))
    if not_before >= not_after:
        raise LinkError("not_after", "The delegation ends before it begins.")
    return Link(
        realm=_facet("realm", lambda: _text(document["realm"])),
        issuer=_facet("issuer", lambda: _text(document["issuer"])),
        subject=_facet("subject", lambda: _text(document["subject"])),
        parent=_facet("parent", lambda: _optional_text(document, "parent")),
        on_behalf_of=_facet("on_behalf_of", lambda: _optional_text(document, "on_behalf_of")),
        scopes=_facet("scope", lambda: tuple(parse(text) for text in _texts(document["scope"]))),
        paths=_patterns("constraints.paths", constraints.get("paths"), read_path),
        domains=_patterns("constraints.domains", constraints.get("domains"), read_host),
        max_file_size=_facet("constraints.max_file_size", lambda: _optional_count(constraints, "max_file_size")),
        tools=_facet(
            "constraints.tools", lambda: frozenset(_texts(constraints["tools"])) if "tools" in constraints else None
        ),
        money=_facet("spend", lambda: _money(document["spend"]) if "spend" in document else Money(None, 0, None)),
        not_before=not_before,
        not_after=not_after,
        max_depth=_facet("max_depth", lambda: _depth(document["max_depth"])),
    )


def problems(parent_document: Mapping[str, Any], child_document: Mapping[str, Any]) -> list[Problem]:
    """Every facet in which the child is not narrower than the parent; an empty list means it may be issued.

    A document that cannot be read is one problem, never an exception.
    """
    try:
        parent = read(parent_document)
    except LinkError as error:
        return [Problem(error.facet, f"The parent delegation cannot be read: {error}")]
    try:
        child = read(child_document)
    except LinkError as error:
        return [Problem(error.facet, f"The delegation cannot be read: {error}")]
    return link_problems(parent, child)


def link_problems(parent: Link, child: Link) -> list[Problem]:
    """`problems`, for links that are already read."""
    found: list[Problem] = []

    def check(holds: bool, facet: str, message: str) -> None:
        if not holds:
            found.append(Problem(facet, message))

    check(child.realm == parent.realm, "realm", "It is for another realm than its parent.")
    check(child.issuer == parent.subject, "issuer", "Only the one the parent was given to may pass it on.")
    check(child.parent is not None, "parent", "It does not name its parent.")
    check(child.on_behalf_of == parent.on_behalf_of, "on_behalf_of", "It must act on behalf of whom its parent does.")
    for scope in child.scopes:
        check(any(scope.within(wider) for wider in parent.scopes), "scope", f"{scope} is outside its parent's scope.")
    _check_patterns(check, "constraints.paths", parent.paths, child.paths)
    _check_patterns(check, "constraints.domains", parent.domains, child.domains)
    if parent.max_file_size is not None and child.max_file_size is not None:
        check(
            child.max_file_size <= parent.max_file_size,
            "constraints.max_file_size",
            f"Its parent allows files of {parent.max_file_size} bytes at most.",
        )
    if parent.tools is not None and child.tools is not None:
        extra = ", ".join(sorted(child.tools - parent.tools))
        check(not extra, "constraints.tools", f"Its parent does not allow the tools {extra}.")
    _check_money(check, parent.money, child.money)
    check(child.not_before >= parent.not_before, "not_before", "It begins before its parent.")
    check(child.not_after <= parent.not_after, "not_after", "It ends after its parent.")
    check(parent.max_depth > 0, "max_depth", "Its parent may not be passed on.")
    check(child.max_depth < parent.max_depth, "max_depth", "Its max_depth must be smaller than its parent's.")
    return found


_Check = Callable[[bool, str, str], None]


def _check_patterns(
    check: _Check, facet: str, parent: tuple[Pattern, ...] | None, child: tuple[Pattern, ...] | None
) -> None:
    if parent is None or child is None:
        return
    for pattern in child:
        check(any(wider.includes(pattern) for wider in parent), facet, f"{pattern.text()} is outside its parent's.")


def _check_money(check: _Check, parent: Money, child: Money) -> None:
    if child.limit == 0 and not child.per_action:
        return
    if parent.unit is None:
        check(False, "spend", "Its parent carries no money.")
        return
    check(child.unit == parent.unit, "spend.unit", f"Its parent's money is in {parent.unit}.")
    check(child.limit <= parent.limit, "spend.limit", "Its limit is above its parent's.")
    if child.per_action is not None:
        most = parent.limit if parent.per_action is None else parent.per_action
        check(child.per_action <= most, "spend.per_action", "One action may cost more than under its parent.")


def _facet(facet: str, reading: Callable[[], _T]) -> _T:
    try:
        return reading()
    except KeyError:
        raise LinkError(facet, f"{facet} is missing.") from None
    except (ValueError, TypeError) as error:
        raise LinkError(facet, f"{facet}: {error}") from None


def _patterns(facet: str, value: object, reader: Callable[[str], Pattern]) -> tuple[Pattern, ...] | None:
    if value is None:
        return None
    return _facet(facet, lambda: tuple(reader(text) for text in _texts(value)))


def _constraints(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("constraints is not an object")
    unknown = set(value) - _CONSTRAINTS
    if unknown or any(part is None for part in value.values()):
        # A constraint this version does not know cannot be kept, so the whole delegation is not used.
        raise ValueError(f"unknown or empty constraint {', '.join(sorted(map(str, unknown)))}".rstrip())
    return value


def _money(value: object) -> Money:
    if not isinstance(value, Mapping) or set(value) - _SPEND:
        raise ValueError("spend holds unit, limit and, if wanted, per_action")
    per_action = parse_amount(value["per_action"]) if "per_action" in value else None
    return Money(check_unit(value["unit"]), parse_amount(value["limit"]), per_action)


def _depth(value: object) -> int:
    depth = _count(value)
    if depth > MAX_DEPTH:
        raise ValueError(f"max_depth is at most {MAX_DEPTH}")
    return depth


def _optional_count(value: Mapping[str, Any], name: str) -> int | None:
    return _count(value[name]) if name in value else None


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number from 0 is needed")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("a list of texts is needed")
    return [_text(part) for part in value]


def _optional_text(document: Mapping[str, Any], name: str) -> str | None:
    return _text(document[name]) if name in document else None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text is needed")
    return value
