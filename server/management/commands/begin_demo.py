"""`manage.py begin_demo`: an installation with sample people and an invitation for the sample agent."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from server import demo


class Command(BaseCommand):
    help = (
        "Begin an installation for trying things out: sample people, demo policy, an invitation for the sample agent."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default="http://localhost:8000", help="address written into demo.json")

    def handle(self, *args: Any, **options: Any) -> None:
        demo.prepare(options["url"])
