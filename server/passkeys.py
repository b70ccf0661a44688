"""What allauth leaves open about login passkeys: they count only on this desk's own pages.

fido2 accepts every https subdomain of the host and does not look at frames. Here the origin must be one of
``IMPRIMATUR_ORIGINS`` to the letter, and the page the top one (W3C Web Authentication Level 3, 7.1 and 7.2).
"""

from __future__ import annotations

import json
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import forms
from django.conf import settings

from imprimatur.formats.encoding import un_b64u


def must_come_from_here(credential: Any) -> None:
    """Raise ValidationError unless the browser says it made this on a top-level page of ours."""
    try:
        said = json.loads(un_b64u(credential["response"]["clientDataJSON"]))
        here = said["origin"] in settings.ORIGINS and not said.get("crossOrigin") and "topOrigin" not in said
    except (KeyError, TypeError, ValueError, AttributeError):
        here = False
    if not here:
        raise get_adapter().validation_error("incorrect_code")


class AddForm(forms.AddWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    """Register a passkey."""

    def clean_credential(self) -> Any:
        must_come_from_here(self.cleaned_data["credential"])
        return self.cleaned_data["credential"]


class _FromHere:
    cleaned_data: dict[str, Any]

    def clean_credential(self) -> Authenticator:
        must_come_from_here(self.cleaned_data["credential"])
        return super().clean_credential()  # type: ignore[misc]  # of the form it is mixed into


class LoginForm(_FromHere, forms.LoginWebAuthnForm):  # type: ignore[misc]
    """Sign in with a passkey alone."""


class SecondStepForm(_FromHere, forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey after the password."""


class AgainForm(_FromHere, forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey as a fresh proof."""
