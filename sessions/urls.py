from django.urls import path

from sessions import views, workspace_views

app_name = "sessions"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("sessions/", views.session_list, name="list"),
    path("sessions/new/", views.new, name="new"),
    path("sessions/palette/", views.palette, name="palette"),
    path("sessions/<str:key>/", views.detail, name="detail"),
    path("sessions/<str:key>/terminal/", views.terminal, name="terminal"),
    path("sessions/<str:key>/<str:action>/", views.act, name="act"),
    path("workspaces/", workspace_views.workspace_list, name="workspaces"),
    path("workspaces/new/", workspace_views.new, name="workspace-new"),
    path("workspaces/<str:key>/delete/", workspace_views.delete, name="workspace-delete"),
]
