"""A mail server that delivers into a folder: whatever is sent here arrives as one ``.eml`` file."""

from __future__ import annotations

import itertools
import socket
from email.message import EmailMessage
from pathlib import Path
from smtplib import SMTP
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message


class Folder(Message):
    """Keeps messages."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._numbers = itertools.count(1 + len(list(folder.glob("*.eml"))))

    def handle_message(self, message: Any) -> None:
        """Write one message."""
        (self._folder / f"{next(self._numbers):05d}.eml").write_bytes(bytes(message))


class Mailbox:
    """Starts the mail server on a port of this machine and sends through it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._controller = Controller(Folder(folder), hostname="127.0.0.1", port=self._port)

    def start(self) -> None:
        """Begin."""
        self._controller.start()

    def stop(self) -> None:
        """End."""
        self._controller.stop()

    def send(self, to: list[str], subject: str, body: str) -> None:
        """Send one mail for real."""
        message = EmailMessage()
        message["From"] = "robo@example.org"
        message["To"] = ", ".join(to)
        message["Subject"] = subject
        message.set_content(body)
        with SMTP("127.0.0.1", self._port, timeout=10) as smtp:
            smtp.send_message(message)
