"""Agents: who they are, what they hold, which keys they sign with, and how to stop one."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import kinds, log, selectors, trust
from audit.models import Entry
from audit.views import guard
from governance import pauses
from governance.access import access_agent
from governance.actions import invite_agent, resume_agent, suspend_agent
from governance.actions import revoke_key as revoking
from governance.actors import roles_of
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.forms import InviteForm, ReasonForm, SinceForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Agent, AgentKey, Invitation, Pause, Person
from governance.runtime import canary_agents
from governance.views import acts, commands, listing
from governance.views.edge import act, page, person_at, sheet
from imprimatur.formats.digests import fingerprint, sha256

RECENT = 15


@page(ADMIN, REVIEWER, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Every agent, with what it holds now."""
    now = log.utc_now()
    in_force = Q(delegations__revoked_at=None, delegations__not_before__lte=now, delegations__not_after__gt=now)
    agents = Agent.objects.select_related("owner").annotate(in_force=Count("delegations", filter=in_force))
    shown = request.GET.get("canaries") == "shown"
    canaries = canary_agents.known().count()
    if canaries and not shown:
        agents = agents.exclude(pk__in=canary_agents.known())
    standing = {(pause.scope, pause.target) for pause in pauses.all_standing()}
    return render(
        request,
        "governance/agents.html",
        {
            "agents": [
                (agent, (Pause.AGENT, agent.id) in standing, _last_seen(agent)) for agent in agents.order_by("name")
            ],
            "invitations": Invitation.objects.select_related("owner").filter(used_at=None, expires_at__gt=now),
            "everything_paused": (Pause.EVERYTHING, "") in standing,
            "canaries": canaries,
            "canaries_shown": shown,
        },
    )


@page(ADMIN, methods=("GET", "POST"))
def invite(request: HttpRequest) -> HttpResponse:
    """Invite an agent. The token is shown on the answer to this one request and kept nowhere."""
    me = person_at(request)
    form = InviteForm(request.POST or None, initial={"owner": me.id})
    if request.method == "POST" and form.is_valid():
        owner = Person.objects.get(pk=form.cleaned_data["owner"])
        command, token = invite_agent.new(form.cleaned_data["name"], owner, me, form.cleaned_data["enforcement"])
        done = act(form, invite_agent.apply, command)
        if done is not None:
            return render(
                request,
                "governance/invited.html",
                {
                    "invitation": done.invitation,
                    "token": token,
                    "command": commands.enroll(settings.ORIGINS[0], token, trust.server()),
                },
            )
    return render(request, "governance/invite.html", {"form": form}, status=422 if form.errors else 200)


@page(ADMIN, REVIEWER, AUDITOR)
def one(request: HttpRequest, agent_id: str) -> HttpResponse:
    """One agent: keys, delegations, what it asked lately."""
    me = person_at(request)
    agent = access_agent(me, agent_id)
    rows = selectors.entries(selectors.EntryFilter(agent=agent.id))[:RECENT]
    named = lru_cache(maxsize=None)(kinds.name)
    return render(
        request,
        "governance/agent.html",
        {
            "agent": agent,
            "keys": [
                {"row": key, "fingerprint": fingerprint(sha256(bytes(key.public_key)))}
                for key in agent.keys.order_by("-added_at")
            ],
            "delegations": [listing.row(each) for each in listing.held_by(agent)],
            "entries": [(row, kinds.sentence(selectors.payload_of(row), named)) for row in rows],
            "pause": pauses.standing(agent.id, ""),
            "may_stop": _may_stop(me, agent),
            "seen": _last_seen(agent),
        },
    )


def _delegations(count: int) -> str:
    return "1 delegation" if count == 1 else f"{count} delegations"


