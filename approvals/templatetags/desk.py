"""What the templates of the desk need beyond Django: inert text, and amounts."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from imprimatur.formats.timestamps import format_time
from imprimatur.inert import visible

register = template.Library()


@register.filter
def inert(text: object) -> str:
    """Text that others wrote, on one line: hidden characters become visible. Auto-escaping does the rest."""
    return visible(str(text))


@register.filter
def inert_lines(text: object) -> str:
    """As :func:`inert`, for words of several lines."""
    return visible(str(text), lines=True)


@register.filter
def stamp(moment: datetime | None) -> str:
    """A time as machines read it, in UTC: for ``<time datetime>``."""
    return format_time(moment) if moment is not None else ""


@register.simple_tag
def sentence(spans: list[dict[str, object]]) -> SafeString:
    """The sentence of a card: what the agent chose stands out. Every piece is escaped."""
    return format_html_join("", "{}", ((_span(span),) for span in spans))


def _span(span: dict[str, object]) -> SafeString:
    return format_html("<b>{}</b>" if span["strong"] else "{}", span["text"])
