"""The reviewer's desk in a browser: lists, one request, and the sheets on which people answer."""

from __future__ import annotations

from approvals.views.desk import desk, queue_fragment, request_page
from approvals.views.sheets import sheet

__all__ = ["desk", "queue_fragment", "request_page", "sheet"]
