"""What every page's frame needs: navigation by role, teams, running operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from coi_web.accounts.access import teams_of
from coi_web.operations.queries import running_operations_count
from coi_web.requests import actor_of


@dataclass(frozen=True, slots=True)
class NavItem:
    """``icon`` is the name of a symbol in the sprite; ``key`` the second key of its ``g …`` jump."""

    name: str
    url: str
    icon: str
    key: str
    is_current: bool


_EVERYBODY = (
    ("Overview", "overview", "home", "o"),
    ("Sessions", "session-list", "terminal", "s"),
    ("Workspaces", "workspace-list", "folder", "w"),
    ("Operations", "operation-list", "activity", "p"),
    ("Audit", "audit-list", "history", "u"),
)
_ADMINISTRATORS = (
    ("People", "people", "users", "e"),
    ("Health", "health", "heart", "h"),
)


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context processor of ``base.html``; nothing for people who are not signed in."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"nav_items": [], "admin_nav_items": [], "running_operations_count": 0, "teams": []}
    admin = _ADMINISTRATORS if user.sees_everything else ()
    return {
        "nav_items": [_item(request, *entry) for entry in _EVERYBODY],
        "admin_nav_items": [_item(request, *entry) for entry in admin],
        "running_operations_count": running_operations_count(actor_of(request)),
        "teams": teams_of(user),
        "current_team": request.GET.get("team", ""),
    }


def _item(request: HttpRequest, name: str, route: str, icon: str, key: str) -> NavItem:
    url = reverse(route)
    is_current = request.path == url if url == "/" else request.path.startswith(url)
    return NavItem(name, url, icon, key, is_current)
