"""People's own signing keys in tests: enrolled, vouched for and used through the real actions and ceremonies."""

from __future__ import annotations

from typing import Any

from audit.log import commit
from governance import ceremonies, changes, enrolment
from governance.actions import enrol_key, vouch_key
from governance.ceremonies import Signed
from governance.models import Ceremony, Person, PersonKey
from imprimatur.formats import signing, sshsig
from imprimatur.formats.encoding import b64, un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.rules.administration import Vouching
from tests.formats.soft_authenticator import Algorithm, SoftAuthenticator


class Signers:
    """Whoever has ``people`` (by login) gives them keys and has them sign.

    ``passkeys`` maps credential ids (base64url), ``ssh_keys`` fingerprints to the private halves.
    """

    people: dict[str, Person]

    def __init__(self) -> None:
        self.passkeys: dict[str, SoftAuthenticator] = {}
        self.ssh_keys: dict[str, KeyPair] = {}

    def signing(self, who: str, alg: Algorithm = "ES256", device_bound: bool = True) -> PersonKey:
        """A passkey of this person, in force. Whoever may vouch for it gets a key first."""
        self._somebody_vouches(who)
        return self.vouch(self.enrolled(who, alg, device_bound))

    def ssh_signing(self, who: str) -> PersonKey:
        """An SSH key of this person that signs decisions, in force."""
        self._somebody_vouches(who)
        return self.vouch(self.enrolled_ssh(who))

    def enrolled(self, who: str, alg: Algorithm = "ES256", device_bound: bool = True) -> PersonKey:
        """A passkey of this person that nobody has vouched for yet."""
        person, key = self.people[who], SoftAuthenticator(alg, device_bound=device_bound)
        begun = enrolment.begin_passkey(person, f"{who}'s key")
        made = key.register(un_b64u(begun["options"]["challenge"]))
        ceremony = enrolment.passkey_created(person, begun["ceremony"], made)
        self.passkeys[ceremonies.for_browser(ceremony)["options"]["allowCredentials"][0]["id"]] = key
        signed = ceremonies.finish(person, ceremony.id, self.sign(who, ceremony), typ=signing.ENROLMENT)
        return commit(enrol_key.apply, enrol_key.Command(signed, person)).key

    def enrolled_ssh(self, who: str, pair: KeyPair | None = None) -> PersonKey:
        """An SSH key of this person that nobody has vouched for yet."""
        person, pair = self.people[who], pair or KeyPair.generate()
        line = f"ssh-ed25519 {b64(sshsig.public_key_blob(pair.public_key))}"
        self.ssh_keys[sshsig.parse_public_key(line).fingerprint] = pair
        ceremony = enrolment.begin_ssh(person, line, f"{who}'s terminal")
        signed = ceremonies.finish_ssh(person, ceremony.id, self.sign_ssh(who, ceremony), typ=signing.ENROLMENT)
        return commit(enrol_key.apply, enrol_key.Command(signed, person)).key

    def vouch(self, key: PersonKey, by: str | None = None) -> PersonKey:
        """Somebody who may vouches for the key: ``by`` that person, or the first who may."""
        voucher = self.people[by] if by else self._voucher(key)
        signed = None if voucher.pk == key.person_id else self.signed(voucher.user.username, self.voucher(voucher, key))
        done = commit(vouch_key.apply, vouch_key.Command(key.fingerprint, voucher, signed))
        return done.key

    def voucher(self, voucher: Person, key: PersonKey) -> dict[str, Any]:
        """The statement with which this person vouches for this key."""
        return {
            "typ": signing.VOUCH,
            **ceremonies.common(voucher, credential=self.key_of(voucher.user.username).fingerprint),
            "for": key.person_id,
            "key": key.fingerprint,
            "enrolment": vouch_key.enrolment_digest(key),
        }

    def key_of(self, who: str) -> PersonKey:
        """The oldest signing key in force of this person."""
        from governance.signing_keys import keys_of

        return keys_of(self.people[who])[0]

    def signed(self, who: str, document: dict[str, Any], kept: dict[str, Any] | None = None) -> Signed:
        """This person's own signature over a statement, with the key that it names, ready to be used once."""
        person = self.people[who]
        ceremony = ceremonies.open(person, document, kept=kept)
        if str(document.get("credential", "")).startswith("SHA256:"):
            return ceremonies.finish_ssh(person, ceremony.id, self.sign_ssh(who, ceremony), typ=document["typ"])
        return ceremonies.finish(person, ceremony.id, self.sign(who, ceremony), typ=document["typ"])

    def sign(self, who: str, ceremony: Ceremony | dict[str, Any], **lies: Any) -> dict[str, Any]:
        """The browser's answer (``toJSON()``) with the passkey that the ceremony names. ``lies``: see the soft key."""
        asked = ceremonies.for_browser(ceremony) if isinstance(ceremony, Ceremony) else ceremony
        key = self.passkeys[asked["options"]["allowCredentials"][0]["id"]]
        return key.sign(un_b64u(asked["options"]["challenge"]), **lies)

    def sign_ssh(self, who: str, ceremony: Ceremony) -> str:
        """The armored signature of the SSH key that the ceremony names, or of this person's own."""
        raw = bytes(ceremony.statement)
        document = signing.parse(raw, ceremony.typ)
        fingerprint = document["key"] if ceremony.typ == signing.ENROLMENT else document["credential"]
        return sshsig.sign(self.ssh_keys[fingerprint], raw, signing.ssh_namespace(ceremony.typ))

    def _somebody_vouches(self, who: str) -> None:
        if not changes.holders() and who != "ada":
            self.signing("ada")

    def _voucher(self, key: PersonKey) -> Person:
        holders = changes.holders()
        able = [person for person in self.people.values() if person.pk in holders or not holders]
        return next(person for person in able if isinstance(vouch_key.may_vouch(person, key), Vouching))
