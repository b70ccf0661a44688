"""The demo's canaries: what an admin does in production (docs/canaries.md), done by Ada on this one machine."""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import Path

from audit import trust as anchors
from audit.log import commit, utc_now
from governance.actions import enrol_agent, invite_agent, issue_delegation
from governance.models import Agent, Delegation, Person
from governance.runtime.actions import register_service
from governance.runtime.models import Service
from imprimatur import durable
from imprimatur.canary import folder as folders
from imprimatur.canary.attempts import LIMIT, SCOPE
from imprimatur.cli import ssh
from imprimatur.formats import canonical, delegation
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from server.canary.schedule import folder

NAMES = ("canary one", "canary two")
LASTS, RENEWED = timedelta(days=30), timedelta(days=15)


def prepare(url: str, realm: str, ada: Person, key: Path) -> None:
    """Enrol, register and delegate what is not there yet. Safe to run again, also after the address changed."""
    path = folder()
    durable.make_folder(path)
    made = folders.make(path, url, canonical.dumps(anchors.server()))
    durable.write_file(path / folders.PIN, canonical.dumps(anchors.server()))
    agents = [_enrolled(name, pair, ada) for name, pair in zip(NAMES, (made.one, made.two), strict=True)]
    for name, service in (("canaries", made.results), ("launches of canaries", made.launches)):
        if not Service.objects.filter(pk=service.service).exists():
            mine = tuple(agent.pk for agent in agents) if service is made.results else ()
            command = register_service.Command(name, service.role, service.key.public_key, ada, agents=mine)
            commit(register_service.apply, command)
    _delegated(agents[0], realm, ada, key)


def _enrolled(name: str, key: KeyPair, ada: Person) -> Agent:
    known = Agent.objects.filter(keys__thumbprint=key.thumbprint).first()
    if known is not None:
        return known
    command, token = invite_agent.new(name, ada, ada)
    commit(invite_agent.apply, command)
    return commit(enrol_agent.apply, enrol_agent.Command(token, key.public_key)).agent


def _delegated(agent: Agent, realm: str, ada: Person, key: Path) -> None:
    """Ada signs a new one when the old one ends soon, as she would be reminded to."""
    now = utc_now()
    held = Delegation.objects.filter(subject=agent, parent=None, revoked_at=None, not_after__gt=now + RENEWED)
    if held.exists():
        return
    document = {
        "typ": delegation.TYP,
        "realm": realm,
        "issuer": ada.pk,
        "subject": agent.pk,
        "scope": list(SCOPE),
        "spend": {"unit": "USD", "limit": LIMIT},
        "not_before": format_time(now),
        "not_after": format_time(now + LASTS),
        "max_depth": 1,
        "purpose": "Canaries: what they try must be refused",
        "nonce": secrets.token_urlsafe(18),
    }
    signature = ssh.sign(canonical.dumps(document), key, delegation.SSH_NAMESPACE)
    commit(issue_delegation.apply, issue_delegation.Command(document, signature, ada))
