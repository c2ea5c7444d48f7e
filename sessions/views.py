"""The pages of sessions.  Each: access, form, service, answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from csp.decorators import csp_update
from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe

from coi_web.accounts.access import get_team_for, require_user
from coi_web.audit.actors import Actor
from coi_web.errors import CoiError, NotFound
from coi_web.operations.queries import operations_visible_to
from coi_web.requests import actor_of
from sessions import filters
from sessions.access import SessionRight, actions_by_session, actions_for, get_session_for
from sessions.commands import action_command
from sessions.forms import StartForm, add_refusal
from sessions.models import Session
from sessions.profiles import profiles
from sessions.queries import live_sessions_count, sessions_visible_to, workspaces_count, workspaces_visible_to
from sessions.services.lifecycle import perform
from sessions.starting import is_new, preview, start
from sessions.states import Action, Mode, State

PAGE_SIZE: Final = 50
#: Cards on the overview; the list has the rest.
MOST_CARDS: Final = 24
MOST_ATTENTION: Final = 5
#: Failures older than this no longer need anybody.
ATTENTION_FOR: Final = timedelta(days=1)
MOST_JUMPS: Final = 300


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """What needs me first, my live sessions, my limits; with ``?team=`` the same for a team."""
    actor = actor_of(request)
    user = require_user(actor)
    slug = request.GET.get("team", "")
    team = get_team_for(actor, slug, to="view") if slug else None
    scope = (
        sessions_visible_to(actor).filter(team=team)
        if team
        else sessions_visible_to(actor).filter(owner=user)
    )
    live = scope.filter(ended_at=None).order_by("-created_at")
    recent = timezone.now() - ATTENTION_FOR
    failed = scope.filter(state__in=[State.FAILED, State.LOST], ended_at__gte=recent)[:5]
    waiting = live.filter(state__in=[State.FROZEN, State.FAILED])
    attention = [*waiting[:MOST_ATTENTION], *failed]
    operations = operations_visible_to(actor)
    operations = operations.filter(team=team) if team else operations.filter(owner=user)
    cards = list(live[:MOST_CARDS])
    context = {
        "team": team,
        "cards": _with_actions(actor, cards),
        "live_count": live.count(),
        "attention": attention,
        "attention_more": max(waiting.count() - MOST_ATTENTION, 0),
        "operations": operations[:6],
        "limits": [
            ("Sessions", live_sessions_count(user), settings.COI_MAX_SESSIONS_PER_USER),
            ("Workspaces", workspaces_count(user), settings.COI_MAX_WORKSPACES_PER_USER),
        ],
    }
    return _page(request, "sessions/overview.html", "sessions/_overview.html", context)


@require_safe
def session_list(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    user = require_user(actor)
    text = " ".join(request.GET.get("q", "").split())[: filters.MAX_CHARS]
    wanted = filters.parse(text, user)
    visible = sessions_visible_to(actor)
    page = Paginator(visible.filter(wanted.condition), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page_obj": page,
        "rows": _with_actions(actor, list(page.object_list)),
        "text": text,
        "problems": wanted.problems,
        "presets": filters.PRESETS,
        "has_any": bool(page.object_list) or visible.exists(),
    }
    return render(request, "sessions/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The form; with htmx, what the values so far would do."""
    actor = actor_of(request)
    user = require_user(actor)
    own = list(workspaces_visible_to(actor).filter(owner=user))
    if request.method == "POST":
        form = StartForm(request.POST, user=user, workspaces=own)
        if form.is_valid():
            try:
                session = start(actor, form)
            except CoiError as error:
                add_refusal(form, error, {"size_bytes": "size_gib"})
            else:
                query = {"then": "terminal"} if form.cleaned_data["open_terminal"] else {}
                return redirect(
                    reverse("sessions:detail", args=[session.name])
                    + (f"?{urlencode(query)}" if query else "")
                )
    else:
        initial = {"workspace": request.GET["workspace"]} if request.GET.get("workspace") else {}
        form = StartForm(user=user, workspaces=own, initial=initial)
    values: dict[str, Any] = (request.GET if request.method != "POST" else request.POST).dict()
    context = {
        "form": form,
        "preview": preview(actor, form, values),
        "workspaces": form.workspaces,
        "profiles": profiles(),
        "is_new": is_new(form),
    }
    status = 422 if form.errors else 200
    return _page(request, "sessions/new.html", "sessions/_preview.html", context, status=status)


