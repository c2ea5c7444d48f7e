"""Workspaces and sessions over the API.  Each change answers with the operation to watch."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coi_web.accounts.access import get_team_for
from coi_web.errors import InvalidInput
from coi_web.rest import PAGE_PARAMETERS, Key, Nothing, PanelView, page, page_of
from sessions.access import actions_for, get_session_for, get_workspace_for
from sessions.models import Session, Workspace
from sessions.names import SLOTS, WORKSPACE_NAME_PATTERN
from sessions.queries import sessions_visible_to, workspaces_visible_to
from sessions.services.lifecycle import perform, start_session
from sessions.services.workspaces import (
    DEFAULT_SIZE_BYTES,
    MAX_SIZE_BYTES,
    MIN_SIZE_BYTES,
    create_workspace,
    delete_workspace,
)
from sessions.states import Action, Mode, State

SESSION_STATES = [(state.value, state.value) for state in State]
_OPERATION_HELP = "The newest operation on it; watch it under /api/v1/operations/."


class WorkspaceSerializer(serializers.ModelSerializer[Workspace]):
    id = serializers.UUIDField(source="public_id")
    owner = serializers.CharField(source="owner_name")
    team = serializers.CharField(source="team.slug", default=None, allow_null=True)
    operation = serializers.UUIDField(
        source="operation.public_id", default=None, allow_null=True, help_text=_OPERATION_HELP
    )

    class Meta:
        model = Workspace
        fields = ["id", "slug", "name", "owner", "team", "size_bytes", "state", "operation", "created_at"]


class WorkspaceCreate(serializers.Serializer[Any]):
    name = serializers.RegexField(WORKSPACE_NAME_PATTERN, max_length=31)
    size_bytes = serializers.IntegerField(
        min_value=MIN_SIZE_BYTES, max_value=MAX_SIZE_BYTES, required=False, default=DEFAULT_SIZE_BYTES
    )
    team = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=48,
        help_text="A team's slug; blank for none.",
    )


class SessionSerializer(serializers.ModelSerializer[Session]):
    id = serializers.UUIDField(source="public_id")
    workspace = serializers.CharField(source="workspace_slug")
    owner = serializers.CharField(source="owner_name")
    team = serializers.CharField(source="team.slug", default=None, allow_null=True)
    profile = serializers.CharField(source="profile_name")
    state = serializers.ChoiceField(SESSION_STATES)
    operation = serializers.UUIDField(
        source="operation.public_id", default=None, allow_null=True, help_text=_OPERATION_HELP
    )

    class Meta:
        model = Session
        fields = [
            "id", "name", "slot", "workspace", "owner", "team", "profile", "image", "mode", "state",
            "desired_state", "observed_state", "observed_at", "operation", "created_at", "started_at",
            "ended_at", "ended_reason", "ended_message",
        ]  # fmt: skip


class SessionDetailSerializer(SessionSerializer):
    actions = serializers.ListField(
        child=serializers.CharField(), help_text="What the caller may do to it as it is now."
    )

    class Meta(SessionSerializer.Meta):
        fields = [*SessionSerializer.Meta.fields, "actions"]


class SessionStart(serializers.Serializer[Any]):
    workspace = serializers.CharField(max_length=64, help_text="Its slug, such as ana.shop, or its id.")
    mode = serializers.ChoiceField(
        [mode.value for mode in Mode], required=False, default=Mode.EPHEMERAL.value
    )
    profile = serializers.CharField(required=False, default="default", max_length=64)
    slot = serializers.IntegerField(
        min_value=SLOTS.start, max_value=SLOTS.stop - 1, required=False, allow_null=True, default=None,
        help_text="Left out: the lowest free one.",
    )  # fmt: skip
    once = serializers.RegexField(
        r"^[A-Za-z0-9_-]{0,64}$", required=False, default="", allow_blank=True, max_length=64,
        help_text="A text of the caller's: sent again with the same, the request makes one session only.",
    )  # fmt: skip


_BegunWorkspace = inline_serializer(
    "BegunWorkspace", {"workspace": WorkspaceSerializer(), "operation": serializers.UUIDField()}
)
_BegunSession = inline_serializer(
    "BegunSession", {"session": SessionDetailSerializer(), "operation": serializers.UUIDField()}
)


class WorkspaceListView(PanelView):
    @extend_schema(
        operation_id="workspace_list", parameters=PAGE_PARAMETERS, responses=page_of(WorkspaceSerializer)
    )
    def get(self, request: Request) -> Response:
        """Own and one's teams'; all for auditors and administrators."""
        return page(request, workspaces_visible_to(self.actor), WorkspaceSerializer, key=Key("slug"))

    @extend_schema(operation_id="workspace_create", request=WorkspaceCreate, responses={202: _BegunWorkspace})
    def post(self, request: Request) -> Response:
        """A new workspace.  It can be used at once; the operation makes its volume."""
        fields = self.read(WorkspaceCreate)
        slug = fields.pop("team")
        team = get_team_for(self.actor, slug, to="view") if slug else None
        workspace, operation = create_workspace(actor=self.actor, team=team, **fields)
        body = {"workspace": WorkspaceSerializer(workspace).data, "operation": str(operation.public_id)}
        return Response(body, status=202)


class WorkspaceView(PanelView):
    @extend_schema(operation_id="workspace", responses=WorkspaceSerializer)
    def get(self, request: Request, key: str) -> Response:
        """By slug (``ana.shop``) or id."""
        return Response(WorkspaceSerializer(get_workspace_for(self.actor, key, to="view")).data)

    @extend_schema(operation_id="workspace_delete", responses={202: _BegunWorkspace})
    def delete(self, request: Request, key: str) -> Response:
        """Delete the volume with everything on it.  Refused while a live session is on it."""
        workspace = get_workspace_for(self.actor, key, to="view")
        operation = delete_workspace(actor=self.actor, workspace=workspace)
        # In the tests' eager mode, or with a quick worker, the row may be gone already.
        workspace = Workspace.objects.filter(pk=workspace.pk).first() or workspace
        body = {"workspace": WorkspaceSerializer(workspace).data, "operation": str(operation.public_id)}
        return Response(body, status=202)


class SessionListView(PanelView):
    @extend_schema(
        operation_id="session_list",
        parameters=[
            OpenApiParameter("state", str, enum=[state.value for state in State]),
            OpenApiParameter("owner", str, description="A user name, or `me`."),
            OpenApiParameter("workspace", str, description="A workspace's slug."),
            OpenApiParameter("live", str, enum=["true", "false"], description="`false`: only ended ones."),
            *PAGE_PARAMETERS,
        ],
        responses=page_of(SessionSerializer),
    )
    def get(self, request: Request) -> Response:
        """Own and one's teams', newest first; all for auditors and administrators."""
        rows = sessions_visible_to(self.actor)
        wanted = request.query_params
        if state := _choice(wanted.get("state", ""), [word.value for word in State], "state"):
            rows = rows.filter(state=state)
        if owner := wanted.get("owner", ""):
            rows = rows.filter(owner_name=self.actor.name if owner == "me" else owner)
        if workspace := wanted.get("workspace", ""):
            rows = rows.filter(workspace_slug=workspace)
        if live := _choice(wanted.get("live", ""), ["true", "false"], "live"):
            rows = rows.filter(ended_at__isnull=live == "true")
        return page(request, rows, SessionSerializer, key=Key("pk", descending=True, is_number=True))

    @extend_schema(operation_id="session_start", request=SessionStart, responses={202: _BegunSession})
    def post(self, request: Request) -> Response:
        """Start a session on a workspace; `coi shell` on the command line."""
        fields = self.read(SessionStart)
        workspace = get_workspace_for(self.actor, fields.pop("workspace"), to="view")
        session, operation = start_session(actor=self.actor, workspace=workspace, **fields)
        body = {"session": _detail(self, session), "operation": str(operation.public_id)}
        return Response(body, status=202)


class SessionView(PanelView):
    @extend_schema(operation_id="session", responses=SessionDetailSerializer)
    def get(self, request: Request, key: str) -> Response:
        """By container name (its live session, else the latest) or id."""
        return Response(_detail(self, get_session_for(self.actor, key, to="view")))


class SessionActionView(PanelView):
    @extend_schema(
        operation_id="session_act",
        parameters=[
            OpenApiParameter(
                "action",
                str,
                OpenApiParameter.PATH,
                enum=[Action.START_AGAIN.value, Action.STOP.value, Action.END.value, Action.KILL.value],
            )
        ],
        request=Nothing,
        responses={202: _BegunSession},
    )
    def post(self, request: Request, key: str, action: str) -> Response:
        """*stop* keeps the container, *end* deletes an ephemeral one, *kill* deletes it at once.

        Workspace files stay in every case.
        """
        session = get_session_for(self.actor, key, to="view")
        operation = perform(action, actor=self.actor, session=session)
        body = {"session": _detail(self, session), "operation": str(operation.public_id)}
        return Response(body, status=202)


def _detail(view: PanelView, session: Session) -> dict[str, Any]:
    """The session as the change left it, with what the caller may do next."""
    fresh = get_session_for(view.actor, str(session.public_id), to="view")
    data = dict(SessionSerializer(fresh).data)
    return data | {"actions": sorted(actions_for(view.actor, fresh))}


def _choice(text: str, allowed: list[str], field: str) -> str:
    if text and text not in allowed:
        raise InvalidInput(f"{field} is one of {', '.join(allowed)}.", data={"field": field})
    return text
