"""How values appear on a page: text of others made inert, digests short, times in the reader's own zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from imprimatur.formats.digests import fingerprint as short
from imprimatur.inert import inert as make_inert
from imprimatur.rules.money import format_amount

register = template.Library()


@register.filter
def inert(text: object) -> SafeString:
    """Text that an agent or a person wrote: no markup, hidden characters shown, nothing cut off."""
    return mark_safe(make_inert(str(text), "html"))  # noqa: S308  # inert() escapes for HTML


@register.filter
def inert_lines(text: object) -> SafeString:
    """The same for text in a block of its own, where line feeds and tabs stay."""
    return mark_safe(make_inert(str(text), "html", lines=True))  # noqa: S308  # inert() escapes for HTML


@register.filter
def fingerprint(digest: object) -> str:
    """The short form of a digest or a leaf hash, the same one that stands in the evidence bundle."""
    text = str(digest)
    try:
        return short(text if text.startswith("sha256:") else f"sha256:{text}")
    except ValueError:
        return text


@register.filter
def amount(micro: int) -> str:
    """Millionths as a decimal number with thousands separated."""
    whole, _, part = format_amount(micro).partition(".")
    return f"{int(whole):,}.{part}"


@register.simple_tag
def when(time: datetime | None, show: str = "date") -> str:
    """A time: in UTC without script, in the reader's zone with it. ``show`` is clock, date or ago."""
    if time is None:
        return ""
    at = time.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-show="{}">{}</time>', at.isoformat(), show, f"{at.day} {at:%b %Y, %H:%M} UTC"
    )


@register.simple_tag(takes_context=True)
def query(context: dict[str, Any], **changes: Any) -> str:
    """The query string of this page with some parameters changed; None takes one away."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        if value is None:
            parameters.pop(name, None)
        else:
            parameters[name] = str(value)
    return f"?{parameters.urlencode()}" if parameters else "?"
