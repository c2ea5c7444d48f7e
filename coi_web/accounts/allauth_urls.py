"""The part of allauth that this panel uses, under allauth's own names.

Left out: managing addresses and resetting a password by mail.  The panel works without mail; whoever forgot a
password gets a one-time link from an administrator.  Signing up stays, since allauth's own pages link to it, and
answers that it is closed.
"""

from allauth.account import views
from django.urls import include, path

urlpatterns = [
    path("login/", views.login, name="account_login"),
    path("logout/", views.logout, name="account_logout"),
    path("signup/", views.signup, name="account_signup"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("reauthenticate/", views.reauthenticate, name="account_reauthenticate"),
    path("password/change/", views.password_change, name="account_change_password"),
    path("password/set/", views.password_set, name="account_set_password"),
    path("2fa/", include("allauth.mfa.urls")),
]
