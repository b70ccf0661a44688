"""The claims page and CLAIMS.html of a bundle: the same statements in the same words, with other links.

For whoever decides and does not run commands. Every sentence comes from `imprimatur.verify.assessment`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.template.loader import render_to_string

from audit.evidence.words import moment
from imprimatur.verify.assessment import NOT_SHOWN, SHOWN

NAME = "CLAIMS.html"

_STYLES = {SHOWN: "valid", NOT_SHOWN: "invalid"}
_WORDS = {SHOWN: "Shown", NOT_SHOWN: "Not shown"}

Link = Callable[[Mapping[str, Any]], str]
"""Where to read on about one number of the evidence; "" where nothing more is to be read."""


def shown(document: Mapping[str, Any], link: Link, control: Callable[[str], str]) -> list[dict[str, Any]]:
    """The statements for the template. ``control`` gives the address of a control's page, or ""."""
    return [
        {
            "name": statement["name"],
            "sentence": statement["sentence"],
            "style": _STYLES.get(statement["verdict"], "unknown"),
            "word": _WORDS.get(statement["verdict"], "Cannot tell"),
            "because": _because(statement),
            "see": statement["see"],
            "evidence": [{**each, "href": link(each) if each["count"] else ""} for each in statement["evidence"]],
            "limit": statement["limit"],
            "controls": [(id, control(id)) for id in statement["controls"]],
        }
        for statement in document["statements"]
    ]


def _because(statement: Mapping[str, Any]) -> str:
    if not statement["why"]:
        return ""
    word = "Not shown" if statement["verdict"] == NOT_SHOWN else "Nobody can tell"
    return f"{word}, because {statement['why']}."


def counted(document: Mapping[str, Any]) -> dict[str, int]:
    """How many statements there are of each verdict."""
    verdicts = [statement["verdict"] for statement in document["statements"]]
    no = verdicts.count(NOT_SHOWN)
    return {"shown": verdicts.count(SHOWN), "no": no, "unsure": len(verdicts) - verdicts.count(SHOWN) - no}


def text(document: Mapping[str, Any]) -> str:
    """CLAIMS.html: one file that needs nothing else, beside the files that it points at."""
    return render_to_string(
        "audit/claims_file.html",
        {
            "statements": shown(document, lambda each: each.get("file", ""), lambda id: ""),
            "standalone": True,
            "counted": counted(document),
            "realm": document["realm"],
            "size": document["size"],
            "root": document["root"],
            "whole": document["whole"],
            "time": moment(document["time"]) if document["time"] else "",
        },
    )
