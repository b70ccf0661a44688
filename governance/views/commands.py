"""The commands that pages print, exactly as they are to be typed. Nothing here is run by the server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from imprimatur.formats import canonical
from imprimatur.formats.delegation import SSH_NAMESPACE
from imprimatur.formats.encoding import b64u

FILE = "delegation.json"


def enroll(origin: str, token: str, trust: Mapping[str, Any]) -> str:
    """What the agent's side types once: the token lets it in, ``--trust`` is the text of the server's trust anchors."""
    pinned = b64u(canonical.dumps(dict(trust)))
    return f"imprimatur enroll --url {shlex.quote(origin)} --token {token} --trust {pinned}"


def delegate(document: Mapping[str, Any], origin: str) -> str:
    """Write a delegation of the same content, sign it and send it, all on the person's own machine.

    It gets a nonce and so a digest of its own, and the command shows its exact bytes again before it signs.
    """
    words = ["imprimatur", "delegate", "--realm", document["realm"], "--issuer", document["issuer"]]
    words += ["--to", document["subject"], "--expires", document["not_after"]]
    for scope in document["scope"]:
        words += ["--scope", scope]
    spend = document.get("spend", {})
    constraints = document.get("constraints", {})
    options: list[tuple[str, Any]] = [
        ("--spend", spend.get("limit")),
        ("--unit", spend.get("unit")),
        ("--per-action", spend.get("per_action")),
        *(("--path", path) for path in constraints.get("paths", [])),
        *(("--domain", domain) for domain in constraints.get("domains", [])),
        *(("--tool", tool) for tool in constraints.get("tools", [])),
        ("--max-file-size", constraints.get("max_file_size")),
        ("--max-depth", document["max_depth"] or None),
        ("--on-behalf-of", document.get("on_behalf_of")),
        ("--purpose", document.get("purpose")),
    ]
    for name, value in options:
        if value is not None:
            words += [name, str(value)]
    return f"{shlex.join(words)} --key ~/.ssh/id_ed25519 --submit {shlex.quote(origin)}"


def write_document(document: str) -> str:
    """Write exactly these bytes: no line end follows them."""
    return write_file(document, FILE)


def sign_with_ssh() -> str:
    """Sign ``delegation.json`` with OpenSSH alone; the signature lands beside it."""
    return sign_file_with_ssh(SSH_NAMESPACE, FILE)


def write_file(content: str, name: str) -> str:
    """Write exactly these bytes to a file: no line end follows them."""
    return f"printf %s {shlex.quote(content)} > {name}"


def sign_file_with_ssh(namespace: str, name: str) -> str:
    """Sign a file with OpenSSH alone, for this purpose; the signature lands beside it."""
    return f"ssh-keygen -Y sign -n {namespace} -f ~/.ssh/id_ed25519 {name}"


def verify_with_ssh(person: str, line: str) -> str:
    """Check a signature with OpenSSH alone. ``line`` is the signer's public key as the log holds it."""
    allowed = shlex.quote(f'{person} namespaces="{SSH_NAMESPACE}" {line}')
    check = f"ssh-keygen -Y verify -n {SSH_NAMESPACE} -I {person} -f allowed_signers -s {FILE}.sig < {FILE}"
    return f"printf '%s\\n' {allowed} > allowed_signers\n{check}"
