"""Every exception that leaves an API view becomes the one error body of the panel."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from coi_web.errors import CoiError, Forbidden, InvalidInput, NotFound, RateLimited, SignedOut
from coi_web.refusals import note_refusal
from coi_web.web import error_body

log = structlog.get_logger(__name__)

#: What DRF says in its own words, in ours: code and, where it is None, DRF's text is good enough.
_WORDS: dict[type[exceptions.APIException], tuple[str, str | None]] = {
    exceptions.ParseError: (
        "invalid-json",
        "The body is no JSON that can be read. Check it and send it again.",
    ),
    exceptions.MethodNotAllowed: ("method-not-allowed", None),
    exceptions.UnsupportedMediaType: (
        "unsupported-media-type",
        "Send JSON with the header Content-Type: application/json.",
    ),
}


def exception_handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook.  None, for what nobody expected, makes it a logged 500 with the same body."""
    error = as_coi_error(exception)
    if error is None:
        return None
    set_rollback()
    request = context["request"]._request
    if isinstance(exception, CoiError):
        note_refusal(context["request"], exception)
    log.info("refused", code=error.code, status=error.status, detail=error.log_detail, path=request.path)
    headers = {}
    if getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = str(exception.auth_header)  # type: ignore[attr-defined]
    if wait := getattr(exception, "wait", None):
        headers["Retry-After"] = str(int(wait))
    body = error_body(error, getattr(request, "request_id", ""))
    return Response(body, status=error.status, headers=headers)


def as_coi_error(exception: Exception) -> CoiError | None:
    """The panel's error for an exception of DRF's or Django's; None for a programming error."""
    match exception:
        case CoiError():
            return exception
        case Http404():
            return NotFound("There is nothing at this address, or you cannot see it.")
        case PermissionDenied():
            return Forbidden("You cannot do this. Ask the owner or an administrator.")
        case exceptions.NotAuthenticated():
            return SignedOut("Sign in, or send an API token: Authorization: Bearer coi_…")
        case exceptions.AuthenticationFailed():
            return SignedOut(str(exception.detail), code=str(exception.get_codes()))
        case exceptions.ValidationError():
            return _invalid(exception)
        case exceptions.Throttled():
            return RateLimited("Too many requests. Wait a little and try again.")
        case exceptions.PermissionDenied():
            return _denied(exception)
        case exceptions.APIException():
            code, text = next(
                (words for kind, words in _WORDS.items() if isinstance(exception, kind)), ("error", None)
            )
            error = CoiError(text or str(exception.detail), code=code, log_detail=str(exception.detail))
            error.status = exception.status_code  # type: ignore[misc]
            return error
        case _:
            return None


def _denied(exception: exceptions.PermissionDenied) -> Forbidden:
    text, code = str(exception.detail), str(exception.get_codes())
    if text.startswith("CSRF Failed"):
        return Forbidden(
            "The request lacks the CSRF token of this browser's session. Reload the page, or use an API token.",
            code="csrf-failed",
            log_detail=text,
        )
    return Forbidden(text, code="forbidden" if code == "permission_denied" else code)


def _invalid(exception: exceptions.ValidationError) -> InvalidInput:
    """The first complaint as text, all of them by field in ``data["fields"]``."""
    fields = _flatten(exception.detail)
    field, texts = next(iter(fields.items()), ("", ["The request cannot be used."]))
    message = texts[0] if field in ("", "non_field_errors") else f"{field}: {texts[0]}"
    return InvalidInput(message, data={"field": field, "fields": fields})


def _flatten(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            found |= _flatten(inner, f"{prefix}.{name}" if prefix else str(name))
        return found
    if isinstance(detail, list) and any(isinstance(one, dict | list) for one in detail):
        return {k: v for i, one in enumerate(detail) for k, v in _flatten(one, f"{prefix}.{i}").items()}
    return {prefix: [str(one) for one in (detail if isinstance(detail, list) else [detail])]}
