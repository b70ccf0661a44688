from __future__ import annotations

from tests.door.conftest import fresh_door, notarised

__all__ = ["fresh_door", "notarised"]
