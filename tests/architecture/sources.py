"""The code of the repository, as syntax trees: what the tests of its boundaries read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("server", "approvals", "governance", "audit")
OWN = (*ROOMS, "client/imprimatur")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def modules(*folders: str) -> list[str]:
    """Every module below these folders, as paths relative to the repository, migrations left out."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if "migrations" not in path.parts)


def calls(module: str) -> Iterator[ast.Call]:
    """Every call in a module."""
    return (node for node in ast.walk(tree(ROOT / module)) if isinstance(node, ast.Call))


def where(module: str, node: ast.AST) -> str:
    """A place in the code, for a message."""
    return f"{module}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:100]}"
