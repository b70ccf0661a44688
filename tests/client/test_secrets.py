"""Nothing secret appears in a repr, an error or a log line; and bad configuration says what to do."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest

import imprimatur as ip
from imprimatur.formats import commitments
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.testing import DELEGATION, ORIGIN, FakeGate

# In pieces, so that no quoted line of this file holds it.
PASSWORD = "-".join(["hunter", "2"])


def secrets_of(gate: FakeGate) -> list[str]:
    seed = gate.config.key.seed
    found = [seed.hex(), b64u(seed), repr(seed), PASSWORD]
    for asked in gate.asked:
        salt = commitments.salt_for(gate.config.key.sign, asked.idempotency_key)
        found += [b64u(salt), repr(salt), salt.hex()]
        found += [asked.body["attempt"]] if asked.body.get("attempt") else []
    return found


def test_invariant_11_no_secret_in_what_the_client_shows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gate = FakeGate({"tool": "approve", "no": "deny"})
    shown = [repr(gate), repr(gate.config), repr(gate._core.wire)]
    decision = gate.submit("tool", {"password": PASSWORD}, execute=True)
    shown += [repr(decision), str(decision), repr(decision.wish)]
    with pytest.raises(ip.ActionBlocked) as caught:
        gate.tool("no", redact=["password"])(lambda password: password)(PASSWORD)
    shown += [str(caught.value), repr(caught.value), repr(caught.value.__dict__)]
    frames = io.StringIO()
    traceback.print_exception(caught.value, file=frames)
    shown += [frames.getvalue(), caplog.text]
    for secret in secrets_of(gate):
        for text in shown:
            assert secret not in text


def test_invariant_11_a_gate_is_not_pickled_with_its_key() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(FakeGate().config)


def test_invariant_11_a_bad_key_file_is_named_but_not_quoted(tmp_path: Path) -> None:
    pair = KeyPair.generate()
    path = tmp_path / "agent.key"
    document = {"kty": "OKP", "crv": "Ed25519", "d": b64u(pair.seed), "x": b64u(KeyPair.generate().public_key)}
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    with pytest.raises(ip.ConfigError) as caught:
        ip.Imprimatur(ORIGIN, path, DELEGATION, FakeGate().config.trust)
    assert str(path) in str(caught.value)
    assert b64u(pair.seed) not in "".join(traceback.format_exception(caught.value))


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    KeyPair.generate().save(path)
    path.chmod(0o644)
    with pytest.raises(ip.ConfigError, match="chmod 600"):
        ip.Imprimatur(ORIGIN, path, DELEGATION, FakeGate().config.trust)


def test_invariant_11_values_of_parameters_are_not_in_refusals() -> None:
    gate = FakeGate({"tool": "allow"})
    with pytest.raises(ip.RequestInvalid) as caught:
        gate.tool("tool")(lambda value: value)({"password": b"hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["IMPRIMATUR_URL", "IMPRIMATUR_KEY", "IMPRIMATUR_TRUST"])
def test_missing_configuration_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    key, trust = tmp_path / "agent.key", tmp_path / "trust.json"
    KeyPair.generate().save(key)
    decision = {"key": b64u(KeyPair.generate().public_key), "from": 0}
    trust.write_text(json.dumps({"realm": "r.example", "decision": [decision]}))
    whole = {"IMPRIMATUR_URL": ORIGIN, "IMPRIMATUR_KEY": str(key), "IMPRIMATUR_TRUST": str(trust)}
    for variable, value in whole.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("IMPRIMATUR_DELEGATION", raising=False)
    ip.Imprimatur().close()
    with ip.Imprimatur() as gate, pytest.raises(ip.ConfigError, match="IMPRIMATUR_DELEGATION"):
        gate.submit("tool", {})
    monkeypatch.delenv(name)
    with pytest.raises(ip.ConfigError, match=name):
        ip.Imprimatur()


@pytest.mark.parametrize(
    "url",
    [
        "imprimatur.example.com",
        "http://imprimatur.example.com",
        "https://a@b.example",
        "https://a.example/path",
        "ftp://a",
        "",
    ],
)
def test_an_address_that_is_unsafe_or_no_address_is_refused(url: str) -> None:
    with pytest.raises(ip.ConfigError):
        ip.Imprimatur(url, KeyPair.generate(), DELEGATION, FakeGate().config.trust)


def test_a_pin_without_a_decision_key_is_refused(tmp_path: Path) -> None:
    trust = tmp_path / "trust.json"
    trust.write_text('{"realm":"r.example"}')
    with pytest.raises(ip.ConfigError, match="decision key"):
        ip.Imprimatur(ORIGIN, KeyPair.generate(), DELEGATION, trust)


def test_the_default_call_id_tells_nobody_the_arguments() -> None:
    first, second = FakeGate({"tool": "allow"}, run="same"), FakeGate({"tool": "allow"}, run="same")
    for gate in (first, second):
        gate.tool("tool")(lambda value: value)("yes")
    assert first.asked[0].body["context"]["call"] != second.asked[0].body["context"]["call"]
