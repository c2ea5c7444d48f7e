"""Addresses of the API."""

from django.urls import include, path

from coi_web.api import audit, docs, health, operations, people, teams
from sessions import api as sessions

app_name = "api"

_v1 = [
    path("me/", people.MeView.as_view(), name="me"),
    path("users/", people.UserListView.as_view(), name="user-list"),
    path("users/<str:username>/", people.UserView.as_view(), name="user"),
    path("users/<str:username>/enable/", people.UserEnableView.as_view(), name="user-enable"),
    path("users/<str:username>/disable/", people.UserDisableView.as_view(), name="user-disable"),
    path("users/<str:username>/link/", people.UserLinkView.as_view(), name="user-link"),
    path(
        "users/<str:username>/reset-second-factor/",
        people.UserResetSecondFactorView.as_view(),
        name="user-reset-second-factor",
    ),
    path("tokens/", people.TokenListView.as_view(), name="token-list"),
    path("tokens/<int:token_id>/", people.TokenView.as_view(), name="token"),
    path("teams/", teams.TeamListView.as_view(), name="team-list"),
    path("teams/<str:slug>/", teams.TeamView.as_view(), name="team"),
    path("teams/<str:slug>/members/<str:username>/", teams.MemberView.as_view(), name="member"),
    path("audit/", audit.AuditListView.as_view(), name="audit-list"),
    path("audit/chain/", audit.AuditChainView.as_view(), name="audit-chain"),
    path("audit/<int:sequence>/", audit.AuditEventView.as_view(), name="audit-event"),
    path("workspaces/", sessions.WorkspaceListView.as_view(), name="workspace-list"),
    path("workspaces/<str:key>/", sessions.WorkspaceView.as_view(), name="workspace"),
    path("sessions/", sessions.SessionListView.as_view(), name="session-list"),
    path("sessions/<str:key>/", sessions.SessionView.as_view(), name="session"),
    path("sessions/<str:key>/<str:action>/", sessions.SessionActionView.as_view(), name="session-act"),
    path("operations/", operations.OperationListView.as_view(), name="operation-list"),
    path("operations/<uuid:public_id>/", operations.OperationView.as_view(), name="operation"),
    path(
        "operations/<uuid:public_id>/cancel/",
        operations.OperationCancelView.as_view(),
        name="operation-cancel",
    ),
    path("health/", health.HealthView.as_view(), name="health"),
]

urlpatterns = [
    path("v1/", include(_v1)),
    path("schema/", docs.SchemaView.as_view(), name="schema"),
    path("docs/", docs.docs, name="docs"),
]
