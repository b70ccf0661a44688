"""What a verification says: claims with three verdicts, the control each one serves, and what is not proved at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

VALID, INVALID, CANNOT_TELL = "valid", "invalid", "cannot tell"
VERIFIED = "verified"
"""What is said of one decision instead of valid: `verified`, `invalid` or `cannot tell`."""

REPORT_TYPE = "imprimatur/verification/v1"
LEVELS = ("E0", "E1", "E2", "E3")
"""What forces an agent to ask, weakest first: its own wrapper, a proxy or hook, a sandbox, the resource itself."""

CONTROLS: dict[str, tuple[str, ...]] = {
    "zip": ("SI-7", "AU-9(3)"),
    "files": ("SI-7(1)", "AU-10(3)"),
    "manifest": ("AU-10", "AU-9(3)"),
    "checkpoint": ("AU-9(3)", "AU-10"),
    "tree": ("AU-9", "SI-7(1)"),
    "earlier checkpoints": ("AU-9", "AU-11(1)"),
    "complete": ("AU-12", "AU-9"),
    "witnesses": ("AU-9(2)", "AU-6(3)"),
    "history": ("AC-3", "AC-6", "AU-3", "AU-12"),
    "grants": ("AC-2", "AC-6(1)", "AC-6(10)", "AC-24"),
    "capabilities": ("AC-2", "AC-6(7)", "AC-6(10)"),
    "people": ("AU-10(1)", "IA-5(2)"),
    "policy": ("CM-3", "CM-5"),
    "votes": ("AC-3(2)", "AC-5", "AU-10"),
    "statements": ("AU-10(2)", "AU-8"),
    "openings": ("AU-3", "AU-9(3)"),
    "effects": ("AC-3", "AU-3(1)"),
    "cards": ("AU-10(4)",),
    "copies": ("AU-7(1)",),
    "sections": ("AU-7(1)", "CA-5", "PL-2"),
    "launches": ("CM-2", "CM-6", "CM-3(8)", "IA-9"),
    "observations": ("SI-4", "AU-6(3)", "CM-6(2)", "SI-7(7)"),
    "canaries": ("CA-7", "SI-6", "CA-8"),
    "build": ("SR-4", "SI-7(15)", "CM-14"),
}
"""NIST SP 800-53 rev 5 controls that a claim is evidence for."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing a bundle shows, or does not. `weighs` is false where an anchor is optional and was not given."""

    name: str
    verdict: str
    detail: str
    evidence: dict[str, Any] = field(default_factory=dict)
    weighs: bool = True

    @property
    def controls(self) -> tuple[str, ...]:
        """The NIST SP 800-53 controls this claim is evidence for."""
        return CONTROLS[self.name]


@dataclass
class Report:
    """Everything a verification found. `limits` says, in plain sentences, what the bundle does not prove.

    `shown` of the `size` entries were read; `filters` are what the bundle was asked to show. `coverage` counts
    decisions, and how many of them were redeemed, by what forced the agent to ask.

    `decisions` is one JSON object for each decision: its `status` (verified, invalid, cannot tell), `why`, and, where
    people answered, the lowest `assurance` and their votes.
    """

    claims: list[Claim] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    realm: str = ""
    size: int = 0
    root: str = ""
    shown: int = 0
    filters: dict[str, Any] = field(default_factory=dict)
    coverage: dict[str, dict[str, int]] = field(
        default_factory=lambda: {level: {"decisions": 0, "redeemed": 0} for level in LEVELS}
    )
    decisions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Invalid when any claim is; valid when all that weigh are; else cannot tell."""
        if any(claim.verdict == INVALID for claim in self.claims):
            return INVALID
        weighing = [claim for claim in self.claims if claim.weighs]
        return VALID if weighing and all(claim.verdict == VALID for claim in weighing) else CANNOT_TELL

    @property
    def ok(self) -> bool:
        """Whether the verdict is valid."""
        return self.verdict == VALID

    def counts(self) -> dict[str, int]:
        """How many decisions are verified, invalid, or cannot be told."""
        found = dict.fromkeys((VERIFIED, INVALID, CANNOT_TELL), 0)
        for decision in self.decisions:
            found[decision["status"]] += 1
        return found

    def claim(self, name: str) -> Claim:
        """The claim of this name. Raises KeyError when the verification did not come to it."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values. Fields may be added; none changes its meaning while `typ` stays."""
        return {
            "typ": REPORT_TYPE,
            "verdict": self.verdict,
            "realm": self.realm,
            "size": self.size,
            "root": self.root,
            "shown": self.shown,
            "filters": self.filters,
            "coverage": self.coverage,
            "counts": self.counts(),
            "claims": [{**asdict(claim), "controls": list(claim.controls)} for claim in self.claims],
            "limits": self.limits,
            "decisions": self.decisions,
        }
