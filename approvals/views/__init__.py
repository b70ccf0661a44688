"""The reviewer's desk in a browser: lists, one request, and the sheets on which people answer."""

from __future__ import annotations

from approvals.views.attention import claim, release
from approvals.views.desk import desk, queue_fragment, request_page
from approvals.views.grants import grant_list, grant_revoke, grant_revoke_sign, grant_sheet, grant_sign
from approvals.views.many import deny_many
from approvals.views.sheets import sheet, sign

__all__ = [
    "claim",
    "deny_many",
    "desk",
    "grant_list",
    "grant_revoke",
    "grant_revoke_sign",
    "grant_sheet",
    "grant_sign",
    "queue_fragment",
    "release",
    "request_page",
    "sheet",
    "sign",
]
