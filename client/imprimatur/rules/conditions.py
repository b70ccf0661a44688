"""Conditions of policy rules: CEL, compiled by the `common-expression-language` package, with two promises of our own.

Before a condition is saved it is read once more here, token by token, because CEL orders strings as text: "10" < "9" is
true, and a limit written that way would let money through. CEL never converts between kinds, so it is enough that *one*
side of each ordering is provably not text. What cannot be shown to be safe is refused with a word on how to write it.
When a condition is evaluated, whatever goes wrong is one `ConditionError` whose message repeats nothing it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.rules import money, scope

NUMBERS = frozenset({"cost.micro", "size", "time.hour", "time.minute", "time.weekday", "time.at"})
TEXTS = frozenset(
    {
        "tool",
        "action",
        "resource",
        "agent",
        "owner",
        "delegation",
        "cost.amount",
        "cost.unit",
        "reversibility",
        "risk_claimed",
    }
)
VARIABLES = frozenset(
    {
        "tool",
        "action",
        "resource",
        "effects",
        "cost",
        "size",
        "agent",
        "owner",
        "delegation",
        "parameters",
        "context",
        "reversibility",
        "destructive",
        "known",
        "withheld",
        "risk_claimed",
        "time",
    }
)
PER_EFFECT = frozenset({"action", "resource"})
_TYPES = frozenset({"int", "uint", "double", "string", "bool", "bytes", "list", "map", "null_type"})
_NUMERIC_FUNCTIONS = frozenset(
    {
        "int",
        "uint",
        "double",
        "money",
        "size",
        "timestamp",
        "duration",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getDayOfWeek",
        "getDayOfMonth",
        "getDate",
        "getMonth",
        "getFullYear",
        "getDayOfYear",
    }
)
_FUNCTIONS = _NUMERIC_FUNCTIONS | {
    "string",
    "bytes",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "under",
    "type",
    "has",
}
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_ORDER = frozenset({"<", "<=", ">", ">="})
_STOP = _ORDER | {"==", "!=", "in", "&&", "||", "?", ":", ","}
_OPENERS, _CLOSERS = frozenset("([{"), frozenset(")]}")
MAX_LENGTH = 2000

_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    r"|(?P<text>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    r"|(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[uU]?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark><=|>=|==|!=|&&|\|\||[<>!?:.,()\[\]{}+\-*/%])",
    re.DOTALL,
)


class ConditionError(ValueError):
    """A condition that cannot be saved, or could not be evaluated. The message never repeats values it was given."""


Token = tuple[str, str]


def _tokens(source: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ConditionError(f"Character {at + 1} cannot be read here.")
        kind, text = str(match.lastgroup), match.group()
        if kind == "text" and "r" in text[:2].lower() and "\\" in text:
            # In a raw string a backslash does not escape the quote, so where it ends would be a guess.
            raise ConditionError(
                "Write the text without r in front: a raw string with a backslash can be read in two ways."
            )
        if kind != "space":
            found.append((kind, text))
        at = match.end()
    return found


def _operand(tokens: list[Token], at: int, step: int) -> list[Token]:
    """The tokens on one side of the operator at `at`, as far as the operator reaches."""
    enter, leave = (_OPENERS, _CLOSERS) if step > 0 else (_CLOSERS, _OPENERS)
    depth, out, place = 0, [], at + step
    while 0 <= place < len(tokens):
        kind, text = tokens[place]
        if kind == "mark" or text == "in":
            if depth == 0 and (text in leave or text in _STOP):
                break
            depth += (text in enter) - (text in leave)
        out.append(tokens[place])
        place += step
    return out if step > 0 else out[::-1]


def _split(tokens: list[Token], marks: frozenset[str]) -> list[list[Token]]:
    """Parts between binary operators of `marks` outside brackets; a leading sign stays with its operand."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for kind, text in tokens:
        if kind == "mark" and depth == 0 and text in marks and parts[-1]:
            parts.append([])
            continue
        depth += (kind == "mark") * ((text in _OPENERS) - (text in _CLOSERS))
        parts[-1].append((kind, text))
    return parts


