"""The pages of workspaces."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_http_methods, require_safe

from coi_web.accounts.access import require_user
from coi_web.errors import CoiError
from coi_web.requests import actor_of
from sessions.access import get_workspace_for
from sessions.forms import GIB, WorkspaceForm, add_refusal
from sessions.queries import workspaces_count, workspaces_visible_to
from sessions.services.workspaces import create_workspace, delete_workspace

PAGE_SIZE: Final = 50


@require_safe
def workspace_list(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    user = require_user(actor)
    visible = workspaces_visible_to(actor)
    text = request.GET.get("q", "").strip()[:100]
    rows = visible.annotate(live_sessions=Count("sessions", filter=Q(sessions__ended_at=None))).order_by(
        "slug"
    )
    if request.GET.get("mine"):
        rows = rows.filter(owner=user)
    if text:
        rows = rows.filter(Q(slug__icontains=text) | Q(team_name__icontains=text))
    context = {
        "page_obj": Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page")),
        "text": text,
        "mine": bool(request.GET.get("mine")),
        "use": workspaces_count(user),
        "limit": settings.COI_MAX_WORKSPACES_PER_USER,
    }
    return render(request, "sessions/workspaces.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    user = require_user(actor)
    form = WorkspaceForm(request.POST or None, user=user)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            create_workspace(
                actor=actor, name=data["name"], size_bytes=data["size_gib"] * GIB, team=data.get("team")
            )
            return redirect("sessions:workspaces")
        except CoiError as error:
            add_refusal(form, error, {"size_bytes": "size_gib"})
    context = {"form": form, "use": workspaces_count(user), "limit": settings.COI_MAX_WORKSPACES_PER_USER}
    return render(request, "sessions/workspace_new.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, key: str) -> HttpResponse:
    """Asks for the typed name, since the files are gone afterwards."""
    actor = actor_of(request)
    workspace = get_workspace_for(actor, key, to="delete")
    error: CoiError | str | None = None
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() != workspace.slug:
            error = f"Type {workspace.slug} to confirm: its files will be gone."
        else:
            try:
                delete_workspace(actor=actor, workspace=workspace)
                return redirect("sessions:workspaces")
            except CoiError as refusal:
                error = refusal
    context = {
        "workspace": workspace,
        "using": workspace.sessions.filter(ended_at=None),
        "error": error,
    }
    is_fragment = bool(request.headers.get("HX-Request"))
    status = error.status if isinstance(error, CoiError) else 400 if error else 200
    template = "sessions/_workspace_delete.html" if is_fragment else "sessions/workspace_delete.html"
    response = render(request, template, context, status=200 if is_fragment else status)
    patch_vary_headers(response, ["HX-Request"])
    return response
