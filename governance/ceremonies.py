"""Ceremonies: a statement is built by the server, shown, signed by one person's key, and used up once.

The row is written when the statement is opened and consumed, by a conditional update, in the very transaction that
acts on it: of two who come at the same moment, one finds it used. Signatures are checked before that lock is taken;
what decides (whose key it is, whether it still counts) is read again under it.
"""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from webauthn import verify_authentication_response
from webauthn.helpers.exceptions import WebAuthnException

from audit import selectors
from audit.log import Writer, utc_now
from audit.models import Checkpoint
from governance import signing_keys
from governance.actors import must_be_active
from governance.errors import Refused
from governance.models import Ceremony, Person, PersonKey
from imprimatur.formats import canonical, delegation, merkle, shapes, signing, sshsig, statement
from imprimatur.formats.delegation import TYP as DELEGATION
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.evidence import Given, KeyMaterial
from imprimatur.formats.ids import new_id
from imprimatur.formats.signing import ENROLMENT, SSH, WEBAUTHN
from imprimatur.formats.timestamps import format_time, parse_time

logger = logging.getLogger(__name__)

LIFE = statement.MAX_LIFE
DELEGATION_LIFE = timedelta(minutes=15)
"""A delegation has no life of its own before it is signed, so its ceremony gets one."""
TIMEOUT = 60_000
"""Milliseconds for which the browser asks for the key."""
SESSION = "H0"
LARGEST = 16_384
"""Bytes of a statement that fit into its entry: nobody signs what could not be written down."""
MOST_OPEN = 50
"""Ceremonies of one person that wait at the same time: no session fills the table."""
AHEAD = timedelta(seconds=5)
"""By how much a statement may be younger than the entry that uses it: the clocks of two replicas differ a little. It
is what the verifier grants, which takes none that is later still."""
_KEPT_AFTER_EXPIRY = timedelta(hours=1)
_LARGEST_SIGNATURE = 4096


@dataclass(frozen=True)
class Signed:
    """A statement and the checked evidence that this person made it. ``key`` is None for a click in a session (H0).

    ``raw`` are the exact bytes that were signed. Nothing has been used up yet: `use` does that, inside the lock.
    """

    typ: str
    raw: bytes
    document: dict[str, Any]
    evidence: dict[str, Any]
    key: str | None
    assurance: str
    device_bound: bool
    ceremony: str | None
    sign_count: int | None = field(default=None, compare=False)

    @property
    def entry(self) -> dict[str, Any]:
        """How it stands in a log entry."""
        return {"statement": self.raw.decode("utf-8"), "evidence": self.evidence}

    @property
    def person(self) -> str:
        """The id of the person whose statement it is."""
        return _signer(self.document)


def common(person: Person, *, credential: str | None, life: timedelta = LIFE) -> dict[str, Any]:
    """The fields that every statement has. ``credential`` is the fingerprint of the key that is going to sign.

    Names the last published checkpoint, so that no statement can be dated back before the log it follows.
    """
    now = utc_now()
    published = Checkpoint.objects.order_by("-size").first()
    head = selectors.head()
    found = {
        "realm": head.realm if head is not None else settings.REALM,
        "person": person.id,
        "log_size": published.size if published else 0,
        "log_root": f"sha256:{published.root if published else merkle.EMPTY_ROOT.hex()}",
        "nonce": b64u(secrets.token_bytes(16)),
        "issued_at": format_time(now),
        "expires_at": format_time(now + life),
    }
    return found if credential is None else {**found, "credential": credential}


def open(person: Person, document: dict[str, Any], *, kept: dict[str, Any] | None = None) -> Ceremony:
    """Fix the bytes that this person is to sign. ``kept`` is what finishing needs besides; it never enters the log.

    A delegation is a statement as well; ``kept["key"]`` may name the key that is to sign it.
    Raises ShapeError for a document that is nothing people sign; Refused: ``not-allowed`` for one in another's name,
    ``rate-limited`` for too many at once.
    """
    raw = _encode(document)
    if _signer(document) != person.pk:
        raise Refused("not-allowed", "This statement is in the name of somebody else.")
    now = utc_now()
    make_room(person, now)
    return Ceremony.objects.create(
        id=new_id("cer", now),
        person=person,
        typ=document["typ"],
        statement=raw,
        kept=kept or {},
        opened_at=now,
        expires_at=_expires(document, now),
    )


