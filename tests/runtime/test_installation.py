"""From the first key to the auditor's bundle, on an installation as it runs: launched, watched, tampered with, proved."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from imprimatur.formats import attestation, dsse, ids, tiles
from imprimatur.formats.keys import KeyPair
from tests.browser import chromium, sign_in
from tests.installation import Installation, eventually, installation
from tests.runtime.agents import Place, claiming, gone, rogue, shown_configuration
from tests.runtime.served import needs_a_sandbox, shared_folder

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

IMPRIMATUR = (sys.executable, "-m", "imprimatur")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    needs_a_sandbox()
    data = tmp_path_factory.mktemp("launched") / "data"
    with installation(data, environment={"IMPRIMATUR_DEMO_SCRIPT": "once"}) as running:
        yield running


def imprimatur(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
    return subprocess.run(
        [*IMPRIMATUR, *words], env={**kept, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def register(page: Page, desk: Installation, folder: Path, role: str) -> None:
    """Make a service's folder, and have Ada register it once the fingerprints agree."""
    done = imprimatur("service", "keygen", str(folder), "--role", role)
    assert done.returncode == 0, done.stderr
    printed = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    page.goto(desk.url + "/runtime/services/register")
    page.locator("[name=name]").fill(f"{role} of this host")
    page.locator(f"[name=role][value={role}]").or_(page.locator("select[name=role]")).first.evaluate(
        "(node, role) => { if (node.tagName === 'SELECT') node.value = role; else node.checked = true; }", role
    )
    page.locator("[name=public_key]").fill(printed["public key"])
    if "vkey" in printed:
        page.locator("[name=vkey]").fill(printed["vkey"])
    page.get_by_role("button", name="Show its fingerprint").click()
    expect(page.get_by_text(printed["fingerprint"])).to_be_visible()
    page.get_by_role("button", name="It is the same: register").click()
    page.wait_for_url(re.compile(r"/runtime/services/$"))
    expect(page.get_by_text(f"{role} of this host is registered")).to_be_visible()


def shown(page: Page, address: str, words: str) -> bool:
    """Whether a page shows these words by now."""
    page.goto(address)
    return words in page.locator("main").inner_text()


def statements(bundle: Path, kind: str) -> list[tuple[dict[str, Any], attestation.Statement]]:
    """The entries of a kind in a bundle, with the statement in each."""
    found = []
    with zipfile.ZipFile(bundle) as archive:
        names = sorted(name for name in archive.namelist() if "tile/entries/" in name)
        for name in names:
            for raw in tiles.bundle_decode(archive.read(name)):
                entry = json.loads(dsse.open_envelope(raw).payload)
                if entry["kind"] == kind:
                    found.append((entry, attestation.open_statement(entry["body"]["statement"].encode())))
    return found


def test_what_was_launched_watched_and_tampered_with_is_all_in_the_evidence(desk: Installation, tmp_path: Path) -> None:
    demo = desk.data / "demo"
    about = json.loads((demo / "invitation.json").read_text())
    eventually((demo / "delegation.json").exists, seconds=60)
    agent = ids.agent_id(KeyPair.load(demo / "robo.key").public_key)
    orchestrator, monitor = tmp_path / "orchestrator", tmp_path / "monitor"
    with shared_folder() as folder, chromium() as browser:
        ada, audra = sign_in(browser, desk, "ada"), sign_in(browser, desk, "audra", accept_downloads=True)
        register(ada, desk, orchestrator, "orchestrator")
        register(ada, desk, monitor, "monitor")
        trust = tmp_path / "trust.json"
        trust.write_bytes(audra.request.get(desk.url + "/evidence/trust.json").body())
        trust.chmod(0o644)
        at = {"IMPRIMATUR_URL": desk.url, "IMPRIMATUR_TRUST": str(trust)}
        place = Place(folder, about["realm"], agent, Path(about["ssh_key"]))

        # What must not start does not, and the log says why.
        place.write_base(('"json", "os"', '"*"'))
        refused = imprimatur(*place.launching(orchestrator), **at)
        assert refused.returncode == 1
        assert "wildcard-import" in refused.stderr
        assert not place.began

        # What was signed starts, and is found to run as it was launched.
        place.write_base()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
        launched = subprocess.Popen(
            [*IMPRIMATUR, *place.launching(orchestrator)],
            env={**kept, **at},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            eventually(lambda: place.began or launched.poll() is not None, seconds=60)
            assert place.began, launched.communicate()
            launch = next(iter((orchestrator / "launches").glob("*.json"))).stem
            looked = imprimatur("monitor", "--service", str(monitor), "--once", **at)
            assert looked.returncode == 0, looked.stderr
            assert re.search(rf"{launch} [123] processes: as launched", looked.stdout)  # root sees bwrap's own too
            address = f"{desk.url}/runtime/launches/{launch}/"
            eventually(lambda: shown(audra, address, "as attested"), seconds=60)

            # Somebody starts it again by hand, without the filter and without limits.
            raw = json.loads(shown_configuration(max(claiming(launch))))
            (place.work / "began").unlink()
            by_hand = rogue(place, launch, raw, seccomp=False)
            try:
                eventually(lambda: place.began, seconds=60)
                looked = imprimatur("monitor", "--service", str(monitor), "--once", **at)
            finally:
                gone(by_hand)
            assert looked.returncode == 0, looked.stderr
            assert "seccomp-missing" in looked.stdout
            assert "limit" in looked.stdout
            eventually(lambda: shown(audra, address, "seccomp-missing"), seconds=60)
        finally:
            (place.work / "stop").write_text("now")
            out, err = launched.communicate(timeout=60)
        assert (launched.returncode, out) == (7, "done\n"), err

        # Afterwards somebody edits the file that it was started with. What was signed says which one that was.
        signed = place.base.read_bytes()
        edited = signed.replace(b"memory_mb = 512", b"memory_mb = 400")
        assert edited != signed

        audra.goto(desk.url + "/evidence/")
        audra.get_by_role("button", name="Ask for everything").click()
        link = audra.get_by_role("link", name=re.compile("Download", re.IGNORECASE)).and_(
            audra.locator("a[href*='/bundles/']")
        )
        expect(link.first).to_be_visible(timeout=90_000)
        with audra.expect_download() as download:
            link.first.click()
        bundle = tmp_path / "bundle.zip"
        download.value.save_as(bundle)
        trust.write_bytes(audra.request.get(desk.url + "/evidence/trust.json").body())

    verified = imprimatur("verify", str(bundle), "--trust", str(trust))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    ((_, statement),) = statements(bundle, "launch.attested")
    layer = next(each for each in statement.predicate["layers"] if each["name"] == "base.toml")
    assert layer["digest"] == f"sha256:{hashlib.sha256(signed).hexdigest()}"
    assert layer["digest"] != f"sha256:{hashlib.sha256(edited).hexdigest()}"
    ((refusal, _),) = statements(bundle, "launch.refused")
    assert "wildcard-import" in {reason["code"] for reason in refusal["body"]["reasons"]}
    findings = [
        {finding["code"] for finding in entry["body"]["findings"]}
        for entry, seen in statements(bundle, "observation.recorded")
        if seen.predicate["launch"] == launch
    ]
    assert findings[0] == set()
    assert {"seccomp-missing", "limit"} <= findings[-1]
    checkpoint = statements(bundle, "observation.recorded")[-1][1].predicate["log"]
    assert checkpoint["size"] > 0