def _kind(tokens: list[Token]) -> str:
    """ "number" (or a time: anything that is surely not text), "text", or "unknown"."""
    if not tokens:
        return "unknown"
    if tokens[0] == ("mark", "(") and _matching(tokens, 0) == len(tokens) - 1:
        inner = tokens[1:-1]
        depth = 0
        for kind, text in inner:
            depth += (kind == "mark") * ((text in _OPENERS) - (text in _CLOSERS))
            if depth == 0 and text in _STOP:
                return "unknown"
        return _kind(inner)
    if len(_split(tokens, frozenset("-*/%"))) > 1 or tokens[0] == ("mark", "-"):
        return "number"
    terms = _split(tokens, frozenset("+"))
    if len(terms) > 1:
        kinds = {_kind(term) for term in terms}
        return "number" if "number" in kinds else "text" if "text" in kinds else "unknown"
    if len(tokens) == 1 and tokens[0][0] in ("number", "text"):
        return tokens[0][0]
    if all(kind == "name" or text == "." for kind, text in tokens):
        path = "".join(text for _, text in tokens)
        return "number" if path in NUMBERS else "text" if path in TEXTS else "unknown"
    if tokens[-1] == ("mark", ")"):
        opening = next((n for n in range(len(tokens)) if _matching(tokens, n) == len(tokens) - 1), 0)
        name = tokens[opening - 1][1] if opening and tokens[opening - 1][0] == "name" else ""
        return "number" if name in _NUMERIC_FUNCTIONS else "text" if name == "string" else "unknown"
    return "unknown"


def _matching(tokens: list[Token], at: int) -> int:
    if tokens[at][0] != "mark" or tokens[at][1] not in _OPENERS:
        return -1
    depth = 0
    for place in range(at, len(tokens)):
        kind, text = tokens[place]
        depth += (kind == "mark") * ((text in _OPENERS) - (text in _CLOSERS))
        if depth == 0:
            return place
    return -1


def _bound(tokens: list[Token]) -> set[str]:
    """Names that list macros bind; refuses one that hides a fact, and macros within macros (their cost multiplies)."""
    names: set[str] = set()
    depth = 0
    macro_depths: list[int] = []
    for place, (kind, text) in enumerate(tokens):
        if kind == "mark" and text in _OPENERS:
            depth += 1
            before = tokens[place - 1] if place else ("", "")
            if text == "(" and before[0] == "name" and before[1] in _MACROS:
                if macro_depths:
                    raise ConditionError(
                        "One list inside another is too costly here: use a single all, exists, map or filter."
                    )
                macro_depths.append(depth)
                name = tokens[place + 1][1] if place + 1 < len(tokens) else ""
                if name in VARIABLES | _TYPES or name in {fact.split(".")[0] for fact in NUMBERS}:
                    raise ConditionError(f"{name!r} already names something here: call the list item something else.")
                names.add(name)
        elif kind == "mark" and text in _CLOSERS:
            if macro_depths and macro_depths[-1] == depth:
                macro_depths.pop()
            depth -= 1
    return names


