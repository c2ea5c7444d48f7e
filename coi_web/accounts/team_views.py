"""Teams: members see theirs, leads manage members, administrators create and delete."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from coi_web.accounts import team_services
from coi_web.accounts.access import get_team_for, require_administrator, require_user
from coi_web.accounts.forms import MemberForm, RenameForm, TeamForm, TypedNameForm, blame
from coi_web.accounts.models import Membership, Team
from coi_web.accounts.views import REFUSED
from coi_web.audit.actors import Actor
from coi_web.errors import CoiError
from coi_web.requests import actor_of


@require_http_methods(["GET", "POST"])
def team_new(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    require_administrator(actor)
    form = TeamForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            team = team_services.create_team(actor=actor, **form.cleaned_data)
            return redirect("accounts:team", team.slug)
        except CoiError as error:
            blame(form, error)
    return render(request, "accounts/team_new.html", {"form": form}, status=REFUSED if form.is_bound else 200)


@require_http_methods(["GET", "POST"])
def team_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """POST adds a member or changes a role."""
    actor = actor_of(request)
    team = get_team_for(actor, slug, to="manage" if request.method == "POST" else "view")
    form = MemberForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            team_services.set_member(actor=actor, team=team, **form.cleaned_data)
            messages.success(request, f"{form.cleaned_data['username']} is {form.cleaned_data['role']} now.")
            return redirect("accounts:team", team.slug)
        except CoiError as error:
            blame(form, error)
    return _page(request, actor, team, {"form": form}, REFUSED if form.is_bound else 200)


def _page(
    request: HttpRequest, actor: Actor, team: Team, context: dict[str, object], status: int
) -> HttpResponse:
    user = require_user(actor)
    members = list(Membership.objects.filter(team=team).select_related("user"))
    leads = [member.user_id for member in members if member.role == Membership.Role.LEAD]
    context = {
        "team": team,
        "members": members,
        "can_manage": user.is_superuser or user.pk in leads,
        "form": MemberForm(),
        "rename_form": RenameForm(initial={"name": team.name}, auto_id="id_rename_%s"),
        "delete_form": TypedNameForm(name=team.slug),
    } | context
    return render(request, "accounts/team.html", context, status=status)


@require_POST
def team_member_remove(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    actor = actor_of(request)
    team = get_team_for(actor, slug, to="manage")
    team_services.remove_member(actor=actor, team=team, username=username)
    messages.success(request, f"{username} is no member any more.")
    still_there = require_user(actor).sees_everything or username != require_user(actor).username
    return redirect("accounts:team", team.slug) if still_there else redirect("accounts:people")


@require_POST
def team_rename(request: HttpRequest, slug: str) -> HttpResponse:
    actor = actor_of(request)
    team = get_team_for(actor, slug, to="manage")
    form = RenameForm(request.POST, auto_id="id_rename_%s")
    if form.is_valid():
        try:
            team_services.rename_team(actor=actor, team=team, name=form.cleaned_data["name"])
            return redirect("accounts:team", team.slug)
        except CoiError as error:
            blame(form, error)
            team.refresh_from_db()
    return _page(request, actor, team, {"rename_form": form}, REFUSED)


@require_POST
def team_delete(request: HttpRequest, slug: str) -> HttpResponse:
    """Only with the slug typed."""
    actor = actor_of(request)
    require_administrator(actor)
    team = get_team_for(actor, slug, to="view")
    form = TypedNameForm(request.POST, name=team.slug)
    if not form.is_valid():
        return _page(request, actor, team, {"delete_form": form}, REFUSED)
    team_services.delete_team(actor=actor, team=team)
    messages.success(request, f"The team “{team.name}” is gone. Its people and their sessions stay.")
    return redirect("accounts:people")