def _suspension(request: HttpRequest, agent_id: str) -> acts.Sheet:
    """Suspend it: for admins and for its owner."""
    me, agent = _stopper(request, agent_id)
    lead = (
        f"From now on nothing that {agent.name} holds or passed on can be used. What it has pending or approved ends. "
        "Only an admin can resume it."
    )

    def deed(found: dict[str, Any], signed: Signed | None) -> acts.Deed:
        return suspend_agent.apply, suspend_agent.Command(agent, found["reason"], me, signed)

    return acts.Sheet(
        me,
        ReasonForm(request.POST if request.method == "POST" else None),
        act="agent.suspended",
        subject=agent.id,
        about={"agent": agent.id},
        deed=deed,
        done=f"{agent.name} is suspended.",
        words={
            "title": f"Suspend {agent.name}",
            "lead": lead,
            "button": "Suspend",
            "danger": True,
            "back": reverse("agent", args=[agent.id]),
            "facts": [("In force now", _delegations(len(listing.in_force(agent))))],
        },
    )


suspend, suspend_sign = acts.views(_suspension, ADMIN, REVIEWER, AUDITOR)


@page(ADMIN, methods=("GET", "POST"))
def resume(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Resume a suspended agent."""
    me = person_at(request)
    agent = access_agent(me, agent_id)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        command = resume_agent.Command(agent, form.cleaned_data["reason"], me)
        if act(form, resume_agent.apply, command) is not None:
            messages.success(request, f"{agent.name} may ask again.")
            return redirect("agent", agent.id)
    lead = "Its delegations count again, as far as they have not ended. What ended when it was suspended stays ended."
    return sheet(
        request,
        form,
        title=f"Resume {agent.name}",
        lead=lead,
        button="Resume",
        back=reverse("agent", args=[agent.id]),
        facts=[("It holds", _delegations(len(listing.in_force(agent))))],
    )


def _key_revocation(request: HttpRequest, agent_id: str, thumbprint: str) -> acts.Sheet:
    """Revoke a key, from now or from when it may have been lost."""
    me, agent = _stopper(request, agent_id)
    key = AgentKey.objects.filter(agent=agent, pk=thumbprint).first()
    if key is None:
        raise Refused("not-found", "There is no such key.")
    lead = (
        "Requests signed with it are turned away, what it has pending or approved ends, and so does each delegation it "
        "passed on from that time. A key that it named as its successor from that time falls with it. A lost key is a "
        "new agent: invite it again."
    )

    def deed(found: dict[str, Any], signed: Signed | None) -> acts.Deed:
        return revoking.apply, revoking.Command(thumbprint, found["reason"], found["since"], me, signed)

    return acts.Sheet(
        me,
        SinceForm(request.POST if request.method == "POST" else None),
        act="agent.key_revoked",
        subject=agent.id,
        about={"agent": agent.id, "thumbprint": key.thumbprint},
        deed=deed,
        done=f"The key is revoked. What it signed from then on is dead; {agent.name} cannot ask with it again.",
        words={
            "title": f"Revoke a key of {agent.name}",
            "lead": lead,
            "button": "Revoke the key",
            "danger": True,
            "back": reverse("agent", args=[agent.id]),
            "facts": [("Key", key.thumbprint), ("Added", f"{key.added_at:%d %b %Y, %H:%M} UTC")],
        },
    )


revoke_key, revoke_key_sign = acts.views(_key_revocation, ADMIN, REVIEWER, AUDITOR)


def _stopper(request: HttpRequest, agent_id: str) -> tuple[Person, Agent]:
    me = person_at(request)
    agent = access_agent(me, agent_id)
    if not _may_stop(me, agent):
        raise Refused("not-allowed", f"Only an admin or {agent.owner.name}, who owns {agent.name}, may do this.")
    return me, agent


def _may_stop(me: Person, agent: Agent) -> bool:
    return me.pk == agent.owner_id or guard.ADMIN in roles_of(me)


def _last_seen(agent: Agent) -> datetime | None:
    """When it last signed something that stands in the log."""
    newest = Entry.objects.filter(actor_id=agent.id).order_by("-index").values_list("time", flat=True).first()
    return max(filter(None, (newest, agent.last_seen_at)), default=None)
