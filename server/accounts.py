"""Accounts are made by admins, never by visitors."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class ClosedAccounts(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Login, logout and password change through allauth; no sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
