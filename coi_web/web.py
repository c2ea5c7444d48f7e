"""The edges of HTTP and websockets: request ids, errors as pages or JSON, same-origin sockets."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode

from coi_web.errors import CoiError, Forbidden, InvalidInput, NotFound, SignedOut
from coi_web.incus import close_streams

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
_PAGES = {400, 403, 404, 500, 503}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RequestIdMiddleware:
    """A fresh id for each request, in its logs, its audit events and its answer; the client's own is ignored."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = uuid.uuid4().hex[:16]
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response[REQUEST_ID_HEADER] = request_id
        return response


class ErrorMiddleware:
    """CoiErrors that leave a view become a page, a fragment or JSON with the right status."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            # PostgreSQL refuses NUL in any text, SQLite does not: one answer before either is asked.
            return error_response(request, InvalidInput("The address holds a NUL character. Remove it."))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, CoiError):
            return None
        log.info(
            "refused",
            code=exception.code,
            status=exception.status,
            detail=exception.log_detail,
            path=request.path,
        )
        return error_response(request, exception)


def error_body(error: CoiError, request_id: str) -> dict[str, Any]:
    """The one JSON form of an error, in the API and wherever a script asks: never ``log_detail``."""
    body = {"code": error.code, "message": error.message, "data": error.data, "request_id": request_id}
    return {"error": body}


def error_response(request: HttpRequest, error: CoiError) -> HttpResponse:
    """The person's text with what to do next, the code and the request id; never ``log_detail``."""
    request_id = getattr(request, "request_id", "")
    if isinstance(error, SignedOut) and not _wants_json(request):
        response: HttpResponse = redirect(
            f"{settings.LOGIN_URL_PATH}?{urlencode({'next': request.get_full_path()})}"
        )
        if request.headers.get("HX-Request"):
            response = HttpResponse(status=204)
            response["HX-Redirect"] = settings.LOGIN_URL_PATH
        return response
    if _wants_json(request):
        return JsonResponse(error_body(error, request_id), status=error.status)
    context = {"error": error, "request_id": request_id, "status": error.status}
    if request.headers.get("HX-Request"):
        response = render(request, "components/error_fragment.html", context, status=error.status)
        response["X-Error-Code"] = error.code
        return response
    page = error.status if error.status in _PAGES else "error"
    return render(request, f"{page}.html", context, status=error.status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    log.info("csrf-refused", reason=reason, path=request.path)
    error = Forbidden(
        "This form was open too long, or came from another site. Go back, reload the page and try again.",
        code="csrf-failed",
    )
    return error_response(request, error)


def _wants_json(request: HttpRequest) -> bool:
    if request.path.startswith("/api/"):
        return not request.path.startswith("/api/docs/")
    return request.headers.get("Accept", "").startswith("application/json")


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """The start and end of a server process (ASGI lifespan); Daphne sends neither."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await close_streams()
            await send({"type": "lifespan.shutdown.complete"})
            return


class SameOriginSocket:
    """Refuses a websocket whose ``Origin`` is not this very site (scheme aside), before anything else runs.

    Browsers always send Origin (RFC 6455, 10.2) and send cookies across ports of one host, so the port
    counts too.  A client without Origin is no browser; it carries no ambient cookies and passes on to
    authentication.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._is_same_origin(scope):
            log.warning("socket-origin-refused", path=scope.get("path"))
            await send({"type": "websocket.close", "code": 4403})
            return
        await self.app(scope, receive, send)

    @staticmethod
    def _is_same_origin(scope: Scope) -> bool:
        headers = {name.lower(): value for name, value in scope.get("headers", [])}
        host = headers.get(b"host", b"").decode("latin-1").lower()
        try:
            _check_host(host)
        except DisallowedHost:
            return False
        if b"origin" not in headers:
            return True
        origin = urlsplit(headers[b"origin"].decode("latin-1").lower())
        public = urlsplit(settings.COI_PUBLIC_URL.lower())
        return origin.scheme in ("http", "https") and origin.netloc in (host, public.netloc)


def _check_host(host: str) -> None:
    request = HttpRequest()
    request.META["HTTP_HOST"] = host
    request.get_host()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, InvalidInput("The server could not understand this request."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, Forbidden("You cannot do this. Ask the owner or an administrator."))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(
        request, NotFound("There is no such page. The address may be mistyped or out of date.")
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Logged with its trace by Django's own handler under the same request id."""
    error = CoiError(
        "Something went wrong that the panel did not expect. Try again; give an administrator the request id.",
        code="internal-error",
    )
    return error_response(request, error)
