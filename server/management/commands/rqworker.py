"""`manage.py rqworker`, with the JSON serializer: who can write to Redis must not run code in the worker."""

from __future__ import annotations

from argparse import ArgumentParser

from django_rq.management.commands.rqworker import Command as Upstream


class Command(Upstream):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)  # type: ignore[no-untyped-call]  # django_rq annotates only parts
        parser.set_defaults(serializer="rq.serializers.JSONSerializer")