def make_room(person: Person, now: datetime) -> None:
    """Forget this person's ceremonies that are long over. Raises Refused ``rate-limited`` while too many wait."""
    own = Ceremony.objects.filter(person=person)
    own.filter(expires_at__lt=now - _KEPT_AFTER_EXPIRY).delete()
    if own.filter(used_at__isnull=True, expires_at__gt=now).count() >= MOST_OPEN:
        raise Refused("rate-limited", f"You began to sign {MOST_OPEN} times and finished none. Wait a few minutes.")


def for_browser(ceremony: Ceremony) -> dict[str, Any]:
    """What the page needs to ask for the signature: the statement, and WebAuthn's request options as JSON.

    Raises Refused ``invalid`` when the statement names a key that signs in a terminal.
    """
    raw = bytes(ceremony.statement)
    found = [
        {"type": "public-key", "id": credential, **({"transports": transports} if transports else {})}
        for credential, transports in _credentials(ceremony)
    ]
    if not found:
        raise Refused("invalid", "This key signs in a terminal, not in a browser. Choose a passkey.")
    return {
        "ceremony": ceremony.id,
        "typ": ceremony.typ,
        "statement": raw.decode("utf-8"),
        "options": {
            "challenge": b64u(signing.challenge(ceremony.typ, raw)),
            "rpId": settings.RP_ID,
            "allowCredentials": found,
            "userVerification": "required",
            "timeout": TIMEOUT,
        },
    }


def finish(person: Person, ceremony_id: str, response: dict[str, Any] | str, *, typ: str) -> Signed:
    """Check what ``navigator.credentials.get()`` gave (``toJSON()``), outside any lock.

    Twice: by py_webauthn, and by our own check, which also refuses frames (``crossOrigin``, ``topOrigin``) and any
    origin but ours. Raises Refused: not-found, wrong-state (used, expired), signature, key-revoked, not-allowed.
    """
    ceremony = waiting(person, ceremony_id, typ)
    raw, document = bytes(ceremony.statement), _document(ceremony)
    answer = _answer(response)
    proof = _as_evidence(answer)
    key = _key(person, ceremony, document, proof)
    proof["public_key"] = b64u(key.public_key)
    if proof["credential"] != b64u(key.credential):
        raise Refused("signature", "Another passkey signed than the one this names. Choose it in the list, and sign.")
    given = signing_keys.check(key, typ, raw, proof)
    _second_opinion(answer, signing.challenge(typ, raw), key)
    return _signed(ceremony, raw, document, proof, given)


def finish_ssh(person: Person, ceremony_id: str, armored: str, *, typ: str) -> Signed:
    """Check an SSH signature (``ssh-keygen -Y sign``) over a statement, outside any lock. Raises as `finish` does."""
    ceremony = waiting(person, ceremony_id, typ)
    raw, document = bytes(ceremony.statement), _document(ceremony)
    proof = ssh_evidence(armored)
    key = _key(person, ceremony, document, proof)
    given = signing_keys.check(key, typ, raw, proof)
    return _signed(ceremony, raw, document, proof, given)


def session(person: Person, document: dict[str, Any]) -> Signed:
    """What a click in this person's session amounts to: H0, no key, no ceremony. Policy says where that counts.

    Raises Refused ``not-allowed`` for another's name, and for what names the key that signs it: a click signs nothing.
    """
    raw = _encode(document)
    if _signer(document) != person.pk:
        raise Refused("not-allowed", "This statement is in the name of somebody else.")
    if "credential" in document or document["typ"] in (DELEGATION, ENROLMENT):
        raise Refused("not-allowed", "This takes a signature with a key of your own, and not a click.")
    return Signed(document["typ"], raw, dict(document), {"kind": "session"}, None, SESSION, False, None)


def says(signed: Signed, typ: str, /, **fields: Any) -> None:
    """Raise Refused ``wrong-state`` unless the statement is of this type and says exactly this in these fields.

    A field given as None must be absent.
    """
    if signed.typ != typ or any(signed.document.get(name) != value for name, value in fields.items()):
        raise Refused("wrong-state", "What was signed is not what would be done now. Read it again, then sign.")


