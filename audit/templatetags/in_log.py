"""Where something that ended, or began, stands in the log, and whether that is published: said alike on every page."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import format_html

from audit import published

register = template.Library()


@register.simple_tag
def in_log(kind: str, subject: str, **about: Any) -> str:
    """The newest entry of this kind about the subject, as a link; nothing when there is none."""
    found = published.told(kind, subject, about)
    if found is None:
        return ""
    state = "published" if found.published else "not yet published"
    return format_html('<a href="{}">In the log as entry {}</a>, {}.', _entry(found.index), found.index, state)


@register.filter
def is_published(index: int) -> bool:
    """Whether a published checkpoint covers the entry."""
    return published.covers(index)


def _entry(index: int) -> str:
    return reverse("entry", args=[index])
