"""Everything that can be set, against the reviewed table in ``docs/no-bypass.md``: nothing of it is a way around."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from django.conf import settings

from imprimatur.rules import policy
from tests.architecture.sources import OWN, ROOT, modules, tree, where
from tests.docs.pages import DOCS, code_of, rows, sections

PAGE = DOCS / "no-bypass.md"
HOW = (
    "docs/no-bypass.md has a row for everything that can be set. Say there why it cannot switch off that agents are "
    "checked, that decisions are signed, or that they are logged. If it loosens something, mark it with “opens”, and "
    "turn it to its most permissive value in tests/security/test_no_bypass.py. If it is a way around, take it out."
)
READERS = {"text", "flag", "number", "words", "pairs"}

# Words that make a reviewer look twice: such a name needs a row that says what it opens, or why it opens nothing.
SMELLS = {
    *("ALLOW", "AUTO", "BYPASS", "DANGEROUS", "DEBUG", "DEMO", "DISABLE", "DISABLED", "DRY", "ENABLE", "ENABLED"),
    *("FAKE", "FORCE", "IGNORE", "INSECURE", "LAX", "MOCK", "NO", "OFF", "OPTIONAL", "RELAX", "SKIP", "SOFT"),
    *("UNSAFE", "WITHOUT", "YES", "YOLO"),
}
# Such words in one name with one of these, or these alone, are refused whatever a row says.
NEVER = {"BYPASS", "INSECURE", "UNSAFE", "DANGEROUS", "DANGEROUSLY", "YOLO", "AUTOAPPROVE", "BACKDOOR"}
GUARANTEES = {
    *("APPROVAL", "APPROVALS", "APPROVE", "APPROVED", "AUDIT", "AUDITING", "AUTH", "AUTHENTICATION", "CHECK", "CHECKS"),
    *("CONFIRMATION", "CONSENT", "ENFORCE", "ENFORCEMENT", "GATE", "GUARD", "GUARDS", "LOG", "NOTARY", "POLICY"),
    *("PERMISSION", "PERMISSIONS", "QUORUM", "RECEIPT", "RECEIPTS", "RULES", "SIGN", "SIGNATURE", "SIGNATURES"),
    *("SIGNED", "SIGNING", "VALIDATION", "VERIFICATION", "VERIFY", "VOTE", "VOTES"),
}
SWITCHES = SMELLS - {"DEBUG", "DEMO", "DRY", "YES"} | {"TRUST", "WARN"}
# Django's own names for its own things: the value is what matters, and these are asserted below.
DJANGOS = {"SILENCED_SYSTEM_CHECKS"}


def switches_something_off(name: str) -> bool:
    """Whether a name reads like a way around approval, signing or audit."""
    words = set(re.split(r"[_-]", name.upper()))
    return bool(words & NEVER) or bool(words & GUARANTEES and words & SWITCHES)


def variables() -> dict[str, str]:
    """Every environment variable of ours that product code names, and one place where it does."""
    found: dict[str, str] = {}
    for module in modules(*OWN):
        for node in ast.walk(tree(ROOT / module)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for name in re.findall(r"IMPRIMATUR_[A-Z0-9_]*[A-Z0-9]", node.value):
                    found.setdefault(name, where(module, node))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
                text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z0-9_]*", text):
                    found.setdefault(f"IMPRIMATUR_{text}", where(module, node))
    return found


def flags() -> dict[str, set[str]]:
    """The flags of each command: by name for those of ``manage.py``, by file for programs of their own."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules(*OWN):
        command = Path(module).stem if "/management/commands/" in module else module
        for node in ast.walk(tree(ROOT / module)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr != "add_argument":
                continue
            given = [each.value for each in node.args if isinstance(each, ast.Constant)]
            assert len(given) == len(node.args), f"{where(module, node)}: spell the flag out, so that it can be read"
            found[command] |= {each for each in given if isinstance(each, str) and each.startswith("-")}
    return {command: names for command, names in found.items() if names}


def foreign_variables() -> dict[str, str]:
    """Variables of others that product code asks the environment for by name."""
    found: dict[str, str] = {}
    for module in modules(*OWN):
        for node in ast.walk(tree(ROOT / module)):
            key: ast.AST | None = None
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                key = node.slice
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
                *("os.environ.get", "os.getenv", "os.environ.setdefault", "os.environ.pop"),
            }:
                key = node.args[0]
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and not key.value.startswith("IMPRIMATUR_"):
                found[key.value] = where(module, node)
    return found


