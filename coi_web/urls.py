"""Every address of the panel.  The permission table in tests/web/permissions.py has a row for each."""

from django.urls import include, path

from coi_web.accounts import views as accounts
from coi_web.audit import views as audit
from coi_web.health import healthz, readyz
from coi_web.health_page import health
from coi_web.operations import views as operations
from sessions import views as sessions

urlpatterns = [
    path("", sessions.overview, name="overview"),
    path("sessions/", include("sessions.urls")),
    path("workspaces/", include("sessions.workspace_urls")),
    path("operations/", operations.operation_list, name="operation-list"),
    path("operations/drawer/", operations.operation_drawer, name="operation-drawer"),
    path("operations/<uuid:public_id>/", operations.operation_detail, name="operation-detail"),
    path("operations/<uuid:public_id>/cancel/", operations.operation_cancel, name="operation-cancel"),
    path("audit/", audit.audit_list, name="audit-list"),
    path("audit/<int:sequence>/", audit.audit_detail, name="audit-detail"),
    path("people/", include("coi_web.accounts.people_urls")),
    path("health/", health, name="health"),
    path("sign-in/<str:token>/", accounts.sign_in_link, name="sign-in-link"),
    path("account/tokens/", accounts.token_list, name="token-list"),
    path("account/tokens/<int:token_id>/revoke/", accounts.token_revoke, name="token-revoke"),
    path("account/theme/", accounts.theme, name="theme"),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("account/", include("allauth.account.urls")),
    path("api/", include("coi_web.api.urls")),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]

handler400 = "coi_web.web.bad_request"
handler403 = "coi_web.web.permission_denied"
handler404 = "coi_web.web.page_not_found"
handler500 = "coi_web.web.server_error"
