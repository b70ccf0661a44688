"""A tiny language for closed schemas, standard library only: what is not named is refused, and nothing is coerced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from imprimatur.formats import digests, encoding, ids, timestamps
from imprimatur.formats.canonical import MAX_INT


class ShapeError(ValueError):
    """A value does not have its shape. ``path`` says where, ``message`` what was expected (never the value itself)."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'document'}: {message}")
        self.path = path
        self.message = message


class Shape(Protocol):
    """Anything that can check a value found at ``where``."""

    def check(self, value: Any, where: str) -> None:
        """Raise :class:`ShapeError` unless ``value`` fits."""


def check(value: Any, shape: Shape, where: str = "") -> None:
    """Raise :class:`ShapeError` unless ``value`` fits ``shape`` exactly."""
    shape.check(value, where)


@dataclass(frozen=True)
class Text:
    """A string of ``min`` to ``max`` characters, optionally matching all of ``pattern`` (ASCII rules)."""

    max: int = 1024
    min: int = 1
    pattern: str | None = None

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise ShapeError(where, "must be a string")
        if not self.min <= len(value) <= self.max:
            raise ShapeError(where, f"must have {self.min} to {self.max} characters")
        if self.pattern is not None and not re.fullmatch(self.pattern, value, re.ASCII):
            raise ShapeError(where, f"must match {self.pattern}")


@dataclass(frozen=True)
class Int:
    """An integer (never a boolean) from ``min`` to ``max``."""

    min: int = 0
    max: int = MAX_INT

    def check(self, value: Any, where: str) -> None:
        if type(value) is not int:
            raise ShapeError(where, "must be an integer")
        if not self.min <= value <= self.max:
            raise ShapeError(where, f"must lie between {self.min} and {self.max}")


@dataclass(frozen=True)
class Bool:
    """``true`` or ``false``."""

    def check(self, value: Any, where: str) -> None:
        if type(value) is not bool:
            raise ShapeError(where, "must be true or false")


@dataclass(frozen=True)
class Digest:
    """``sha256:<64 hex>``."""

    def check(self, value: Any, where: str) -> None:
        if not digests.is_digest(value):
            raise ShapeError(where, "must be a digest, sha256: and 64 lower-case hex digits")


@dataclass(frozen=True)
class Time:
    """``YYYY-MM-DDTHH:MM:SS.mmmZ`` and a real date."""

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise ShapeError(where, "must be a time of the form YYYY-MM-DDTHH:MM:SS.mmmZ")
        try:
            timestamps.parse_time(value)
        except ValueError as error:
            raise ShapeError(where, str(error)) from None


@dataclass(frozen=True)
class Id:
    """An identifier with this prefix (``Id("ag")`` is an agent's)."""

    prefix: str

    def check(self, value: Any, where: str) -> None:
        if not ids.is_id(self.prefix, value):
            raise ShapeError(where, f"must be an id that starts with {self.prefix}_")


@dataclass(frozen=True)
class Binary:
    """Unpadded base64url of ``min`` to ``max`` bytes."""

    min: int = 0
    max: int = 4096

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise ShapeError(where, "must be unpadded base64url")
        try:
            size = len(encoding.un_b64u(value))
        except ValueError as error:
            raise ShapeError(where, str(error)) from None
        if not self.min <= size <= self.max:
            raise ShapeError(where, f"must hold {self.min} to {self.max} bytes")


@dataclass(frozen=True)
class Commitment:
    """``c:`` and the base64url of 32 bytes."""

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str) or not value.startswith("c:"):
            raise ShapeError(where, "must be a commitment, c: and 43 characters")
        Binary(32, 32).check(value[2:], where)


@dataclass(frozen=True)
class Amount:
    """A decimal string such as ``150.00``: no sign, no exponent, at most six decimals, below 2**53 millionths."""

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?", value):
            raise ShapeError(where, 'must be an amount such as "150.00"')
        whole, _, fraction = value.partition(".")
        if int(whole) * 10**6 + int(fraction.ljust(6, "0") or "0") > MAX_INT:
            raise ShapeError(where, "amount too large")


@dataclass(frozen=True)
class Const:
    """Exactly this value, of exactly this type."""

    value: Any

    def check(self, value: Any, where: str) -> None:
        if type(value) is not type(self.value) or value != self.value:
            raise ShapeError(where, f"must be {self.value!r}")


@dataclass(frozen=True, init=False)
class OneOf:
    """One of a few strings."""

    values: tuple[str, ...]

    def __init__(self, *values: str) -> None:
        object.__setattr__(self, "values", values)

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in self.values:
            raise ShapeError(where, "must be one of " + ", ".join(self.values))


@dataclass(frozen=True)
class ListOf:
    """A list of ``min`` to ``max`` items of one shape."""

    shape: Shape
    max: int = 1000
    min: int = 0
    unique: bool = False

    def check(self, value: Any, where: str) -> None:
        if type(value) is not list:
            raise ShapeError(where, "must be a list")
        if not self.min <= len(value) <= self.max:
            raise ShapeError(where, f"must have {self.min} to {self.max} items")
        for position, item in enumerate(value):
            self.shape.check(item, f"{where}[{position}]")
        if self.unique and any(item in value[:position] for position, item in enumerate(value)):
            raise ShapeError(where, "must not repeat an item")


@dataclass(frozen=True)
class MapOf:
    """An object with keys of one shape and values of one shape."""

    shape: Shape
    max: int = 256
    key: Shape = field(default_factory=lambda: Text(max=256))

    def check(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            raise ShapeError(where, "must be an object")
        if len(value) > self.max:
            raise ShapeError(where, f"must have at most {self.max} keys")
        for name, item in value.items():
            self.key.check(name, f"a key of {where or 'document'}")
            self.shape.check(item, _join(where, name))


@dataclass(frozen=True)
class Obj:
    """A closed object: every required key, any of the optional ones, nothing else."""

    required: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)

    def check(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            raise ShapeError(where, "must be an object")
        for name, shape in self.required.items():
            if name not in value:
                raise ShapeError(_join(where, name), "is missing")
            shape.check(value[name], _join(where, name))
        for name, item in value.items():
            if name in self.required:
                continue
            optional = self.optional.get(name)
            if optional is None:
                raise ShapeError(where, f"has an unknown key {str(name)[:40]!r}")
            optional.check(item, _join(where, name))


@dataclass(frozen=True)
class Tagged:
    """One of several closed objects, told apart by the string under ``tag``."""

    tag: str
    variants: Mapping[str, Obj]

    def check(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            raise ShapeError(where, "must be an object")
        name = value.get(self.tag)
        variant = self.variants.get(name) if isinstance(name, str) else None
        if variant is None:
            raise ShapeError(_join(where, self.tag), "must be one of " + ", ".join(self.variants))
        variant.check(value, where)


@dataclass(frozen=True)
class Any_:  # noqa: N801 - `Any` is typing's
    """Anything a signed object may hold; the canonical encoder is what limits it."""

    def check(self, value: Any, where: str) -> None:
        return None


@dataclass(frozen=True)
class Document:
    """Any object (a policy, a tool): its own module knows its shape."""

    def check(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            raise ShapeError(where, "must be an object")


def _join(where: str, name: object) -> str:
    # Keys come from strangers; a path must stay short and on one line.
    label = str(name)[:40]
    label = label if label.isprintable() else ascii(label)
    return f"{where}.{label}" if where else label
