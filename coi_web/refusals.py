"""Refusals that no service recorded: somebody reached for what they may see but not do."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from coi_web.audit.services import Target, record
from coi_web.errors import CoiError, Forbidden
from coi_web.requests import actor_of


class RefusalMiddleware:
    """Stands inside ErrorMiddleware, which then answers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        if isinstance(exception, CoiError):
            note_refusal(request, exception)


def note_refusal(request: HttpRequest, error: CoiError) -> None:
    """Record a Forbidden of a signed-in person, once.  What they cannot see is no refusal but a 404."""
    actor = actor_of(request)
    if not isinstance(error, Forbidden) or error.is_recorded or actor.user is None:
        return
    record(
        "access.refused",
        actor=actor,
        target=Target("address", "", request.path),
        outcome="refused",
        data={"method": request.method, "code": error.code},
    )
    error.is_recorded = True
