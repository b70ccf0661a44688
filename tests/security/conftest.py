from __future__ import annotations

from tests.door.conftest import door, fresh_door, notarised, robo, twin

__all__ = ["door", "fresh_door", "notarised", "robo", "twin"]
