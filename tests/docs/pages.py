"""Reading the documentation the way its tests need it: files, headings, tables, examples."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
CELL = re.compile(r"(?<!\\)\|")
EXAMPLE = re.compile(r"^<!-- run -->\n+```(?P<language>[a-z]+)\n(?P<code>.*?)^```$", re.M | re.S)


NOT_OURS = {"data", "node_modules", "__pycache__", "build"}


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file of the repository: known to git, or new and not ignored. Without git, whatever is not hidden."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return tuple(sorted(path for path in ROOT.rglob("*") if path.is_file() and _ours(path.relative_to(ROOT))))
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return tuple(path for name in sorted(set(names)) if (path := ROOT / name).is_file())


def _ours(path: Path) -> bool:
    hidden = any(part.startswith(".") and part not in {".ci", ".pre-commit-config.yaml"} for part in path.parts)
    return not hidden and not NOT_OURS & set(path.parts) and not any(part.endswith(".egg-info") for part in path.parts)


def rows(text: str) -> list[list[str]]:
    """The cells of every table row in this text, headers and rulers left out."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for place, line in enumerate(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        ruler, header = set(line) <= set("|-: "), bool(following) and set(following) <= set("|-: ")
        if not line.startswith("|") or ruler or header:
            continue
        found.append([cell.strip() for cell in CELL.split(line)[1:-1]])
    return found


def code_of(cell: str) -> str:
    """What stands between the first pair of backticks, or nothing."""
    found = re.search(r"`([^`]+)`", cell)
    return found.group(1) if found else ""


def sections(text: str, level: int) -> dict[str, str]:
    """Headings of one level, with the text below each, up to the next heading of that level or above."""
    parts = re.split(rf"^#{{{level}}} (.+)$", text, flags=re.M)
    higher = re.compile(rf"^#{{1,{level}}} ", re.M)
    return {title.strip(): higher.split(body)[0] for title, body in zip(parts[1::2], parts[2::2], strict=True)}


@dataclass(frozen=True)
class Example:
    """A block of code that a test runs."""

    language: str
    code: str
    line: int


def examples(page: Path) -> list[Example]:
    """The blocks of a page that are marked to be run, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Example(found["language"], found["code"], text.count("\n", 0, found.start("code")) + 1)
        for found in EXAMPLE.finditer(text)
    ]
