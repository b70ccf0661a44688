"""A virtual authenticator on one page, through the Chrome DevTools Protocol. Each page needs its own."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page


class Authenticator:
    """Plugged in as long as the page lives. ``synced`` makes keys that may leave the device (BE and BS set)."""

    def __init__(self, page: Page, *, synced: bool = False, transport: str = "internal") -> None:
        self.cdp = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "ctap2Version": "ctap2_1",
            "transport": transport,
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
            "defaultBackupEligibility": synced,
            "defaultBackupState": synced,
        }
        self.id = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    @property
    def credentials(self) -> list[dict[str, Any]]:
        """The keys on it, secrets and all."""
        return list(self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.id})["credentials"])

    def load(self, credentials: list[dict[str, Any]]) -> None:
        """Put keys of another authenticator on this one."""
        for credential in credentials:
            self.cdp.send("WebAuthn.addCredential", {"authenticatorId": self.id, "credential": credential})

    def touch(self, present: bool) -> None:
        """Whether somebody touches it when it asks."""
        self.cdp.send("WebAuthn.setAutomaticPresenceSimulation", {"authenticatorId": self.id, "enabled": present})

    def empty(self) -> None:
        """Lose every key on it."""
        self.cdp.send("WebAuthn.clearCredentials", {"authenticatorId": self.id})