def table(*titles: str) -> dict[str, list[str]]:
    """Rows of the page below these headings, by what stands in their first cell."""
    parts = sections(PAGE.read_text(encoding="utf-8"), 2)
    return {code_of(row[0]): row for title in titles for row in rows(parts[title])}


NAMES = ("Settings of the server", "Environment of agents, people and services")


def test_every_setting_and_variable_has_a_row_and_every_row_one() -> None:
    found, reviewed = variables(), table(*NAMES)
    assert {"IMPRIMATUR_DEMO", "IMPRIMATUR_URL", "IMPRIMATUR_SMTP_TLS"} <= set(found), "the scan sees what there is"
    new = [f"| `{name}` | | … |   ({place})" for name, place in sorted(found.items()) if name not in reviewed]
    assert not new, f"{HOW}\nWithout a row:\n" + "\n".join(new)
    assert set(reviewed) <= set(found), f"rows of what is gone: {sorted(set(reviewed) - set(found))}"


def test_variables_of_others_are_few_and_harmless() -> None:
    assert set(foreign_variables()) == {"PATH", "XDG_CONFIG_HOME", "DJANGO_SETTINGS_MODULE"}, HOW


def test_every_flag_has_a_row_and_every_row_one() -> None:
    found = flags()
    reviewed = {command: set(row[1].strip("`").split()) for command, row in table("Flags of commands").items()}
    assert "--demo-policy" in found["begin"], "the scan sees what there is"
    new = [
        f"`{command}`: {' '.join(sorted(names))}"
        for command, names in found.items()
        if names - reviewed.get(command, set())
    ]
    assert not new, f"{HOW}\nNew, or with flags that have no row:\n" + "\n".join(new)
    assert reviewed == found, "rows of flags that are gone"


def test_every_key_of_a_policy_has_a_row_and_every_row_one() -> None:
    assert set(table("Keys of a policy")) == set(policy.SHAPE.required) | set(policy.SHAPE.optional), HOW


def test_every_row_gives_a_reason() -> None:
    for name, row in table(*NAMES, "Flags of commands", "Keys of a policy").items():
        assert len(row) == 3 and len(row[2]) > 5 and "…" not in row[2], f"{name}: {HOW}"


def test_invariant_2_no_name_reads_like_a_switch_for_enforcement_signing_or_audit() -> None:
    names = [*variables(), *(flag for each in flags().values() for flag in each)]
    names += [name for name in dir(settings) if name.isupper() and name not in DJANGOS]
    names += [*policy.SHAPE.required, *policy.SHAPE.optional]
    assert not [name for name in names if switches_something_off(name.strip("-"))], "rename it if it is no way around"
    assert settings.SILENCED_SYSTEM_CHECKS == []


def test_every_name_that_smells_is_marked_or_its_row_says_what_it_leaves() -> None:
    from tests.security.test_no_bypass import MOST_PERMISSIVE

    for name, row in table(*NAMES).items():
        if set(name.split("_")) & SMELLS:
            assert row[1] == "opens", f"{name}: {HOW}"
    opening = {name for name, row in table("Settings of the server").items() if row[1] == "opens"}
    assert opening == set(MOST_PERMISSIVE), HOW


@pytest.mark.parametrize(
    "name", ["DISABLE_SIGNING", "AUDIT_ENABLED", "SKIP_RECEIPT_CHECK", "AUTO_APPROVE", "IMPRIMATUR_BYPASS", "no-verify"]
)
def test_the_scan_knows_a_switch_when_it_sees_one(name: str) -> None:
    assert switches_something_off(name)
