"""The keys of the log. A decision key signs entries; a log key signs checkpoints and nothing else.

Only this module opens them. Each has a name: `decision` and `log` are those of entry 0, and one that came later has the
beginning of its key id behind it (`decision-0123456789abcdef`). In the folder of keys, `NAME.key` is a key file. Where
only `NAME.pub` lies (a public key in PEM), the command of `IMPRIMATUR_SIGNER` signs, so that the private half can stay
in an HSM or a KMS. Invariant 4 of the design: none of these keys can issue a delegation or cast a vote.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from django.conf import settings

from audit.errors import SignerUnavailable
from imprimatur import durable
from imprimatur.formats import ed25519
from imprimatur.formats.encoding import un_b64
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair, dsse_keyid
from imprimatur.formats.pem import parse_public_pem, public_pem

DECISION, LOG = "decision", "log"
SHOWN = 16  # hex digits of the key id in a name
PATIENCE = 5.0  # seconds that the command has for one signature


class Signer(Protocol):
    """One private key, wherever it is."""

    @property
    def public_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""

    @property
    def keyid(self) -> str:
        """Its id in envelopes (`imprimatur.formats.keys.dsse_keyid`)."""

    def sign(self, message: bytes) -> bytes:
        """The signature (RFC 8032), which holds. Raises SignerUnavailable; then nothing was signed."""


class CommandSigner:
    """Has an external command sign: message on its standard input, name of the key as its last argument.

    It prints the signature in base64. Whatever it prints counts only if it is this key's signature over this message.
    """

    def __init__(self, name: str, public_key: bytes, command: str) -> None:
        self._name = name
        self._command = shlex.split(command)
        self.public_key = public_key
        self.keyid = dsse_keyid(public_key)

    def sign(self, message: bytes) -> bytes:
        """The signature, checked. Raises SignerUnavailable when there is none within five seconds."""
        try:
            code, printed = _run([*self._command, self._name], message)
        except subprocess.TimeoutExpired:
            raise SignerUnavailable(f"the signer gave no signature of {self._name} within {PATIENCE:g} s") from None
        except OSError as error:
            raise SignerUnavailable(f"the signer (IMPRIMATUR_SIGNER) cannot be run: {error.strerror}") from None
        if code:
            raise SignerUnavailable(f"the signer ended with {code} instead of a signature of {self._name}")
        try:
            signature = un_b64(printed.decode("ascii").strip())
        except ValueError:
            signature = b""
        if not ed25519.verify(self.public_key, message, signature):
            raise SignerUnavailable(f"what the signer printed is no signature of {self._name} over what it was given")
        return signature


def _run(command: list[str], message: bytes) -> tuple[int, bytes]:
    """How the command ended, and what it printed. Raises OSError and TimeoutExpired; then nothing of it runs on."""
    # What it says on its error output goes where the server's goes: it is not ours to repeat.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            printed, _ = process.communicate(message, timeout=PATIENCE)
        except BaseException:
            # A script has begun others: each try would leave one behind that waits for the same dead device.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed


def make_keys(folder: Path) -> None:
    """Create both keys, each mode 0600. Refuses to replace an existing one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable.sync_folder(folder.parent)
    for name in (DECISION, LOG):
        KeyPair.generate().save(folder / f"{name}.key")
    forget()


def decision_key() -> Signer:
    """The decision key of entry 0. The one in force is `audit.keyring.in_force`."""
    return load(DECISION)


def log_key() -> Signer:
    """The log key of entry 0."""
    return load(LOG)


def load(name: str) -> Signer:
    """The key of this name. Raises SignerUnavailable, with what is missing."""
    return _load(Path(settings.KEYS_DIR), name, settings.SIGNER)


@cache
def _load(folder: Path, name: str, command: str) -> Signer:
    if (folder / f"{name}.key").exists():
        try:
            return KeyPair.load(folder / f"{name}.key")
        except KeyFileError as error:
            raise SignerUnavailable(str(error)) from None
    public = _public(folder, name)
    if not command:
        raise SignerUnavailable(f"{name}.key is not in the folder of keys, and no command (IMPRIMATUR_SIGNER) signs")
    return CommandSigner(name, public, command)


def public_key(name: str) -> bytes:
    """The public half of the key of this name, from its key file or its `.pub`. Raises SignerUnavailable."""
    folder = Path(settings.KEYS_DIR)
    return load(name).public_key if (folder / f"{name}.key").exists() else _public(folder, name)


def _public(folder: Path, name: str) -> bytes:
    try:
        found = parse_public_pem((folder / f"{name}.pub").read_text(encoding="ascii"))
        ed25519.check_public_key(found)
    except FileNotFoundError:
        raise SignerUnavailable(f"{name}.key is not in the folder of keys: restore it from a backup") from None
    except (OSError, ValueError) as error:
        raise SignerUnavailable(f"{name}.pub in the folder of keys cannot be read: {error}") from None
    return found


def name_of(role: str, keyid: str) -> str:
    """The name under which this key is here, which also shows that its public half is. Raises SignerUnavailable."""
    why = f"the {role} key {keyid[:SHOWN]} is not in the folder of keys: restore it from a backup"
    for name in (role, later_name(role, keyid)):
        try:
            if dsse_keyid(public_key(name)) == keyid:
                return name
        except SignerUnavailable as error:
            if (Path(settings.KEYS_DIR) / f"{name}.key").exists():
                why = str(error)
    raise SignerUnavailable(why)


def holding(role: str, keyid: str) -> Signer:
    """The key of this role and id. Raises SignerUnavailable."""
    return load(name_of(role, keyid))


def later_name(role: str, keyid: str) -> str:
    """The name of a key that came after entry 0."""
    return f"{role}-{keyid[:SHOWN]}"


def make_later(role: str) -> str:
    """Make a further key file, and return the key's name. It signs nothing until an entry takes it up."""
    key = KeyPair.generate()
    name = later_name(role, key.keyid)
    key.save(Path(settings.KEYS_DIR) / f"{name}.key")
    return name


def take_public(role: str, text: str) -> str:
    """Keep the public half (PEM) of a key that the command signs with, and return its name. Raises ValueError."""
    found = parse_public_pem(text)
    ed25519.check_public_key(found)
    name = later_name(role, dsse_keyid(found))
    durable.write_once(Path(settings.KEYS_DIR) / f"{name}.pub", public_pem(found).encode("ascii"))
    return name


def keep_public(name: str) -> None:
    """Write the public half beside a key file, so that the private half can be destroyed once it is retired."""
    raw = public_pem(public_key(name)).encode("ascii")
    durable.write_once(Path(settings.KEYS_DIR) / f"{name}.pub", raw)


def names(role: str) -> list[str]:
    """The names of this role's keys that are here, the one of entry 0 first."""
    folder = Path(settings.KEYS_DIR)
    found = {path.stem for path in (*folder.glob(f"{role}*.key"), *folder.glob(f"{role}*.pub"))}
    return sorted(name for name in found if name == role or name.startswith(f"{role}-"))


def forget() -> None:
    """Drop what was read, after the files changed."""
    _load.cache_clear()
