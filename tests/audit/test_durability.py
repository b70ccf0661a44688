"""Kill the process that writes, and look at what it had acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = os.environ.get("DJANGO_SETTINGS_MODULE", "server.settings")

BEGIN = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
from pathlib import Path
from django.conf import settings
from audit import genesis, guards, signer
guards.check_installed()
signer.make_keys(Path(settings.KEYS_DIR))
genesis.begin(realm="test.imprimatur", roster=[], policy_digest="sha256:" + "0" * 64, software="x")
"""

# Each line is an acknowledgement: it is printed after the commit, as an agent would get its answer.
WRITE = """
import itertools, os, threading
from audit import log, publisher, writer
from tests.audit.acts import AddPerson, add_person
writer.start()
publisher.PAUSE = 0.05
publisher.Publisher().start()
def ask(who):
    for number in itertools.count():
        made = log.commit(add_person, AddPerson(f"pe_{who}_{number}"))
        os.write(1, f"{made.index} {made.leaf}\\n".encode())  # one write, so that no two lines mix
for who in range(4):
    threading.Thread(target=ask, args=(who,)).start()
"""

CHECK = """
import sys
from audit.models import Entry, LogHead
from audit.publisher import Publisher
for line in sys.stdin:
    index, leaf = line.split()
    assert Entry.objects.get(index=int(index)).leaf == leaf, f"entry {index} was acknowledged and is gone"
size = Publisher().publish_once()
assert size == LogHead.objects.get().size == Entry.objects.count()
print("all", size)
"""


def script(body: str, data: Path) -> tuple[list[str], dict[str, str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
    environment = {**inherited, "IMPRIMATUR_DATA": str(data), "DJANGO_SETTINGS_MODULE": SETTINGS}
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport django; django.setup()\n{body}"
    return [sys.executable, "-c", code], environment


def run(body: str, data: Path, given: str = "") -> str:
    command, environment = script(body, data)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_invariant_6_what_was_acknowledged_before_a_kill_is_in_the_log_and_is_published(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    run(BEGIN, data)
    command, environment = script(WRITE, data)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(150)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().splitlines(keepends=True)
    process.wait(30)
    whole = [line for line in acknowledged if line.endswith("\n")]
    assert len(whole) >= 150
    assert run(CHECK, data, "".join(whole)).startswith("all")
