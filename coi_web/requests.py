"""From a request to the actor that services take."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from coi_web.audit.actors import Actor


def request_meta(request: HttpRequest) -> dict[str, str]:
    """Address, browser and request id, as ``Actor.of`` takes them."""
    return {
        "ip": request.META.get("REMOTE_ADDR", "") or "",
        "user_agent": request.META.get("HTTP_USER_AGENT", "")[:200],
        "request_id": getattr(request, "request_id", ""),
    }


def actor_of(request: HttpRequest) -> Actor:
    """The person behind the request; with an API token the actor's kind is ``token``."""
    token = getattr(request, "auth", None)
    if token is not None and hasattr(token, "digest"):
        return Actor.of(request.user, kind="token", token_name=token.name, **request_meta(_django(request)))
    return Actor.of(request.user, **request_meta(_django(request)))


def scope_actor(scope: dict[str, Any]) -> Actor:
    """The person behind a websocket's ASGI scope."""
    headers = dict(scope.get("headers", []))
    client = scope.get("client") or ("", 0)
    return Actor.of(
        scope.get("user"),
        ip=str(client[0]),
        user_agent=headers.get(b"user-agent", b"").decode("latin-1")[:200],
        request_id=str(scope.get("request_id", "")),
    )


def _django(request: Any) -> HttpRequest:
    """DRF wraps the request; the meta data is on Django's."""
    found: HttpRequest = getattr(request, "_request", request)
    return found
