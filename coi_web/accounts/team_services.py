"""Changes to teams and their members."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from coi_web.accounts.access import get_team_for, require_administrator
from coi_web.accounts.models import Membership, Team, User
from coi_web.accounts.services import announce_rights_changed, user_target
from coi_web.audit.actors import Actor
from coi_web.audit.services import Target, record, refusals_recorded
from coi_web.errors import Conflict, InvalidInput, NotFound


def team_target(team: Team) -> Target:
    return Target("team", str(team.pk), team.slug)


def create_team(*, actor: Actor, slug: str, name: str) -> Team:
    """Raises Forbidden, InvalidInput, and Conflict where the slug is taken."""
    with refusals_recorded("team.create", actor=actor, target=Target("team", "", slug)):
        require_administrator(actor)
        team = Team(slug=slug, name=name.strip())
        try:
            team.full_clean(validate_unique=False)
        except ValidationError as error:
            field, messages = next(iter(error.message_dict.items()))
            raise InvalidInput(messages[0], data={"field": field}) from error
        try:
            with transaction.atomic():
                team.save(force_insert=True)
                record("team.create", actor=actor, target=team_target(team), team=team)
        except IntegrityError as error:
            raise Conflict(f"A team “{slug}” exists.", log_detail=str(error)) from error
    return team


def rename_team(*, actor: Actor, team: Team, name: str) -> Team:
    """Change the name that people read; the slug stays.  Raises Forbidden and InvalidInput."""
    with refusals_recorded("team.change", actor=actor, target=team_target(team), team=team):
        get_team_for(actor, team.slug, to="manage")
        before, team.name = team.name, name.strip()
        try:
            team.full_clean(validate_unique=False)
        except ValidationError as error:
            raise InvalidInput(next(iter(error.messages)), data={"field": "name"}) from error
        with transaction.atomic():
            team.save(update_fields=["name"])
            record("team.change", actor=actor, target=team_target(team), team=team,
                   data={"before": before, "after": team.name})  # fmt: skip
    return team


def delete_team(*, actor: Actor, team: Team) -> None:
    """Its people and their sessions stay, without a team."""
    target = team_target(team)
    with refusals_recorded("team.delete", actor=actor, target=target, team=team):
        require_administrator(actor)
        with transaction.atomic():
            members = list(User.objects.filter(memberships__team=team))
            record("team.delete", actor=actor, target=target, team=team,
                   data={"members": [user.username for user in members]})  # fmt: skip
            for user in members:
                announce_rights_changed(user)
            team.delete()


def set_member(*, actor: Actor, team: Team, username: str, role: str) -> Membership:
    """Add a person or change their role.  Safe to repeat.  Raises Forbidden, NotFound, InvalidInput."""
    with refusals_recorded("team.member-add", actor=actor, target=Target("user", "", username), team=team):
        get_team_for(actor, team.slug, to="manage")
        if role not in Membership.Role.values:
            raise InvalidInput("The role is member or lead.", data={"field": "role"})
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise NotFound(
                f"There is no account “{username[:40]}”. Ask an administrator to create it.",
                code="no-such-user",
            )
        with transaction.atomic():
            membership, created = Membership.objects.get_or_create(
                team=team, user=user, defaults={"role": role}
            )
            if not created:
                if membership.role == role:
                    return membership
                before, membership.role = membership.role, role
                membership.save(update_fields=["role"])
                record("team.member-change", actor=actor, target=user_target(user), team=team,
                       data={"before": before, "after": role})  # fmt: skip
            else:
                record(
                    "team.member-add", actor=actor, target=user_target(user), team=team, data={"role": role}
                )
            announce_rights_changed(user)
    return membership


def remove_member(*, actor: Actor, team: Team, username: str) -> None:
    """Safe to repeat: somebody who is no member stays none."""
    with refusals_recorded("team.member-remove", actor=actor, target=Target("user", "", username), team=team):
        get_team_for(actor, team.slug, to="manage")
        with transaction.atomic():
            user = User.objects.filter(username=username).first()
            if user is None or not Membership.objects.filter(team=team, user=user).delete()[0]:
                return
            record("team.member-remove", actor=actor, target=user_target(user), team=team)
            announce_rights_changed(user)
