"""Addresses of the pages about who may do what."""

from __future__ import annotations

from django.urls import path

from governance.views import agents, delegations, pauses, people, policy, signed, tools

urlpatterns = [
    path("agents/", agents.index, name="agents"),
    path("agents/invite", agents.invite, name="agent_invite"),
    path("agents/<str:agent_id>", agents.one, name="agent"),
    path("agents/<str:agent_id>/suspend", agents.suspend, name="agent_suspend"),
    path("agents/<str:agent_id>/resume", agents.resume, name="agent_resume"),
    path("agents/<str:agent_id>/keys/<str:thumbprint>/revoke", agents.revoke_key, name="agent_key_revoke"),
    path("delegations/", delegations.index, name="delegations"),
    path("delegations/new", delegations.new, name="delegation_new"),
    path("delegations/sign", delegations.sign, name="delegation_sign"),
    path("delegations/signed", signed.post, name="delegation_signed"),
    path("delegations/<str:delegation_id>", delegations.one, name="delegation"),
    path("delegations/<str:delegation_id>/document.json", delegations.document, name="delegation_document"),
    path("delegations/<str:delegation_id>/revoke", delegations.revoke, name="delegation_revoke"),
    path("delegations/<str:delegation_id>/correct", delegations.correct, name="delegation_correct"),
    path("tools/", tools.index, name="tools"),
    path("tools/register", tools.register, name="tool_register"),
    path("tools/<str:name>", tools.one, name="tool"),
    path("tools/<str:name>/retire", tools.retire, name="tool_retire"),
    path("policy/", policy.index, name="policy"),
    path("policy/edit", policy.edit, name="policy_edit"),
    path("policy/activate", policy.activate, name="policy_activate"),
    path("policy/explain", policy.explain, name="policy_explain"),
    path("policy/versions/<int:number>", policy.version, name="policy_version"),
    path("people/", people.index, name="people"),
    path("people/add", people.add, name="person_add"),
    path("people/<str:person_id>", people.one, name="person"),
    path("people/<str:person_id>/change", people.change, name="person_change"),
    path("people/<str:person_id>/off", people.switch_off, name="person_off"),
    path("people/<str:person_id>/on", people.switch_on, name="person_on"),
    path("people/<str:person_id>/keys/add", people.add_key, name="person_key_add"),
    path("people/<str:person_id>/keys/revoke", people.revoke_key, name="person_key_revoke"),
    path("pauses/", pauses.index, name="pauses"),
    path("pauses/lift", pauses.lift, name="pause_lift"),
]
