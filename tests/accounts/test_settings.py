"""A single sign-on that is set up wrongly stops the start; the settings that would weaken the login do not exist."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from allauth.account import app_settings as account
from allauth.mfa import app_settings as mfa
from django.conf import settings
from django.urls import NoReverseMatch, reverse

from tests.installation import ROOT

RIGHT = {
    "IMPRIMATUR_OIDC_ISSUER": "https://id.example.org",
    "IMPRIMATUR_OIDC_CLIENT_ID": "desk",
    "IMPRIMATUR_OIDC_ROLES": "admins=admin 'Night Shift=reviewer'",
}


def start(**changes: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "DJANGO_"))}
    code = "import server.settings as s; print(s.OIDC_ISSUER, s.OIDC_ROLES)"
    chosen = {**clean, **RIGHT, **changes, "IMPRIMATUR_SECRET_KEY": "x" * 40}
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, env=chosen, capture_output=True, text=True
    )


def test_what_is_right_starts() -> None:
    done = start()
    assert done.stdout.strip() == "https://id.example.org [('admins', 'admin'), ('Night Shift', 'reviewer')]"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OIDC_CLIENT_ID", "", "needs IMPRIMATUR_OIDC_CLIENT_ID"),
        ("OIDC_ISSUER", "http://id.example.org", "must start with https://"),
        ("OIDC_ISSUER", "id.example.org", "must start with https://"),
        ("OIDC_ROLES", "staff=king", "names king, which is no role"),
    ],
)
def test_what_is_wrong_stops_the_start(name: str, value: str, words: str) -> None:
    done = start(**{f"IMPRIMATUR_{name}": value})
    assert done.returncode != 0
    assert words in done.stderr


def test_the_login_is_as_strict_as_it_says() -> None:
    assert not mfa.WEBAUTHN_ALLOW_INSECURE_ORIGIN
    assert not mfa.PASSKEY_SIGNUP_ENABLED
    assert not mfa.TRUST_ENABLED
    assert not mfa.TOTP_INSECURE_BYPASS_CODE
    assert mfa.WEBAUTHN_USER_VERIFICATION == "required"
    assert account.REAUTHENTICATION_TIMEOUT == 300
    assert account.RATE_LIMITS["login_failed"]
    assert settings.SOCIALACCOUNT_LOGIN_ON_GET
    for closed in ("account_signup", "mfa_signup_webauthn", "socialaccount_signup", "socialaccount_connections"):
        with pytest.raises(NoReverseMatch):
            reverse(closed)
