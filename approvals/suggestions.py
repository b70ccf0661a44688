"""Suggest a change: a no, with the parameters a reviewer would rather see. What runs is never edited here.

The agent reads the suggestion with its refusal, and may ask again with these parameters (``supersedes``): then a person
answers a new request, over the bytes that will run. Fields that the agent withheld, or that were erased, are left out
and stay the agent's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals import openings
from approvals.models import ActionRequest
from governance import registry
from governance.errors import Refused
from imprimatur.formats import canonical

LINES, CHOICE, JSON = "lines", "choice", "json"
MOST_PROBLEMS = 5


@dataclass(frozen=True)
class Field:
    """One parameter as a form asks for it, with ``text`` as it was asked.

    ``kind`` is lines (text as it is), choice, or json.
    """

    name: str
    kind: str
    text: str
    required: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """What of a request can be proposed anew: ``parameters`` as asked, without those in ``hidden``."""

    tool: registry.RegisteredTool
    parameters: dict[str, Any]
    hidden: tuple[str, ...]
    fields: tuple[Field, ...]

    def read(self, typed: Mapping[str, str]) -> dict[str, Any]:
        """The parameters that were put together, by name of the field. An optional one left empty is left out.

        Raises Refused ``invalid``: not JSON where JSON is wanted, against the tool's schema, or nothing changed.
        """
        proposed = {field.name: value for field in self.fields if (value := self._value(field, typed)) is not _OUT}
        problems = self.tool.validate(proposed, self.hidden)
        if problems:
            raise Refused("invalid", "This does not fit the tool: " + " ".join(problems[:MOST_PROBLEMS]))
        if proposed == self.parameters:
            raise Refused("invalid", "This is what was asked. Change something, or deny it with words alone.")
        return {"parameters": proposed}

    def _value(self, field: Field, typed: Mapping[str, str]) -> Any:
        text = typed.get(field.name, "")
        if text == "" and not field.required and self.parameters.get(field.name) != "":
            return _OUT
        if field.kind == LINES:
            # Browsers end every line with CR LF; what was asked says which ends are meant.
            return text if "\r\n" in field.text else text.replace("\r\n", "\n")
        try:
            return canonical.loads(text.encode("utf-8", "surrogatepass"))
        except canonical.CanonicalError:
            raise Refused("invalid", f'{field.name}: write JSON here, such as 12, true, "text" or [1, 2].') from None


_OUT: Any = object()


def of(request: ActionRequest) -> Proposal:
    """What may be proposed instead of this request.

    Raises Refused ``invalid`` where there is nothing to hold a proposal against: a tool the registry does not know.
    """
    if not request.known_tool:
        raise Refused("invalid", "The registry does not know this tool, so no change can be checked. Deny it in words.")
    tool = registry.by_digest(request.tool_digest)
    known = openings.values(request.id)
    committed = canonical.loads(bytes(request.binding))["parameters"]
    hidden = {name for name, commitment in committed.items() if commitment not in known}
    asked = {name: known[commitment] for name, commitment in committed.items() if name not in hidden}
    schema = tool.document["schema"]
    fields = tuple(
        _field(name, shape, asked, name in schema.get("required", ()))
        for name, shape in schema.get("properties", {}).items()
        if name not in hidden
    )
    return Proposal(tool, asked, tuple(sorted(hidden)), fields)


def _field(name: str, shape: Any, asked: Mapping[str, Any], required: bool) -> Field:
    shape = shape if isinstance(shape, dict) else {}
    there, value = name in asked, asked.get(name)
    as_json = json.dumps(value, ensure_ascii=False) if there else ""
    if shape.get("type") == "string" and "enum" not in shape and (not there or isinstance(value, str)):
        return Field(name, LINES, str(value) if there else "", required)
    options = [True, False] if shape.get("type") == "boolean" else shape.get("enum")
    if options:
        choices = tuple(json.dumps(option, ensure_ascii=False) for option in options)
        return Field(name, CHOICE, as_json, required, choices)
    return Field(name, JSON, as_json, required)
