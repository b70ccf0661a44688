"""The controls that a bundle of chosen requests can be asked for: what each is about here, and which requests show it.

Ids and titles are those of the one list of controls (`imprimatur.verify.controls`). What is decided about a request
comes from the signed entries alone: its first entry, the votes, and the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imprimatur.verify import controls

Payload = Mapping[str, Any]


@dataclass
class Asked:
    """One request as the log has it: its first entry, the votes cast, and what was decided (None while it is open)."""

    first: Payload
    votes: list[Payload] = field(default_factory=list)
    decision: Payload | None = None

    @property
    def id(self) -> str:
        """The id of the request."""
        return str(self.first["subject"])

    @property
    def verdict(self) -> str:
        """``allow``, ``deny``, or ``open`` while nothing was decided."""
        return str(self.decision["body"]["verdict"]) if self.decision is not None else "open"

    @property
    def risk(self) -> str:
        """Its risk when it was first entered."""
        return str(self.first["body"]["risk"])

    @property
    def state(self) -> str:
        """The state that the decision gave it; empty while it is open."""
        return str(self.decision["body"]["state"]) if self.decision is not None else ""


@dataclass(frozen=True)
class Control:
    """A control by NIST's id, what it is about here, and whether a request shows it."""

    id: str
    about: str
    shows: Callable[[Asked], bool]

    @property
    def title(self) -> str:
        """NIST's title of it."""
        return controls.CONTROLS[self.id].title


def _by_people(asked: Asked) -> bool:
    return bool(asked.votes)


def _by_signature(asked: Asked) -> bool:
    return any(vote["body"]["evidence"]["kind"] != "session" for vote in asked.votes)


def _by_several(asked: Asked) -> bool:
    return len({vote["actor"]["id"] for vote in asked.votes}) > 1


def _approved_by_people(asked: Asked) -> bool:
    return asked.verdict == "allow" and _by_people(asked)


def _verified(asked: Asked) -> bool:
    return any(vote["actor"].get("assurance") in ("H2", "H3") for vote in asked.votes)


def _looked_over(asked: Asked) -> bool:
    return asked.risk == "MEDIUM" and asked.verdict == "allow" and not _by_people(asked)


CONTROLS = {
    control.id: control
    for control in (
        Control("AC-3", "what was refused or denied", lambda asked: asked.verdict == "deny"),
        Control("AC-3(2)", "what needs two people", lambda asked: asked.risk == "CRITICAL"),
        Control(
            "AC-3(8)",
            "what ended because authority was taken back or the policy changed",
            lambda asked: asked.state == "INVALIDATED",
        ),
        Control("AC-5", "what more than one person answered", _by_several),
        Control("AC-6(9)", "every request there is", lambda asked: True),
        Control("AC-6(10)", "what an agent asked for outside its authority", lambda asked: asked.state == "REFUSED"),
        Control("AC-24", "whatever was decided", lambda asked: asked.decision is not None),
        Control("AU-6", "what people look over afterwards", _looked_over),
        Control("AU-10", "what people answered", _by_people),
        Control("AU-10(1)", "what people answered with a key of their own", _by_signature),
        Control("AU-10(4)", "what people approved", _approved_by_people),
        Control("IA-2(1)", "what people answered with a passkey or a security key (H2, H3)", _verified),
    )
}
"""Every control that can be asked for, by its id."""