@require_safe
def detail(request: HttpRequest, key: str) -> HttpResponse:
    """A session: its state, the work on it, what can be done; ``?then=terminal`` goes on when it runs."""
    actor = actor_of(request)
    session = get_session_for(actor, key, to="view")
    actions = actions_for(actor, session)
    if request.GET.get("then") == "terminal" and Action.ATTACH in actions:
        return _go(request, reverse("sessions:terminal", args=[session.name]))
    context = {
        "session": session,
        "actions": actions,
        "operation": session.operation,
        "then": "terminal" if request.GET.get("then") == "terminal" and session.is_live else "",
        "transitions": session.transitions.order_by("-at", "-pk")[:50],
        "siblings": _siblings(actor, session),
        "profile": next((one for one in profiles() if one.name == session.profile_name), None),
        "command": action_command(Action.ATTACH, session) if session.is_live else "",
    }
    return _page(request, "sessions/detail.html", "sessions/_detail.html", context)


# xterm writes <style> elements; scripts stay strict.
@csp_update({"style-src": ["'unsafe-inline'"]})  # type: ignore[arg-type]  # typed for views without arguments
@require_safe
def terminal(request: HttpRequest, key: str) -> HttpResponse:
    """The page around the terminal.  It opens for any state: the socket says what is in the way."""
    session = get_session_for(actor_of(request), key, to="attach")
    context = {"session": session, "socket": f"/ws/sessions/{session.public_id}/terminal/"}
    template = (
        "sessions/_terminal_state.html" if request.headers.get("HX-Request") else "sessions/terminal.html"
    )
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


_RIGHTS: Final[dict[str, SessionRight]] = {
    Action.START_AGAIN.value: "own",
    Action.STOP.value: "operate",
    Action.END.value: "operate",
    Action.KILL.value: "operate",
}


@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, key: str, action: str) -> HttpResponse:
    """Asks before (GET, a dialog or a page) and does (POST)."""
    if action not in _RIGHTS:
        raise NotFound("There is no such page. The address may be mistyped or out of date.")
    actor = actor_of(request)
    session = get_session_for(actor, key, to=_RIGHTS[action])
    error: CoiError | str | None = None
    loses_state = action == Action.KILL and session.mode == Mode.PERSISTENT
    if request.method == "POST":
        if loses_state and request.POST.get("confirm", "").strip() != session.name:
            error = f"Type {session.name} to confirm: what is installed in this container will be gone."
        else:
            try:
                perform(action, actor=actor, session=session)
                return redirect("sessions:detail", key=str(session.public_id))
            except CoiError as refusal:
                error = refusal
    context = {
        "session": session,
        "action": action,
        "is_allowed": action in actions_for(actor, session),
        "loses_state": loses_state,
        "command": action_command(action, session),
        "error": error,
    }
    status = error.status if isinstance(error, CoiError) else 400 if error else 200
    return _page(request, "sessions/act.html", "sessions/_act.html", context, status=status)


@require_safe
def palette(request: HttpRequest) -> JsonResponse:
    """Everything that can be jumped to by name: live sessions and workspaces."""
    actor = actor_of(request)
    user = require_user(actor)
    items = [
        {
            "label": session.name,
            "hint": f"{session.workspace_slug} · {session.state}",
            "icon": "terminal-2",
            "url": reverse("sessions:detail", args=[session.name]),
        }
        for session in sessions_visible_to(actor).filter(ended_at=None)[:MOST_JUMPS]
    ]
    items += [
        {
            "label": f"Terminal of {session.name}",
            "hint": session.workspace_slug,
            "icon": "terminal",
            "url": reverse("sessions:terminal", args=[session.name]),
        }
        for session in sessions_visible_to(actor).filter(owner=user, state=State.RUNNING)[:MOST_JUMPS]
    ]
    items += [
        {
            "label": workspace.slug,
            "hint": "workspace",
            "icon": "folder",
            "url": f"{reverse('sessions:workspaces')}?{urlencode({'q': workspace.slug})}",
        }
        for workspace in workspaces_visible_to(actor)[:MOST_JUMPS]
    ]
    items.append({"label": "New session", "hint": "action", "icon": "plus", "url": reverse("sessions:new")})
    return JsonResponse({"items": items})


def _page(
    request: HttpRequest, page: str, fragment: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """The fragment for htmx, else the page around it."""
    is_fragment = bool(request.headers.get("HX-Request"))
    response = render(
        request, fragment if is_fragment else page, context, status=200 if is_fragment else status
    )
    patch_vary_headers(response, ["HX-Request"])
    return response


def _go(request: HttpRequest, url: str) -> HttpResponse:
    if not request.headers.get("HX-Request"):
        return redirect(url)
    response = HttpResponse(status=204)
    response["HX-Redirect"] = url
    return response


def _with_actions(actor: Actor, sessions: list[Session]) -> list[tuple[Session, frozenset[str]]]:
    actions = actions_by_session(actor, sessions)
    return [(session, actions[session.pk]) for session in sessions]


def _siblings(actor: Actor, session: Session) -> list[Session]:
    """Other sessions on the same workspace, live ones first."""
    if session.workspace_id is None:
        return []
    others = sessions_visible_to(actor).filter(workspace_id=session.workspace_id).exclude(pk=session.pk)
    return [*others.filter(ended_at=None), *others.filter(ended_at__isnull=False)[:5]]
