"""What every page's frame needs: navigation by role, teams, running operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from coi_web.accounts.access import teams_of
from coi_web.accounts.models import Team
from coi_web.operations.queries import running_operations_count
from coi_web.requests import actor_of


@dataclass(frozen=True, slots=True)
class NavItem:
    """``icon`` is the name of a symbol in the sprite; ``admin`` items stand below a line of their own."""

    key: str
    label: str
    icon: str
    url: str
    active: bool
    admin: bool


_EVERYBODY = (
    ("overview", "Overview", "sessions:overview", "layout-dashboard"),
    ("sessions", "Sessions", "sessions:list", "terminal-2"),
    ("workspaces", "Workspaces", "sessions:workspaces", "folders"),
    ("audit", "Audit", "audit:list", "clipboard-list"),
)
_OVERSEERS = (
    ("people", "People", "accounts:people", "users"),
    ("health", "Health", "health", "activity"),
)


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor of ``base.html``; nothing for people who are not signed in."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"nav_items": [], "running_operations_count": 0, "teams": [], "theme": "auto"}
    items = [_item(request, *entry, admin=False) for entry in _EVERYBODY]
    if user.sees_everything:
        items += [_item(request, *entry, admin=True) for entry in _OVERSEERS]
    teams = list(Team.objects.all()) if user.sees_everything else teams_of(user)
    if teams and not user.sees_everything:
        items.append(_item(request, "people", "Teams", "accounts:people", "users-group", admin=False))
    wanted = request.GET.get("team", "")
    return {
        "nav_items": items,
        "running_operations_count": running_operations_count(actor_of(request)),
        "teams": teams,
        "current_team": next((team for team in teams if team.slug == wanted), None),
        "theme": user.theme,
    }


def _item(request: HttpRequest, key: str, label: str, route: str, icon: str, *, admin: bool) -> NavItem:
    url = reverse(route)
    active = request.path == url if url == "/" else request.path.startswith(url)
    return NavItem(key, label, icon, url, active, admin)
