"""What the templates of the desk need beyond Django: inert text, and amounts."""

from __future__ import annotations

from datetime import datetime

from django import template

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
