"""What people see, and how much of their caps they use.  No writes."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from coi_web.accounts.access import require_user, team_ids
from coi_web.accounts.models import User
from coi_web.audit.actors import Actor
from sessions.models import Session, Workspace


def sessions_visible_to(actor: Actor) -> QuerySet[Session]:
    """Own and one's teams'; all for auditors and administrators.  Raises SignedOut."""
    user = require_user(actor)
    rows = Session.objects.select_related("owner", "team", "workspace", "operation")
    if user.sees_everything:
        return rows
    return rows.filter(Q(owner=user) | Q(team_id__in=team_ids(user)))


def workspaces_visible_to(actor: Actor) -> QuerySet[Workspace]:
    """As sessions.  Raises SignedOut."""
    user = require_user(actor)
    rows = Workspace.objects.select_related("owner", "team", "operation")
    if user.sees_everything:
        return rows
    return rows.filter(Q(owner=user) | Q(team_id__in=team_ids(user)))


def live_sessions_count(user: User) -> int:
    """Stopped ones count: their containers take disk."""
    return Session.objects.filter(owner=user, ended_at=None).count()


def workspaces_count(user: User) -> int:
    return Workspace.objects.filter(owner=user).count()
