"""The tool registry's documents: what a tool takes, what it does to the world, and how bad that can get.

A document is data that people sign for. Effects, cost, size and target are *derived* from the parameters by its
templates, so an agent cannot describe its own call. The digest of the whole document is what a binding names as the
tool's schema: a change to any template is another tool."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from imprimatur.formats import canonical, digests, shapes
from imprimatur.rules.money import MoneyError, check_unit
from imprimatur.rules.risk import Risk

TYP = "imprimatur/tool/v1"
REVERSIBILITIES = ("read-only", "reversible", "externally-reversible", "irreversible")
CARDS = ("file-read", "file-write", "file-delete", "mail", "payment", "code", "network", "generic")
SETTLE = ("spent", "reported")

TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,127}")
PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,63}")
ACTION = re.compile(r"[a-z][a-z0-9_\-]*:[a-z][a-z0-9_\-]*")
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_\-]*)\}")

SHAPE = shapes.Obj(
    required={
        "typ": shapes.Const(TYP),
        "name": shapes.Text(max=128),
        "title": shapes.Text(max=200),
        "schema": shapes.Any_(),
        "effects": shapes.ListOf(
            shapes.Obj(required={"action": shapes.Text(max=128), "resource": shapes.Text(max=1000)}, optional={}), 16
        ),
        "target": shapes.Text(max=1000),
        "reversibility": shapes.OneOf(*REVERSIBILITIES),
        "destructive": shapes.Bool(),
        "settle": shapes.OneOf(*SETTLE),
        "executor": shapes.Text(max=128),
        "withhold": shapes.ListOf(shapes.Text(max=64), 64),
        "card": shapes.OneOf(*CARDS),
        "sentence": shapes.Text(max=500),
    },
    optional={
        "cost": shapes.Obj(required={"amount": shapes.Text(max=200), "unit": shapes.Text(max=200)}, optional={}),
        "size": shapes.Text(max=200),
        "minimum_risk": shapes.OneOf(*(risk.value for risk in Risk)),
    },
)


class ToolError(ValueError):
    """A tool document the registry cannot take. `problems` lists every fault found, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(" ".join(problems))


def digest(document: Mapping[str, Any]) -> str:
    """The content address of a tool: SHA-256 over ``imprimatur/tool/v1`` 0x00 JCS(document).

    It stands in every binding as ``tool.schema``.
    """
    return digests.tagged(TYP, canonical.dumps(dict(document)))


def placeholders(template: str) -> list[str]:
    """The parameters a template names, in order. Raises ToolError when a brace is not part of a placeholder."""
    rest = PLACEHOLDER.sub("", template)
    if "{" in rest or "}" in rest:
        raise ToolError([f"The template {template!r} has a brace that is not a {{parameter}}."])
    return [found.group(1) for found in PLACEHOLDER.finditer(template)]


def _is_list(shape: object) -> bool:
    return isinstance(shape, dict) and shape.get("type") == "array"


def _is_unit(text: str) -> bool:
    try:
        return bool(check_unit(text))
    except MoneyError:
        return False


