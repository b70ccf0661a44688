"""Put another decision key in force: the one before signs the entry that introduces it."""

from __future__ import annotations

from dataclasses import dataclass

from audit import keyring
from audit.log import CONSOLE, Appended, Writer
from audit.models import LogKey
from audit.signer import Signer
from imprimatur.formats.encoding import b64u
from imprimatur.verify.log_keys import possession


@dataclass(frozen=True)
class Command:
    """The key that signs from now on, wherever its private half is."""

    signer: Signer
    reason: str


def apply(writer: Writer, command: Command) -> Appended:
    """Write `log.decision_key_changed`; every later entry is signed by the new key, those of this batch too.

    Raises KeyRefused for a key that this log ever had, SignerUnavailable when one of the two cannot sign.
    """
    old, new = writer.signer, command.signer
    keyring.must_be_unused(new.public_key)
    index = writer.size
    held = new.sign(possession(writer.realm, index, old.keyid, new.keyid))
    entry = writer.append(
        "log.decision_key_changed",
        subject=writer.realm,
        actor=CONSOLE,
        body={
            "decision_key": {"keyid": new.keyid, "public": b64u(new.public_key)},
            "signature": b64u(held),
            "reason": command.reason,
        },
    )
    writer.sign_with(new)
    LogKey.objects.update_or_create(
        key=old.keyid, defaults={"until": index}, create_defaults={"role": LogKey.DECISION, "since": 0, "until": index}
    )
    LogKey.objects.create(key=new.keyid, role=LogKey.DECISION, since=index)
    return entry
