"""No vector lies unused: each file of the third-party vectors is read by a test, or it is said why not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.vectors import REPOSITORY, vectors

# Files that a test reaches from this folder, without naming each.
WHOLE = {"jcs/input/": "jcs", "jcs/outhex/": "jcs", "tessera_log/": "tessera_log"}
NOT_READ = {
    "jcs/output/": "the same bytes as jcs/outhex/",
    "merkle/subtreeinclusion.json": "subtrees belong to Merkle tree certificates; this log proves none",
    "merkle/subtreeconsistency.json": "subtrees belong to Merkle tree certificates; this log proves none",
    "oscal/oscal_component": "no component definition is written: the component stands in the plan of the system",
}


def sources() -> list[str]:
    """The test modules that read vectors, as text."""
    found = []
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and "vectors()" in text:
            found.append(text)
    return found


def reads(text: str, name: str) -> bool:
    """Whether a module names this file: as one path, or its folder and its own name."""
    whole = next((folder for start, folder in WHOLE.items() if name.startswith(start)), "")
    if whole:
        return f'vectors() / "{whole}"' in text
    folder, _, file = name.partition("/")
    return f'"{name}"' in text or (re.search(rf'"{folder}"', text) is not None and f'"{file}"' in text)


def test_every_vector_is_read_by_a_test_or_it_is_said_why_not() -> None:
    folder, modules = vectors(), sources()
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names.remove("SOURCES.md")
    assert len(names) > 80
    excused = {
        name: next((reason for start, reason in NOT_READ.items() if name.startswith(start)), "") for name in names
    }
    unread = [name for name in names if not excused[name] and not any(reads(text, name) for text in modules)]
    assert unread == []
    # An excuse that is no longer needed goes.
    assert [name for name in names if excused[name] and any(reads(text, name) for text in modules)] == []
    assert [start for start in NOT_READ if not any(name.startswith(start) for name in names)] == []