def use(writer: Writer, signed: Signed, *, by: Person | None = None) -> None:
    """Use the statement up, inside ``apply``: it counts once, within its life, with a key that still counts.

    ``by`` is who acts, when the caller knows it otherwise. A counter that went backwards (a copied key, or a synced
    one) is written to the operator's log and locks nobody out.
    Raises Refused: wrong-state (used or expired), not-allowed, key-revoked, signature, clock (ours was put back).
    """
    if by is not None and by.pk != signed.person:
        raise Refused("not-allowed", "This was signed in the name of somebody else.")
    must_be_active(Person.objects.select_related("user").get(pk=signed.person))
    _must_not_come_from_the_future(writer, signed)
    if signed.ceremony is not None:
        _consume(writer, signed)
    elif "expires_at" in signed.document and parse_time(signed.document["expires_at"]) <= writer.now:
        raise _expired()
    if signed.key is None or signed.typ == ENROLMENT:
        return
    key = PersonKey.objects.filter(pk=signed.key, person=signed.person).first()
    if key is None:
        raise Refused("signature", "The key that signed this is not yours.")
    signing_keys.must_count(key, signed.typ)
    _remember(writer, key, signed.sign_count)


def kept_of(person: str, ceremony_id: str) -> dict[str, Any]:
    """What was kept beside the statement of a ceremony of this person. Raises Refused ``not-found``: also for another's
    ceremony, which nobody else reads."""
    kept = Ceremony.objects.filter(pk=ceremony_id, person=person).values_list("kept", flat=True).first()
    if kept is None:
        raise _unknown()
    return dict(kept)


def ssh_evidence(armored: str) -> dict[str, Any]:
    """An armored SSH signature as evidence, naming the key inside it. Raises Refused ``signature``."""
    text = armored.replace("\r\n", "\n").strip() + "\n"
    if len(text) > _LARGEST_SIGNATURE:
        raise Refused("signature", f"A signature is shorter than {_LARGEST_SIGNATURE} characters.")
    try:
        fingerprint = sshsig.parse(text).key.fingerprint
    except sshsig.SshSigError as error:
        raise Refused("signature", f"This is not a signature we can read: {error}.") from None
    return {"kind": SSH, "key": fingerprint, "value": text}


def _must_not_come_from_the_future(writer: Writer, signed: Signed) -> None:
    """A clock that was put back in the meantime, or another replica's that is ahead."""
    issued = signed.document.get("issued_at")  # a delegation has its own times
    if issued is not None and parse_time(issued) > writer.now + AHEAD:
        raise Refused(
            "clock", "This was signed at a time that this machine's clock has not reached: it was put back. Sign again."
        )


def _consume(writer: Writer, signed: Signed) -> None:
    mine = Ceremony.objects.filter(pk=signed.ceremony, person=signed.person, typ=signed.typ, used_at__isnull=True)
    if mine.filter(expires_at__gt=writer.now).update(used_at=writer.now) == 1:
        return
    raise _expired() if mine.exists() else _used()


def _remember(writer: Writer, key: PersonKey, count: int | None) -> None:
    if count is not None and (count or key.sign_count) and count <= key.sign_count:
        logger.warning(
            "The counter of the signing key %s of %s went from %d to %d: a copy of it may be in use.",
            key.fingerprint,
            key.person_id,
            key.sign_count,
            count,
        )
    newest = max(key.sign_count, count or 0)
    PersonKey.objects.filter(pk=key.pk).update(sign_count=newest, last_used_at=writer.now)


def _encode(document: dict[str, Any]) -> bytes:
    if document.get("typ") == DELEGATION:
        delegation.validate(document)
        return canonical.dumps(document)
    raw = signing.encode(document)
    if len(raw) > LARGEST:
        raise shapes.ShapeError("statement", f"has {len(raw)} bytes; the log holds {LARGEST} at most")
    return raw


def _document(ceremony: Ceremony) -> dict[str, Any]:
    raw = bytes(ceremony.statement)
    return delegation.parse(raw) if ceremony.typ == DELEGATION else signing.parse(raw, ceremony.typ)


def _expires(document: dict[str, Any], now: datetime) -> datetime:
    return parse_time(document["expires_at"]) if "expires_at" in document else now + DELEGATION_LIFE


def _signer(document: dict[str, Any]) -> str:
    names = {statement.TYP: "reviewer", DELEGATION: "issuer"}
    return str(document[names.get(document["typ"], "person")])


def waiting(person: Person, ceremony_id: str, typ: str) -> Ceremony:
    """A person's ceremony of this type that can still be finished. Raises Refused: not-found, wrong-state."""
    if not ceremony_id:
        raise Refused("not-found", "This came without a signature, so nothing was done. Wait for the page, then sign.")
    ceremony = Ceremony.objects.filter(pk=ceremony_id, person=person).first()
    if ceremony is None:
        raise _unknown()
    if ceremony.typ != typ:
        raise Refused("wrong-state", "This was signed for another purpose. Begin again on the page you came from.")
    if ceremony.used_at is not None:
        raise _used()
    if ceremony.expires_at <= utc_now():
        raise _expired()
    return ceremony


