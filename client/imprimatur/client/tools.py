"""From a Python function to a tool: which of its arguments are bound (all of them), and what a refusal looks like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imprimatur.client.wish import RISKS, kept
from imprimatur.errors import ActionBlocked, ApprovalDenied, ConfigError, RequestInvalid
from imprimatur.formats import canonical

OnDenied = Literal["raise", "return"]


@dataclass(frozen=True, slots=True)
class ToolRefusal:
    """What a tool with ``on_denied="return"`` returns instead of running: false in a condition, a sentence as text."""

    code: str
    message: str
    decided_by: str | None
    note: str | None
    action_id: str | None
    hint: str
    suggestion: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        who = f" by {self.decided_by}" if self.decided_by else ""
        note = f" Note: {self.note}" if self.note else ""
        instead = ""
        if self.suggestion is not None:
            instead = f" Suggested instead: {canonical.dumps_json(dict(self.suggestion)).decode('utf-8')}."
        return f"Not run: refused{who} ({self.code}). {self.message}{note}{instead} {self.hint}"


def refusal(blocked: ActionBlocked) -> ToolRefusal:
    """The refusal as a value, for loops that hand it to a model."""
    return ToolRefusal(
        blocked.code,
        str(blocked),
        blocked.decided_by,
        blocked.note,
        blocked.action_id,
        blocked.hint,
        blocked.suggestion if isinstance(blocked, ApprovalDenied) else None,
    )


@dataclass(frozen=True)
class Governed:
    """How one function is asked about. Made at decoration time, so that a mistake shows before anything runs."""

    name: str
    signature: inspect.Signature
    method: bool
    redact: tuple[str, ...]
    options: dict[str, Any]
    justification: str | Callable[[Mapping[str, Any]], str]
    wait: float | None
    on_denied: OnDenied

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Every argument by name: positional ones, defaults, the items of ``**kwargs``. Only a method's receiver
        (``self``, ``cls``) is left out. TypeError when the call does not fit the function."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for position, (name, value) in enumerate(bound.arguments.items()):
            kind = self.signature.parameters[name].kind
            if position == 0 and self.method:
                continue
            more = value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
            for key, item in more.items():
                if key in found:
                    raise RequestInvalid(f"Two arguments are called {key!r}, so one of them could not be shown.")
                found[key] = item
        return found

    def keep(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments as nobody else can change them any more: these are bound, and these run."""
        own = args[:1] if self.method else ()
        rest = [kept(value) for value in args[len(own) :]]
        return (*own, *rest), {name: kept(value) for name, value in kwargs.items()}

    def wish_options(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What to pass to ``Wishes.make`` besides name and arguments. The justification is made from a copy: it only
        tells, and changes nothing."""
        said = self.justification if isinstance(self.justification, str) else self.justification(kept(arguments))
        return {**self.options, "justification": said, "redact": self.redact}


def finished(result: Any) -> Any:
    """A result that is one. Raises ConfigError for what only promises to run: it would run after the approval."""
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise ConfigError(
            "The tool returned something that runs after the approval's time is over. Govern the function that does "
            "the work, with AsyncImprimatur when it is a coroutine."
        )
    return result


def govern(
    function: Callable[..., Any],
    name: str | None,
    *,
    redact: Iterable[str],
    options: Mapping[str, Any],
    justification: str | Callable[[Mapping[str, Any]], str],
    wait: float | None,
    on_denied: OnDenied,
) -> Governed:
    """Look at a function once. Raises ConfigError for what could not be governed honestly."""
    if not inspect.isroutine(function):
        raise ConfigError("Govern a function or a method: of anything else, not every argument would be seen.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError("A generator runs after the approval's time is over. Govern the function that consumes it.")
    if on_denied not in ("raise", "return"):
        raise ConfigError('on_denied is "raise" or "return".')
    if options.get("risk") is not None and options["risk"] not in RISKS:
        raise ConfigError("risk is one of " + ", ".join(RISKS) + "; it can only raise what the policy says.")
    signature = inspect.signature(function)
    first = next(iter(signature.parameters), None)
    method = first in ("self", "cls") and "." in function.__qualname__.rpartition("<locals>.")[2]
    redacted = tuple(redact)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    unknown = [] if open_ended else [one for one in redacted if one not in signature.parameters]
    if unknown:
        raise ConfigError(f"redact names {unknown}, which {function.__name__} does not take.")
    return Governed(
        name=name or function.__name__,
        signature=signature,
        method=method,
        redact=redacted,
        options=dict(options),
        justification=justification,
        wait=wait,
        on_denied=on_denied,
    )
