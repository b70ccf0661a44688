"""A mail server in the test's own process."""

from __future__ import annotations

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.installation import free_port


class Postbox:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.letters: list[str] = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content or b""
        self.letters.append(content.decode("utf-8", "replace") if isinstance(content, bytes) else content)
        return "250 Taken"

    def about(self, request: str) -> list[str]:
        """Letters that link to this request."""
        return [letter for letter in self.letters if request in letter.replace("=\r\n", "")]

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()
