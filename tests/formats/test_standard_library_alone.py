"""The verifier runs where nothing is installed: the formats must work, and agree, without any third-party package."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

from imprimatur.formats import canonical, delegation, evidence, statement
from imprimatur.formats.encoding import b64u
from tests.formats import samples
from tests.formats.soft_authenticator import Algorithm, SoftAuthenticator
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


EVIDENCE = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"orjson", "rfc8785", "nacl", "cryptography", "cbor2", "webauthn", "fido2"}:
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
from imprimatur.formats import evidence

def outcome(item, raw):
    key = {name: bytes.fromhex(value["hex"]) if isinstance(value, dict) else value for name, value in item["key"].items()}
    try:
        given = evidence.check(
            item["evidence"], typ=item["typ"], raw=raw.encode(), namespace=item["namespace"],
            key=evidence.KeyMaterial(**key),
        )
    except evidence.EvidenceError as error:
        return error.code
    return [given.key, given.assurance, given.device_bound, given.sign_count, given.user_verified]

given = json.load(sys.stdin)
print(json.dumps({
    "packages": sorted({"orjson", "rfc8785", "nacl", "cryptography"} & set(sys.modules)),
    "good": [outcome(item, given["raw"]) for item in given["items"]],
    "other": [outcome(item, given["raw"] + " ") for item in given["items"]],
    "damaged": [outcome(item, given["raw"]) for item in given["damaged"]],
}))
"""


def alone(program: str, given: dict[str, Any]) -> Any:
    """What a program answers in a Python that has nothing but its standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(REPOSITORY / "client")],
        input=json.dumps(given).encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


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
    assert alone(PROGRAM, given) == {
        "packages": [],
        "index": 9,
        "canonical": canonical.dumps_json(value).hex(),
        "ssh": True,
        "ssh_forged": False,
        "agent": True,
        "agent_forged": False,
    }


def test_signatures_of_every_kind_of_key_verify_and_agree_without_third_party_packages() -> None:
    raw = statement.encode(samples.a_statement())
    items: list[dict[str, Any]] = []
    kinds: list[Algorithm] = ["ES256", "EdDSA", "RS256"]
    for kind in kinds:
        for device_bound in (True, False):
            key = SoftAuthenticator(kind, device_bound=device_bound)
            items.append(item(key.evidence(statement.TYP, raw), key.key_material(attested=True)))
    line = samples.ssh_line(samples.PERSON_KEY)
    by_ssh = samples.ssh_evidence(raw.decode())
    items.append(item(by_ssh, evidence.KeyMaterial("ssh", by_ssh["key"], line=line)))
    damaged = [one | {"evidence": one["evidence"] | {"signature": items[-2]["evidence"]["signature"]}} for one in items]

    answer = alone(EVIDENCE, {"items": items, "damaged": damaged[:4], "raw": raw.decode()})

    assert answer["packages"] == []
    passkeys: list[list[Any]] = [["H3", True, 1, True], ["H2", False, 0, True]] * len(kinds)
    expected: list[list[Any]] = [*passkeys, ["H2", False, None, False]]
    assert answer["good"] == [[one["key"]["fingerprint"], *rest] for one, rest in zip(items, expected, strict=True)]
    assert answer["other"] == ["challenge"] * 6 + ["signature"]
    assert answer["damaged"] == ["signature"] * 4


def item(given: dict[str, Any], key: evidence.KeyMaterial) -> dict[str, Any]:
    fields = {
        name: {"hex": part.hex()} if isinstance(part, bytes) else part for name, part in dataclasses.asdict(key).items()
    }
    purpose = {"typ": statement.TYP, "namespace": statement.SSH_NAMESPACE}
    return {"evidence": given, "key": fields, **purpose}
