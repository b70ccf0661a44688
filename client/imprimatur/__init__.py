"""Imprimatur, the agent's and the auditor's side: ask before acting, verify afterwards.

    gate = Imprimatur()

    @gate.tool
    def delete_file(path: str) -> None: ...

The names below are loaded when they are first used, so that the verifier needs nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imprimatur.client.aio import AsyncImprimatur
    from imprimatur.client.answers import Decision
    from imprimatur.client.base import Execution
    from imprimatur.client.sync import Imprimatur
    from imprimatur.client.tools import ToolRefusal
    from imprimatur.errors import (
        ActionBlocked,
        ActionConflict,
        AlreadyRedeemed,
        APIError,
        ApprovalCancelled,
        ApprovalDenied,
        ApprovalExpired,
        ApprovalInvalidated,
        ApprovalPending,
        ApprovalTimeout,
        ArgumentsChanged,
        AuthenticationError,
        BudgetExceeded,
        ConfigError,
        ConflictError,
        ControlPlaneUnavailable,
        DelegationExpired,
        DelegationRevoked,
        DepthExceeded,
        ImprimaturError,
        InvalidRequestError,
        NotAllowedError,
        NotExecutor,
        NotFoundError,
        NotRecognised,
        Paused,
        PolicyDenied,
        RateLimitError,
        ReceiptError,
        RequestInvalid,
        ScopeError,
        ServerError,
        Suspended,
        TooManyRequests,
    )
    from imprimatur.formats.keys import KeyPair

__version__ = "0.1.0"

_HOMES = {
    "AsyncImprimatur": "imprimatur.client.aio",
    "Decision": "imprimatur.client.answers",
    "Execution": "imprimatur.client.base",
    "Imprimatur": "imprimatur.client.sync",
    "KeyPair": "imprimatur.formats.keys",
    "ToolRefusal": "imprimatur.client.tools",
}

__all__ = [
    "APIError",
    "ActionBlocked",
    "ActionConflict",
    "AlreadyRedeemed",
    "ApprovalCancelled",
    "ApprovalDenied",
    "ApprovalExpired",
    "ApprovalInvalidated",
    "ApprovalPending",
    "ApprovalTimeout",
    "ArgumentsChanged",
    "AsyncImprimatur",
    "AuthenticationError",
    "BudgetExceeded",
    "ConfigError",
    "ConflictError",
    "ControlPlaneUnavailable",
    "Decision",
    "DelegationExpired",
    "DelegationRevoked",
    "DepthExceeded",
    "Execution",
    "Imprimatur",
    "ImprimaturError",
    "InvalidRequestError",
    "KeyPair",
    "NotAllowedError",
    "NotExecutor",
    "NotFoundError",
    "NotRecognised",
    "Paused",
    "PolicyDenied",
    "RateLimitError",
    "ReceiptError",
    "RequestInvalid",
    "ScopeError",
    "ServerError",
    "Suspended",
    "TooManyRequests",
    "ToolRefusal",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "imprimatur.errors")), name)
