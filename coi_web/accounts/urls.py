"""One's own account, people and teams.  Signing in itself is allauth's, see ``allauth_urls``."""

from django.urls import path

from coi_web.accounts import people_views, team_views, views

app_name = "accounts"

urlpatterns = [
    path("sign-in/<str:token>/", views.sign_in_link, name="sign-in-link"),
    path("account/tokens/", views.tokens, name="tokens"),
    path("account/tokens/<int:token_id>/revoke/", views.token_revoke, name="token-revoke"),
    path("account/theme/", views.theme, name="theme"),
    path("people/", people_views.people, name="people"),
    path("people/new/", people_views.user_new, name="user-new"),
    path("people/users/<str:username>/", people_views.user_detail, name="user"),
    path("people/users/<str:username>/disable/", people_views.user_disable, name="user-disable"),
    path("people/users/<str:username>/enable/", people_views.user_enable, name="user-enable"),
    path("people/users/<str:username>/link/", people_views.user_link, name="user-link"),
    path(
        "people/users/<str:username>/reset-second-factor/",
        people_views.user_reset_second_factor,
        name="user-reset-second-factor",
    ),
    path("people/new-team/", team_views.team_new, name="team-new"),
    path("people/teams/<str:slug>/", team_views.team_detail, name="team"),
    path("people/teams/<str:slug>/rename/", team_views.team_rename, name="team-rename"),
    path("people/teams/<str:slug>/delete/", team_views.team_delete, name="team-delete"),
    path(
        "people/teams/<str:slug>/members/<str:username>/remove/",
        team_views.team_member_remove,
        name="team-member-remove",
    ),
]