class Condition:
    """One compiled condition. Building it raises ConditionError with what to change."""

    def __init__(self, source: str) -> None:
        if not source.strip() or len(source) > MAX_LENGTH:
            raise ConditionError(f"Write a condition of 1 to {MAX_LENGTH} characters, or leave `when` out.")
        try:
            import cel
        except ImportError as error:
            raise RuntimeError("Policy conditions need CEL: pip install common-expression-language") from error
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise ConditionError(f"It is not valid CEL. {str(error).splitlines()[0][:300]}") from error
        self.source = source
        tokens = _tokens(source)
        bound = _bound(tokens)
        variables, functions = set(self._program.variables()), set(self._program.functions())
        self._check_names(variables - bound - _TYPES, functions)
        self._check_order(tokens, functions)
        self.per_effect = bool(variables & PER_EFFECT) or "under" in functions
        self.unit_free_money = any(
            tokens[n : n + 2] == [("name", "money"), ("mark", "(")]
            and ("mark", ",") not in tokens[n : _matching(tokens, n + 1)]
            for n in range(len(tokens) - 1)
        )

    def _check_names(self, variables: set[str], functions: set[str]) -> None:
        unknown = sorted(variables - VARIABLES)
        if unknown:
            raise ConditionError(f"{unknown[0]!r} is not a fact. Known facts: {', '.join(sorted(VARIABLES))}.")
        strange = sorted(
            name
            for name in functions
            if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name) and name not in _FUNCTIONS | _MACROS
        )
        if strange:
            raise ConditionError(f"{strange[0]!r} is not a function here. Known: {', '.join(sorted(_FUNCTIONS))}.")

    def _check_order(self, tokens: list[Token], functions: set[str]) -> None:
        seen = {text for kind, text in tokens if kind == "mark" and text in _ORDER}
        if seen != {name.strip("_") for name in functions} & _ORDER:
            raise ConditionError("Its comparisons cannot be told apart: write it more plainly.")
        for at, (kind, text) in enumerate(tokens):
            if kind != "mark" or text not in _ORDER:
                continue
            kinds = {_kind(_operand(tokens, at, -1)), _kind(_operand(tokens, at, 1))}
            if "text" in kinds:
                raise ConditionError(
                    f'{text} would compare text letter by letter ("10" < "9" is true). Compare numbers: '
                    'cost.micro with money("5.00", "USD"), or int(...).'
                )
            if "number" not in kinds:
                raise ConditionError(
                    f"{text} compares two values that might be text. Wrap one side in int(...) or money(...)."
                )

    def holds(self, context: Any) -> bool:
        """Evaluate in a context from `context`. Raises ConditionError for any error and any answer but a boolean."""
        try:
            answer = self._program.execute(context)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except (
            BaseException
        ) as error:  # the library is native: a panic in it is not an Exception, and must still not mean "allow"
            raise ConditionError(_SENTENCES.get(type(error), "it could not be evaluated")) from None
        if type(answer) is not bool:
            raise ConditionError("its answer is neither true nor false")
        return answer


_SENTENCES: dict[type[BaseException], str] = {
    KeyError: "a value it reads is not there",
    TypeError: "it compares values of different kinds",
    ZeroDivisionError: "it divides by zero",
    OverflowError: "a number in it is too large",
    ValueError: "a value it reads cannot be converted",
}


def money_function(unit: str) -> Callable[..., int]:
    """`money("5.00", "USD")` in millionths. A cost in another unit than the one named is an error, not a comparison."""

    def convert(amount: object, wanted: object = None) -> int:
        if not isinstance(amount, str) or (wanted is not None and unit and wanted != unit):
            raise ValueError("money: not an amount, or another unit")
        try:
            return money.read_amount(amount)
        except money.MoneyError:
            raise ValueError("money: not an amount") from None

    return convert


def under_function(action: str) -> Callable[[object, object], bool]:
    """`under(resource, "/project/src")`: that resource and what lies below it, by segments, as scopes have it."""

    def under(resource: object, parent: object) -> bool:
        if not isinstance(resource, str) or not isinstance(parent, str):
            raise ValueError("under: two texts are needed")
        try:
            return scope.parse(f"{action}:{parent}").covers(action, resource)
        except scope.ScopeError:
            raise ValueError("under: not a resource of this action") from None

    return under


def context(variables: Mapping[str, Any], *, unit: str, action: str) -> Any:
    """A CEL context holding these facts and our functions. Raises ConditionError when a fact cannot be handed over."""
    import cel

    try:
        made = cel.Context()
        for name, value in variables.items():
            made.add_variable(name, value)
        made.add_function("money", money_function(unit))
        made.add_function("under", under_function(action))
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # as in holds(): whatever the native library meets, the answer is an error
        raise ConditionError("the facts of this request could not be read") from None
    return made


def retarget(made: Any, *, action: str, resource: str) -> None:
    """Turn a context to another effect of the same request, without handing over the other facts again."""
    made.add_variable("action", action)
    made.add_variable("resource", resource)
    made.add_function("under", under_function(action))
