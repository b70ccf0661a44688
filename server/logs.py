"""Structured logs: one line per event, readable on a terminal, JSON elsewhere. No parameters, no secrets."""

from __future__ import annotations

import logging
import sys

import structlog


def configure() -> None:
    """Send everything through structlog to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=True) if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    if not any(isinstance(old.formatter, structlog.stdlib.ProcessorFormatter) for old in root.handlers):
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("imprimatur").setLevel(logging.INFO)
    # A request for a host we do not serve is answered with 400; a traceback of it helps nobody.
    logging.getLogger("django.security.DisallowedHost").setLevel(logging.CRITICAL)
    # A refusal is an answer, told to whoever asked and written in the log of decisions; here only failures are news.
    logging.getLogger("django.request").setLevel(logging.ERROR)
