"""What a bundle was asked to show, and what it therefore lacks, in words: for its README, its report and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from audit.evidence.controls import CONTROLS
from imprimatur.formats import selection
from imprimatur.formats.timestamps import parse_time

_VERDICTS = {"allow": "allowed", "deny": "refused", "open": "still open"}
_SHOWN = 5

Named = Callable[[str], str]


def chosen(filters: Mapping[str, Any], agent: Named = str) -> list[str]:
    """The filters as short phrases, one for each; none for a bundle of everything."""
    phrases = []
    if "agents" in filters:
        phrases.append(f"asked by {_listed([agent(id) for id in filters['agents']])}")
    if "requests" in filters:
        phrases.append(
            f"the {'request' if len(filters['requests']) == 1 else 'requests'} {_listed(filters['requests'])}"
        )
    if "from" in filters:
        phrases.append(f"asked from {moment(filters['from'])} on")
    if "until" in filters:
        phrases.append(f"asked before {moment(filters['until'])}")
    if "verdicts" in filters:
        phrases.append(_listed([_VERDICTS[verdict] for verdict in filters["verdicts"]]))
    if "risks" in filters:
        phrases.append(f"risk {_listed(filters['risks'])}")
    if "controls" in filters:
        named = [f"{id} {CONTROLS[id].title}" if id in CONTROLS else id for id in filters["controls"]]
        phrases.append(f"shows {_listed(named)}")
    if not filters.get("openings", True):
        phrases.append("without openings")
    return phrases


def completeness(filters: Mapping[str, Any], size: int, shown: int) -> str:
    """What a selective bundle lacks and so cannot show; empty for a whole one."""
    if selection.is_whole(filters):
        return ""
    return (
        f"Left out: {size - shown:,} of {size:,} entries, all about other requests as the log says; "
        "claims over all entries do not hold for this bundle."
    )


def moment(time: str) -> str:
    """A time of the log for people: to the second, in UTC."""
    at = parse_time(time)
    return f"{at.day} {at:%b %Y, %H:%M:%S} UTC"


def _listed(items: list[str]) -> str:
    shown = items[:_SHOWN]
    more = len(items) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
