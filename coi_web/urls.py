"""Every address of the panel.  The permission table in tests/web/permissions.py has a row for each."""

from django.urls import include, path

from coi_web.health import healthz, readyz
from coi_web.health_page import health

urlpatterns = [
    path("", include("sessions.urls")),
    path("operations/", include("coi_web.operations.urls")),
    path("audit/", include("coi_web.audit_page")),
    path("health/", health, name="health"),
    path("", include("coi_web.accounts.urls")),
    path("account/", include("coi_web.accounts.allauth_urls")),
    path("api/", include("coi_web.api.urls")),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]

handler400 = "coi_web.web.bad_request"
handler403 = "coi_web.web.permission_denied"
handler404 = "coi_web.web.page_not_found"
handler500 = "coi_web.web.server_error"
