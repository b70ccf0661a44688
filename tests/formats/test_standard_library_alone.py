"""The verifier runs where nothing is installed: the formats must work, and agree, without any third-party package."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

from imprimatur.formats import canonical, delegation
from imprimatur.formats.encoding import b64u
from tests.formats import samples
from tests.vectors import REPOSITORY

PROGRAM = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"orjson", "rfc8785", "nacl", "cryptography"}:
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
from imprimatur.formats import canonical, delegation, receipts, trust
from imprimatur.formats.timestamps import parse_time

given = json.load(sys.stdin)
known = trust.parse(json.dumps(given["trust"]).encode())
expected = receipts.Expected(decision_keys=known.decision_keys(9), **given["expected"])
receipt = receipts.check(given["receipt"], expected=expected, now=parse_time(given["now"]))
document, child = given["delegation"], given["child"]
public_key = bytes.fromhex(given["public_key"])
print(json.dumps({
    "packages": sorted({"orjson", "rfc8785", "nacl"} & set(sys.modules)),
    "index": receipt.index,
    "canonical": canonical.dumps_json(given["value"]).hex(),
    "ssh": delegation.verify_ssh_signature(document, given["ssh"], given["line"]),
    "ssh_forged": delegation.verify_ssh_signature({**document, "max_depth": 0}, given["ssh"], given["line"]),
    "agent": delegation.verify_agent_signature(child, given["agent"], public_key),
    "agent_forged": delegation.verify_agent_signature({**child, "nonce": "x" * 22}, given["agent"], public_key),
}))
"""


def test_receipts_delegations_and_canonical_json_work_and_agree_without_third_party_packages() -> None:
    document = samples.a_delegation()
    child = samples.a_delegation(issuer=samples.AGENT, parent=delegation.delegation_id(document), max_depth=0)
    value = {"\ufb33": 1.5e-7, "\U0001f600": [None, True, -0.0, 1e21], "plain": 'tab\t"\u007f\u2028'}
    expected = dataclasses.asdict(samples.expected())
    del expected["decision_keys"]
    given = {
        "receipt": samples.a_receipt(),
        "expected": expected,
        "trust": {"realm": samples.REALM, "decision": [{"key": b64u(samples.DECISION_KEY.public_key), "from": 0}]},
        "now": samples.at(60),
        "value": value,
        "delegation": document,
        "ssh": samples.ssh_evidence(canonical.dumps(document).decode(), namespace=delegation.SSH_NAMESPACE),
        "line": samples.ssh_line(samples.PERSON_KEY),
        "child": child,
        "agent": delegation.sign_as_agent(child, samples.AGENT_KEY),
        "public_key": samples.AGENT_KEY.public_key.hex(),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(REPOSITORY / "client")],
        input=json.dumps(given).encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {
        "packages": [],
        "index": 9,
        "canonical": canonical.dumps_json(value).hex(),
        "ssh": True,
        "ssh_forged": False,
        "agent": True,
        "agent_forged": False,
    }
