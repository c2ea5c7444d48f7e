"""Who may reach people and teams.  "Not yours" and "not there" are the same NotFound."""

from __future__ import annotations

from typing import Literal

from django.db.models import QuerySet

from coi_web.accounts.models import ApiToken, Membership, Team, User
from coi_web.audit.actors import Actor
from coi_web.audit.models import AuditEvent
from coi_web.audit.queries import events_visible_to
from coi_web.errors import Forbidden, NotFound, SignedOut


def require_user(actor: Actor) -> User:
    """The signed-in, enabled person; raises SignedOut."""
    if actor.user is None or not actor.user.is_active:
        raise SignedOut("You are signed out. Sign in to go on.")
    return actor.user


def require_administrator(actor: Actor) -> User:
    user = require_user(actor)
    if not user.is_superuser:
        raise Forbidden("This needs an administrator. Ask one to do it for you.")
    return user


def require_overseer(actor: Actor) -> User:
    """An auditor or an administrator."""
    user = require_user(actor)
    if not user.sees_everything:
        raise Forbidden("This page is for auditors and administrators.")
    return user


def led_team_ids(user: User) -> list[int]:
    return list(
        Membership.objects.filter(user=user, role=Membership.Role.LEAD).values_list("team_id", flat=True)
    )


def team_ids(user: User) -> list[int]:
    return list(Membership.objects.filter(user=user).values_list("team_id", flat=True))


def teams_of(user: User) -> list[Team]:
    return list(Team.objects.filter(memberships__user=user))


def get_team_for(actor: Actor, slug: str, *, to: Literal["view", "manage"]) -> Team:
    """The team; members, auditors and administrators see it, leads and administrators manage its members."""
    user = require_user(actor)
    team = Team.objects.filter(slug=slug).first()
    role = team and Membership.objects.filter(team=team, user=user).values_list("role", flat=True).first()
    if team is None or not (role or user.sees_everything):
        raise NotFound("There is no such team, or you cannot see it.")
    if to == "manage" and not (user.is_superuser or role == Membership.Role.LEAD):
        raise Forbidden("Only a lead of the team or an administrator can change it.")
    return team


def get_user_for(actor: Actor, username: str, *, to: Literal["view", "manage"]) -> User:
    """Auditors and administrators see every account, only administrators change one."""
    user = require_user(actor)
    found = User.objects.filter(username=username).first()
    if found is None or not user.sees_everything:
        raise NotFound("There is no such account, or you cannot see it.")
    if to == "manage" and not user.is_superuser:
        raise Forbidden("Only an administrator can change accounts.")
    return found


def get_token_for(actor: Actor, token_id: int) -> ApiToken:
    token = ApiToken.objects.filter(pk=token_id, user=require_user(actor)).first()
    if token is None:
        raise NotFound("There is no such token, or it is not yours.")
    return token


def events_for(actor: Actor) -> QuerySet[AuditEvent]:
    """Audit events that the person may see; the chokepoint of the audit page and its API."""
    user = require_user(actor)
    return events_visible_to(user_id=user.pk, sees_all=user.sees_everything, led_team_ids=led_team_ids(user))


def get_event_for(actor: Actor, sequence: int) -> AuditEvent:
    event = events_for(actor).filter(sequence=sequence).first()
    if event is None:
        raise NotFound("There is no such event, or you cannot see it.")
    return event
