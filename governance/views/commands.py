"""The commands that pages print, exactly as they are to be typed. Nothing here is run by the server."""

from __future__ import annotations

import shlex

from imprimatur.formats.delegation import SSH_NAMESPACE

FILE = "delegation.json"


def enroll(origin: str, token: str, pin: str) -> str:
    """What the agent's side types once: the token lets it in, the pin names the server it may believe."""
    return f"imprimatur enroll --url {origin} --token {token} --trust {pin}"


def sign_with_imprimatur(origin: str) -> str:
    """Sign the document in ``delegation.json`` with an SSH key, and send both."""
    return f"imprimatur delegate {FILE} --key ~/.ssh/id_ed25519 --url {origin}"


def write_document(document: str) -> str:
    """Write exactly these bytes: no line end follows them."""
    return f"printf %s {shlex.quote(document)} > {FILE}"


def sign_with_ssh() -> str:
    """Sign ``delegation.json`` with OpenSSH alone; the signature lands beside it."""
    return f"ssh-keygen -Y sign -n {SSH_NAMESPACE} -f ~/.ssh/id_ed25519 {FILE}"


def verify_with_ssh(person: str) -> str:
    """Check a signature with OpenSSH alone."""
    return f"ssh-keygen -Y verify -n {SSH_NAMESPACE} -I {person} -f allowed_signers -s {FILE}.sig < {FILE}"