def _remote_references(schema: object, where: str) -> Iterable[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and not (isinstance(value, str) and value.startswith("#")):
                yield f"{where}.{key}: a reference must stay inside the schema (start it with #)."
            if key in ("$id", "$schema"):
                yield f"{where}.{key}: leave it out; a tool's schema stands on its own."
            yield from _remote_references(value, f"{where}.{key}")
    elif isinstance(schema, list):
        for position, value in enumerate(schema):
            yield from _remote_references(value, f"{where}[{position}]")


def _schema_problems(schema: object) -> list[str]:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return ['schema: it must be an object schema ("type": "object").']
    found = list(_remote_references(schema, "schema"))
    if schema.get("additionalProperties") is not False:
        found.append('schema: it must be closed ("additionalProperties": false), or a card could not show every field.')
    if "patternProperties" in schema:
        found.append("schema: patternProperties would open it again; name each property.")
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return [*found, "schema.properties: list the parameters the tool takes."]
    found += [
        f"schema.properties: {name!r} is not a parameter name (letters, digits, _ and -)."
        for name in properties
        if not (isinstance(name, str) and PARAMETER_NAME.fullmatch(name))
    ]
    required = schema.get("required", [])
    if not isinstance(required, list) or any(name not in properties for name in required):
        found.append("schema.required: it names a parameter that schema.properties does not have.")
    return found


def check(document: object) -> None:
    """Refuse a document that is not a complete, closed, self-consistent tool. Raises ToolError with every problem."""
    try:
        shapes.check(document, SHAPE, "tool")
        if isinstance(document, dict):
            canonical.dumps(document)
    except (shapes.ShapeError, canonical.CanonicalError) as error:
        raise ToolError([str(error)]) from error
    if not isinstance(document, dict):
        raise ToolError(["tool: it must be an object."])
    found = _schema_problems(document["schema"])
    if found:
        raise ToolError(found)
    schema = document["schema"]
    properties: dict[str, Any] = schema["properties"]
    always = set(schema.get("required", ())) | {
        name for name, shape in properties.items() if isinstance(shape, dict) and "default" in shape
    }
    if not TOOL_NAME.fullmatch(document["name"]):
        found.append("name: use letters, digits, _ . and -, starting with a letter.")
    if not document["effects"]:
        found.append("effects: a tool without an effect cannot be held to a scope; name at least one.")
    cost = document.get("cost", {})
    templates = [(f"effects[{n}].resource", effect["resource"], True) for n, effect in enumerate(document["effects"])]
    templates += [("target", document["target"], False), ("sentence", document["sentence"], False)]
    templates += [(f"cost.{key}", cost[key], True) for key in cost]
    if "size" in document:
        templates.append(("size", document["size"], True))
    for where, template, needed in templates:
        try:
            names = placeholders(template)
        except ToolError as error:
            found += [f"{where}: {problem}" for problem in error.problems]
            continue
        for name in names:
            if name not in properties:
                found.append(f"{where}: there is no parameter {name!r} in the schema.")
            elif needed and name not in always:
                found.append(
                    f"{where}: {name!r} must be required or have a default, or the effect could not be derived."
                )
            elif needed and name in document["withhold"]:
                found.append(f"{where}: {name!r} may be withheld, so nothing can be derived from it.")
    if "size" in document and not re.fullmatch(PLACEHOLDER, document["size"]):
        found.append("size: name one parameter, such as {content}.")
    if cost and not _is_unit(cost["unit"]) and not re.fullmatch(PLACEHOLDER, cost["unit"]):
        found.append('cost.unit: write a unit such as "USD", or one parameter such as {currency}.')
    for position, effect in enumerate(document["effects"]):
        if not ACTION.fullmatch(effect["action"]):
            found.append(f"effects[{position}].action: write domain:verb, such as file:write.")
        lists = [n for n in PLACEHOLDER.findall(effect["resource"]) if _is_list(properties.get(n))]
        if len(lists) > 1:
            found.append(f"effects[{position}].resource: only one list can fan out.")
    found += [
        f"withhold: there is no parameter {name!r} in the schema."
        for name in document["withhold"]
        if name not in properties
    ]
    if found:
        raise ToolError(found)


MOST_COMPILED = 32
"""Schemas that a validator keeps compiled, one for each combination of withheld parameters."""


class Validator:
    """Checks parameters against one tool's schema. Messages never repeat a value, only where it stands."""

    def __init__(self, document: Mapping[str, Any], compile_schema: Callable[[dict[str, Any]], Any]) -> None:
        self._schema: dict[str, Any] = dict(document["schema"])
        self._may_withhold = frozenset(document["withhold"])
        self._compile = compile_schema
        self._whole = compile_schema(self._schema)
        # Whoever asks chooses what to withhold, and n fields make 2^n choices: only the latest are kept compiled.
        self._without = lru_cache(MOST_COMPILED)(self._compile_without)

    def problems(self, parameters: object, withheld: Iterable[str] = ()) -> list[str]:
        """Every way the parameters depart from the schema; empty when they fit.

        A parameter in `withheld` may be missing, if the tool allows that one to be withheld.
        """
        absent = frozenset(withheld)
        if absent - self._may_withhold:
            return ["A parameter was withheld that this tool does not allow to be withheld: send it."]
        compiled = self._without(absent) if absent else self._whole
        found = []
        for error in compiled.iter_errors(parameters):
            path = ".".join(str(step) for step in error.instance_path)
            found.append(f"{path or 'parameters'}: {error.message}")
        return found

    def _compile_without(self, absent: frozenset[str]) -> Any:
        required = [name for name in self._schema.get("required", ()) if name not in absent]
        return self._compile({**self._schema, "required": required})


def validator(document: Mapping[str, Any]) -> Validator:
    """A compiled validator for the document's schema.

    Needs the optional ``jsonschema-rs`` package (the server has it); raises RuntimeError with what to install without
    it, and ToolError when the schema is not a valid JSON schema (draft 2020-12).
    """
    try:
        import jsonschema_rs
    except ImportError as error:
        raise RuntimeError(
            "Checking parameters against a schema needs jsonschema-rs: pip install jsonschema-rs"
        ) from error

    def compile_schema(schema: dict[str, Any]) -> Any:
        try:
            return jsonschema_rs.Draft202012Validator(schema, mask="the value")
        except ValueError as error:
            raise ToolError([f"schema: it is not a valid JSON schema. {error}"]) from error

    return Validator(document, compile_schema)


def _text(maximum: int, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": maximum, **more}


def _tool(
    name: str,
    title: str,
    properties: dict[str, Any],
    effects: list[tuple[str, str]],
    *,
    required: list[str],
    target: str,
    sentence: str,
    reversibility: str,
    card: str,
    destructive: bool = False,
    withhold: list[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "typ": TYP,
        "name": name,
        "title": title,
        "schema": {"type": "object", "additionalProperties": False, "properties": properties, "required": required},
        "effects": [{"action": action, "resource": resource} for action, resource in effects],
        "target": target,
        "reversibility": reversibility,
        "destructive": destructive,
        "settle": "spent",
        "executor": "agent",
        "withhold": withhold or [],
        "card": card,
        "sentence": sentence,
        **more,
    }


_PATH = _text(4096)
_BODY = {"type": "string", "maxLength": 10_000_000}
_URL = _text(8192, pattern="^https?://")
_ADDRESS = _text(320, pattern="^[^@\\s]+@[^@\\s]+$")

DEFAULT_TOOLS: dict[str, dict[str, Any]] = {
    document["name"]: document
    for document in (
        _tool(
            "read_file",
            "Read a file",
            {"path": _PATH},
            [("file:read", "{path}")],
            required=["path"],
            target="{path}",
            sentence="read {path}",
            reversibility="read-only",
            card="file-read",
        ),
        _tool(
            "write_file",
            "Write a file",
            {"path": _PATH, "content": _BODY, "destructive": {"type": "boolean"}},
            [("file:write", "{path}")],
            required=["path", "content"],
            target="{path}",
            sentence="write {path}",
            reversibility="reversible",
            card="file-write",
            size="{content}",
        ),
        _tool(
            "delete_file",
            "Delete a file",
            {"path": _PATH},
            [("file:delete", "{path}")],
            required=["path"],
            target="{path}",
            sentence="delete {path}",
            reversibility="irreversible",
            card="file-delete",
            destructive=True,
            minimum_risk="HIGH",
        ),
        _tool(
            "send_email",
            "Send mail",
            {
                "to": {"type": "array", "items": _ADDRESS, "minItems": 1, "maxItems": 50, "uniqueItems": True},
                "subject": {"type": "string", "maxLength": 998},
                "body": _BODY,
            },
            [("email:send", "{to}")],
            required=["to", "subject", "body"],
            target="{to}",
            sentence="send mail to {to}",
            reversibility="irreversible",
            card="mail",
            size="{body}",
            minimum_risk="HIGH",
        ),
        _tool(
            "execute_code",
            "Run code",
            {"code": _BODY, "language": _text(40, default="python"), "cwd": _text(4096, default="/project")},
            [("code:execute", "{cwd}")],
            required=["code"],
            target="{cwd}",
            sentence="run code in {cwd}",
            reversibility="irreversible",
            card="code",
            size="{code}",
            minimum_risk="HIGH",
        ),
        _tool(
            "make_payment",
            "Make a payment",
            {
                "payee": _text(200),
                "amount": _text(40, pattern="^[0-9]+(\\.[0-9]{1,6})?$"),
                "currency": _text(12, pattern="^[A-Z]{3}$"),
                "reference": {"type": "string", "maxLength": 140},
                "account": _text(64),
            },
            [("payment:send", "{payee}")],
            required=["payee", "amount", "currency", "reference"],
            target="{payee}",
            sentence="pay {amount} {currency} to {payee}",
            reversibility="irreversible",
            card="payment",
            cost={"amount": "{amount}", "unit": "{currency}"},
            withhold=["account"],
            minimum_risk="HIGH",
        ),
        _tool(
            "http_request",
            "Make a web request",
            {"method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]}, "url": _URL, "body": _BODY},
            [("network:http", "{url}")],
            required=["method", "url"],
            target="{url}",
            sentence="{method} {url}",
            reversibility="externally-reversible",
            card="network",
            withhold=["body"],
        ),
        _tool(
            "call_external",
            "Call an outside service",
            {"url": _URL, "operation": _text(200), "payload": _BODY},
            [("network:external", "{url}")],
            required=["url"],
            target="{url}",
            sentence="call the outside service {url}",
            reversibility="externally-reversible",
            card="network",
            withhold=["payload"],
        ),
    )
}
