"""Signing with a person's own SSH key: by ``ssh-keygen``, so that the secret stays where it is.

Ordinary Ed25519 keys, security keys (``sk-``) and keys in an ssh-agent alike. Every signature is checked here before
anybody else sees it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from imprimatur.cli.say import note
from imprimatur.errors import ConfigError
from imprimatur.formats import sshsig


def sign(raw: bytes, key: Path, namespace: str, expected: sshsig.SshKey | None = None) -> dict[str, str]:
    """An SSHSIG over these bytes in this namespace, as evidence: kind, fingerprint and armored value.

    With ``expected``, by that key and no other. Raises ConfigError that says what to do.
    """
    if not key.exists():
        raise ConfigError(f"There is no SSH key {key}. Make one with: ssh-keygen -t ed25519 -f {key}")
    if expected is not None and expected.type == sshsig.SK_ED25519:
        note("Touch your security key.")
    done = _run("-q", "-Y", "sign", "-n", namespace, "-f", str(key), raw=raw)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigError(f"ssh-keygen did not sign: {said[-1] if said else 'no reason given'}. Check --key.")
    armored = done.stdout.decode("ascii", "replace")
    try:
        made = sshsig.parse(armored)
        good = sshsig.verify(armored, raw, namespace, expected or made.key)
    except sshsig.SshSigError as error:
        raise ConfigError(f"This key cannot be used: {error}.") from None
    if not good:
        raise ConfigError("ssh-keygen made a signature that does not verify. Nothing was sent.")
    return {"kind": "ssh", "key": made.key.fingerprint, "value": armored}


def public_key(path: Path) -> sshsig.SshKey:
    """The public half of the key in this file, or in the ``.pub`` beside it. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"There is no SSH key {path}. Say which with --key, or make one: ssh-keygen -t ed25519")
    beside = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    if beside.exists():
        line = beside.read_text("utf-8", "replace")
    else:
        done = _run("-y", "-f", str(path))
        if done.returncode:
            raise ConfigError(f"{path} is no SSH key that can be read. Say which with --key.")
        line = done.stdout.decode("utf-8", "replace")
    try:
        return sshsig.parse_public_key(line)
    except sshsig.SshSigError as error:
        raise ConfigError(f"This key cannot be used: {error}.") from None


def _run(*words: str, raw: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise ConfigError("ssh-keygen is missing. Install one package: openssh-client.")
    return subprocess.run([program, *words], input=raw, capture_output=True, check=False)
