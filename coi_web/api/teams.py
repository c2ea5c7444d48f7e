"""Teams and their members."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coi_web.accounts import team_services
from coi_web.accounts.access import get_team_for, require_user, team_ids
from coi_web.accounts.models import Membership, Team
from coi_web.rest import PAGE_PARAMETERS, Key, PanelView, page, page_of


class TeamSerializer(serializers.ModelSerializer[Team]):
    class Meta:
        model = Team
        fields = ["slug", "name", "created_at"]


class MemberSerializer(serializers.ModelSerializer[Membership]):
    username = serializers.CharField(source="user.username")
    display_name = serializers.CharField(source="user.display_name")

    class Meta:
        model = Membership
        fields = ["username", "display_name", "role", "created_at"]


class TeamDetailSerializer(TeamSerializer):
    members = MemberSerializer(source="memberships", many=True)

    class Meta(TeamSerializer.Meta):
        fields = [*TeamSerializer.Meta.fields, "members"]


class TeamCreate(serializers.Serializer[Any]):
    slug = serializers.RegexField(r"^[a-z][a-z0-9-]{0,47}$", max_length=48)
    name = serializers.CharField(max_length=100)


class TeamChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)


class MemberChange(serializers.Serializer[Any]):
    role = serializers.ChoiceField(Membership.Role.choices)


class TeamListView(PanelView):
    @extend_schema(operation_id="team_list", parameters=PAGE_PARAMETERS, responses=page_of(TeamSerializer))
    def get(self, request: Request) -> Response:
        """One's own teams; all of them for auditors and administrators."""
        user = require_user(self.actor)
        rows = Team.objects.all() if user.sees_everything else Team.objects.filter(pk__in=team_ids(user))
        return page(request, rows, TeamSerializer, key=Key("slug"))

    @extend_schema(operation_id="team_create", request=TeamCreate, responses={201: TeamSerializer})
    def post(self, request: Request) -> Response:
        """A new team; for administrators."""
        team = team_services.create_team(actor=self.actor, **self.read(TeamCreate))
        return Response(TeamSerializer(team).data, status=201)


class TeamView(PanelView):
    @extend_schema(operation_id="team", responses=TeamDetailSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """A team and its members."""
        return Response(TeamDetailSerializer(get_team_for(self.actor, slug, to="view")).data)

    @extend_schema(operation_id="team_change", request=TeamChange, responses=TeamSerializer)
    def patch(self, request: Request, slug: str) -> Response:
        """Change its name; for its leads and administrators."""
        team = get_team_for(self.actor, slug, to="manage")
        team_services.rename_team(actor=self.actor, team=team, name=self.read(TeamChange)["name"])
        return Response(TeamSerializer(team).data)

    @extend_schema(operation_id="team_delete", responses={204: None})
    def delete(self, request: Request, slug: str) -> Response:
        """Its people and their sessions stay, without a team."""
        team_services.delete_team(actor=self.actor, team=get_team_for(self.actor, slug, to="view"))
        return Response(status=204)


class MemberView(PanelView):
    @extend_schema(operation_id="member_set", request=MemberChange, responses=MemberSerializer)
    def put(self, request: Request, slug: str, username: str) -> Response:
        """Add a person or change their role.  Safe to repeat."""
        team = get_team_for(self.actor, slug, to="view")
        role = self.read(MemberChange)["role"]
        membership = team_services.set_member(actor=self.actor, team=team, username=username, role=role)
        return Response(MemberSerializer(membership).data)

    @extend_schema(operation_id="member_remove", responses={204: None})
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """Safe to repeat: somebody who is no member stays none."""
        team = get_team_for(self.actor, slug, to="view")
        team_services.remove_member(actor=self.actor, team=team, username=username)
        return Response(status=204)
