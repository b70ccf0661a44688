"""The way to a signing key of one's own: make the credential, then at once sign the statement that enrols it.

A registration proves little by itself (attestation "none" carries no signature at all), so the new key signs its own
enrolment, which anybody can check afterwards. Keys with which people sign in are made and kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from webauthn import generate_registration_options, options_to_json, verify_registration_response
from webauthn.helpers import parse_attestation_object
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from audit.log import utc_now
from governance import ceremonies
from governance.actions.add_person import NO_LOOKALIKES
from governance.actions.enrol_key import must_be_free
from governance.errors import Refused
from governance.models import Ceremony, Person, PersonKey
from governance.signing_keys import origins_for
from imprimatur.formats import cose, keys, sshsig, webauthn
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.ids import new_id
from imprimatur.formats.shapes import Binary
from imprimatur.formats.signing import ENROLMENT, KINDS, SSH, WEBAUTHN

CREATION, CODE = "webauthn.create", "enrolment-code"
"""What else waits in a ceremony row: the challenge of a creation, and the digest of a one-time code."""
LIFE = timedelta(minutes=5)
CODE_LIFE = timedelta(minutes=15)
LARGEST_ATTESTATION = 16_384
_TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal", "cable"})


def begin_passkey(person: Person, label: str) -> dict[str, Any]:
    """What the page needs to call ``navigator.credentials.create()``: a ceremony and the creation options as JSON.

    The account name is the only text that the browser's own prompt shows, so it says what the key is for.
    """
    label = clean_label(label)
    challenge = secrets.token_bytes(32)
    name = f"{person.name} — signs decisions"
    options = generate_registration_options(
        rp_id=settings.RP_ID,
        rp_name=f"Imprimatur, {settings.REALM}",
        user_id=f"signing:{person.pk}".encode(),
        user_name=name,
        user_display_name=name,
        challenge=challenge,
        timeout=ceremonies.TIMEOUT,
        attestation=(
            AttestationConveyancePreference.DIRECT if attestation_roots() else AttestationConveyancePreference.NONE
        ),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=un_b64u(key.credential or ""))
            for key in person.keys.filter(kind=PersonKey.WEBAUTHN, revoked_at__isnull=True)
        ],
        supported_pub_key_algs=[COSEAlgorithmIdentifier(alg) for alg in cose.ALGORITHMS],
    )
    row = _keep(person, CREATION, challenge, LIFE, {"label": label})
    return {"ceremony": row.id, "options": json.loads(options_to_json(options))}


def passkey_created(person: Person, ceremony_id: str, response: dict[str, Any] | str) -> Ceremony:
    """Check what ``create()`` gave (``toJSON()``) and open the enrolment statement that the new key is to sign.

    Raises Refused: not-found, wrong-state, malformed, signature (the registration does not hold), conflict (the key
    is known).
    """
    answer = _answer(response)
    row = _take(person, CREATION, id=ceremony_id)
    challenge = bytes(row.statement)
    made = _read(answer, challenge)
    verified = _verify(challenge, answer)
    public_key = cose.CoseKey.parse(made.cose_key)
    must_be_free(public_key.thumbprint, person)
    device_bound = made.authenticator.device_bound
    kept = {
        "aaguid": made.aaguid,
        "transports": _transports(answer),
        "attested": device_bound and _attested(challenge, answer),
    }
    if len(verified.attestation_object) > LARGEST_ATTESTATION:
        kept["attested"] = False  # an attestation that is not in the log convinces nobody later
    else:
        kept["attestation"] = b64u(verified.attestation_object)
    document = {
        "typ": ENROLMENT,
        **ceremonies.common(person, credential=b64u(made.credential_id), life=LIFE),
        "kind": WEBAUTHN,
        "key": public_key.thumbprint,
        "thumbprint": public_key.thumbprint,
        "public_key": b64u(made.cose_key),
        "label": row.kept["label"],
        "device_bound": device_bound,
        "rp_id": settings.RP_ID,
    }
    return ceremonies.open(person, document, kept=kept)


def begin_ssh(person: Person, line: str, label: str) -> Ceremony:
    """Open the enrolment statement that an SSH key is to sign. Raises Refused invalid or conflict."""
    try:
        key = sshsig.parse_public_key(line)
    except sshsig.SshSigError as error:
        raise Refused("invalid", f"This key cannot be used: {error}") from None
    thumbprint = keys.thumbprint(key.public_key)
    must_be_free(thumbprint, person)
    document = {
        "typ": ENROLMENT,
        **ceremonies.common(person, credential=None, life=KINDS[ENROLMENT].life),
        "kind": SSH,
        "key": key.fingerprint,
        "thumbprint": thumbprint,
        "public_key": key.line,
        "label": clean_label(label),
        "device_bound": key.type == sshsig.SK_ED25519,
    }
    return ceremonies.open(person, document)


def new_code(person: Person) -> str:
    """A one-time code with which a terminal enrols an SSH key of this person: shown once, kept as a digest, 15 min."""
    code = "-".join("".join(secrets.choice(NO_LOOKALIKES) for _ in range(4)) for _ in range(4))
    _keep(person, CODE, _digest(code), CODE_LIFE, {})
    return code


def take_code(person_id: str, code: str) -> Person:
    """The person whose code this is; it is used up. Raises Refused ``not-allowed``, in the same words every time."""
    person = Person.objects.select_related("user").filter(pk=person_id, user__is_active=True).first()
    if person is not None:
        try:
            _take(person, CODE, statement=_digest(code))
        except Refused:
            person = None
    if person is None:
        raise Refused("not-allowed", "This code is not good, or no longer. Make a new one under Your keys.")
    return person


def clean_label(label: str) -> str:
    """What a person calls their key, on one line. Raises Refused ``invalid``."""
    label = " ".join(label.split())
    if not 1 <= len(label) <= 80 or not label.isprintable():
        raise Refused("invalid", "Give the key a name of 1 to 80 characters, such as “laptop” or “blue YubiKey”.")
    return label


def attestation_roots() -> list[bytes]:
    """The PEM root certificates of makers whose keys count as attested; none when the setting is empty."""
    folder = settings.ATTESTATION_ROOTS
    return [path.read_bytes() for path in sorted(Path(folder).glob("*.pem"))] if folder else []


def _answer(response: dict[str, Any] | str) -> dict[str, Any]:
    try:
        answer = json.loads(response) if isinstance(response, str) else response
        for name in ("clientDataJSON", "attestationObject"):
            Binary(1, webauthn.MAX_ATTESTATION).check(answer["response"][name], name)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused("malformed", f"The browser's answer cannot be read ({error}). Try again.") from None
    return dict(answer)


def _read(answer: dict[str, Any], challenge: bytes) -> webauthn.Registration:
    """Our own strict reading: no frames, flags that make sense, a key in its one spelling."""
    try:
        client_data = webauthn.ClientData.parse(un_b64u(answer["response"]["clientDataJSON"]))
        client_data.check(
            typ=webauthn.CREATE, challenge=challenge, rp_id=settings.RP_ID, origins=origins_for(settings.RP_ID)
        )
        made = webauthn.parse_registration(un_b64u(answer["response"]["attestationObject"]))
        made.authenticator.check(settings.RP_ID)
    except ValueError as error:
        raise Refused("signature", f"The new key could not be registered: {error}.") from None
    return made


def _verify(challenge: bytes, answer: dict[str, Any], roots: list[bytes] | None = None) -> VerifiedRegistration:
    try:
        return verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=settings.RP_ID,
            expected_origin=list(origins_for(settings.RP_ID)),
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(alg) for alg in cose.ALGORITHMS],
            pem_root_certs_bytes_by_fmt={AttestationFormat.PACKED: roots} if roots else None,
        )
    except Exception as error:
        # An attestation is a stranger's certificate chain; the library does not name all that such bytes make it raise.
        raise Refused("signature", f"The new key could not be registered: {error}.") from None


def _attested(challenge: bytes, response: dict[str, Any]) -> bool:
    """Whether one of our roots attests the key's model: a certificate chain, not the key's own word about itself."""
    roots = attestation_roots()
    statement = parse_attestation_object(un_b64u(response["response"]["attestationObject"]))
    if not roots or statement.fmt != AttestationFormat.PACKED or not statement.att_stmt.x5c:
        return False
    try:
        _verify(challenge, response, roots)
    except Refused:
        return False  # a model nobody trusts here is a key like any other: it signs, at H2
    return True


def _transports(response: dict[str, Any]) -> list[str]:
    named = response["response"].get("transports", [])
    return [name for name in named if isinstance(name, str) and name in _TRANSPORTS] if isinstance(named, list) else []


def _keep(person: Person, typ: str, raw: bytes, life: timedelta, kept: dict[str, Any]) -> Ceremony:
    now = utc_now()
    ceremonies.make_room(person, now)
    return Ceremony.objects.create(
        id=new_id("cer", now),
        person=person,
        typ=typ,
        statement=raw,
        kept=kept,
        opened_at=now,
        expires_at=now + life,
    )


def _take(person: Person, typ: str, **which: Any) -> Ceremony:
    now = utc_now()
    found = Ceremony.objects.filter(person=person, typ=typ, **which)
    row = found.first()
    if row is None:
        raise Refused("not-found", "There is no enrolment in progress for you. Begin again under Your keys.")
    if found.filter(pk=row.pk, used_at__isnull=True, expires_at__gt=now).update(used_at=now) != 1:
        raise Refused("wrong-state", "This enrolment waited too long, or was finished already. Begin again.")
    return row


def _digest(code: str) -> bytes:
    return hashlib.sha256(b"imprimatur/enrolment-code\0" + code.strip().lower().encode()).digest()
