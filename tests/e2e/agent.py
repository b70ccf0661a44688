"""An agent in a process of its own: one wish per line of standard input, one line of JSON for how it ended.

It does what it may do in memory of nobody: what counts is that it asked, and what it was told.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from imprimatur import ActionBlocked, Imprimatur

_speaking = threading.Lock()


def wish(gate: Imprimatur, name: str, tool: str, parameters: dict[str, Any]) -> None:
    """Ask, wait for people, and say how it ended."""
    try:
        with gate.action(tool, parameters, wait=300) as act:
            found = {"verdict": "allow", "by": act.decision.decided_by, "risk": act.decision.risk}
    except ActionBlocked as blocked:
        found = {"verdict": "deny", "code": blocked.code, "note": blocked.note}
    with _speaking:
        sys.stdout.write(json.dumps({"name": name, **found}) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Serve wishes until standard input ends; several may wait at once."""
    with Imprimatur() as gate:
        running = []
        for line in sys.stdin:
            asked = json.loads(line)
            running.append(
                threading.Thread(target=wish, args=(gate, asked["name"], asked["tool"], asked["parameters"]))
            )
            running[-1].start()
        for thread in running:
            thread.join()


if __name__ == "__main__":
    main()
