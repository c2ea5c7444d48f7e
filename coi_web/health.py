"""``/healthz``: this process answers.  ``/readyz``: so does everything it needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta

from channels.layers import get_channel_layer
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from coi_web.errors import CoiError
from coi_web.incus import get_api
from coi_web.operations.models import Component

STALE_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """``fix`` says what to do; empty where all is well."""

    code: str
    name: str
    is_ok: bool
    detail: str
    fix: str = ""


def database() -> HealthCheck:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:  # an edge: every back-end has its own
        return HealthCheck("database", "Database", False, type(error).__name__, "See ./coi-web logs web.")
    return HealthCheck("database", "Database", True, connection.vendor)


def redis() -> HealthCheck:
    try:
        cache.set("coi-web:ready", 1, 5)
        is_ok = cache.get("coi-web:ready") == 1 and get_channel_layer() is not None
    except Exception as error:  # an edge: redis raises many kinds
        return HealthCheck("redis", "Redis", False, type(error).__name__, "See ./coi-web logs redis.")
    return HealthCheck("redis", "Redis", is_ok, "answers")


def incus() -> HealthCheck:
    try:
        server = get_api().server()
    except CoiError as error:
        return HealthCheck("incus", "Incus", False, error.code, error.message)
    return HealthCheck("incus", "Incus", True, f"version {server.version}")


def processes() -> list[HealthCheck]:
    """The worker, beat and the agent by the time they were last seen."""
    seen = {component.name: component.seen_at for component in Component.objects.all()}
    checks = []
    for name in ("worker", "beat", "agent"):
        at = seen.get(name)
        is_ok = at is not None and timezone.now() - at < STALE_AFTER
        detail = "never seen" if at is None else f"seen {int((timezone.now() - at).total_seconds())} s ago"
        checks.append(
            HealthCheck(
                name, name.capitalize(), is_ok, detail, "" if is_ok else f"See ./coi-web logs {name}."
            )
        )
    return checks


def all_checks() -> list[HealthCheck]:
    return [database(), redis(), incus(), *processes()]


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database, Redis and Incus answer, else 503; names only, no details for strangers."""
    checks = [database(), redis(), incus()]
    is_ready = all(check.is_ok for check in checks)
    body = {
        "status": "ready" if is_ready else "not-ready",
        "checks": {check.code: check.is_ok for check in checks},
    }
    return JsonResponse(body, status=200 if is_ready else 503)


def as_dicts(checks: list[HealthCheck]) -> list[dict[str, object]]:
    return [asdict(check) for check in checks]