def _credentials(ceremony: Ceremony) -> list[tuple[str, list[str]]]:
    document = _document(ceremony)
    if ceremony.typ == ENROLMENT:
        wanted = [document.get("credential", "")]
        return [(credential, list(ceremony.kept.get("transports", []))) for credential in wanted if credential]
    named = _named(ceremony, document)
    keys = PersonKey.objects.filter(person=ceremony.person_id, kind=PersonKey.WEBAUTHN)
    rows = keys.filter(fingerprint=named) if named else keys
    return [(key.credential or "", key.transports) for key in rows if key.signs_decisions]


def _named(ceremony: Ceremony, document: dict[str, Any]) -> str:
    return str(ceremony.kept.get("key", "") if ceremony.typ == DELEGATION else document.get("credential", ""))


def _key(person: Person, ceremony: Ceremony, document: dict[str, Any], proof: dict[str, Any]) -> KeyMaterial:
    """The key that has to have signed: the one the statement names, or enrols; for a delegation, one of the person's.

    Another key than the named one fails in the check of the evidence, and says so.
    """
    if ceremony.typ == ENROLMENT:
        return enrolled_by(document, attested=bool(ceremony.kept.get("attested")))
    named = _named(ceremony, document)
    if not named and ceremony.typ != DELEGATION:
        raise Refused("wrong-state", "This statement names no key, so no key can sign it.")
    own = PersonKey.objects.filter(person=person, pk=named).first() if named else None
    key = own or signing_keys.named_by(person, proof)
    signing_keys.must_count(key, ceremony.typ)
    if key.kind != proof["kind"] or (named and key.pk != named):
        raise Refused("signature", "Another key signed than the one this names. Choose the key you have at hand.")
    return signing_keys.material(key)


def enrolled_by(document: dict[str, Any], *, attested: bool = False) -> KeyMaterial:
    """The key that an enrolment statement enrols, which is the one that has to have signed it."""
    if document["kind"] == SSH:
        return KeyMaterial("ssh", document["key"], line=document["public_key"])
    return KeyMaterial(
        "webauthn",
        document["key"],
        public_key=un_b64u(document["public_key"]),
        credential=un_b64u(document["credential"]),
        rp_id=document["rp_id"],
        device_bound=document["device_bound"],
        attested=attested,
    )


def _answer(response: dict[str, Any] | str) -> dict[str, Any]:
    try:
        answer = json.loads(response) if isinstance(response, str) else response
        for name, shape in _RESPONSE.items():
            shape.check(answer["response"][name], name)
        shapes.Binary(1, 1023).check(answer["id"], "id")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused("malformed", f"The browser's answer cannot be read ({error}). Try again.") from None
    return dict(answer)


_RESPONSE = {
    "clientDataJSON": shapes.Binary(1, 4096),
    "authenticatorData": shapes.Binary(37, 4096),
    "signature": shapes.Binary(1, 1024),
}


def _as_evidence(answer: dict[str, Any]) -> dict[str, Any]:
    found = answer["response"]
    return {
        "kind": WEBAUTHN,
        "credential": answer["id"],
        "client_data": found["clientDataJSON"],
        "authenticator_data": found["authenticatorData"],
        "signature": found["signature"],
    }


def _second_opinion(answer: dict[str, Any], challenge: bytes, key: KeyMaterial) -> None:
    """py_webauthn's verdict. Its counter check is left out (a count of 0 is given): see `use`."""
    try:
        verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=key.rp_id,
            expected_origin=list(signing_keys.origins_for(key.rp_id)),
            credential_public_key=key.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except WebAuthnException as error:
        raise Refused("signature", f"This signature does not count: {error}.") from None


def _signed(ceremony: Ceremony, raw: bytes, document: dict[str, Any], proof: dict[str, Any], given: Given) -> Signed:
    return Signed(
        typ=ceremony.typ,
        raw=raw,
        document=document,
        evidence=proof,
        key=given.key,
        assurance=given.assurance,
        device_bound=given.device_bound,
        ceremony=ceremony.id,
        sign_count=given.sign_count,
    )


def _unknown() -> Refused:
    return Refused("not-found", "There is no such signing in progress for you. Open the page again, then sign.")


def _used() -> Refused:
    return Refused("wrong-state", "This was signed and used already. If you meant to do more, begin again.")


def _expired() -> Refused:
    return Refused("wrong-state", "This waited too long for its signature. Nothing was done: read it again, then sign.")
