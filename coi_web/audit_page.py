"""The page *Audit*: everything for auditors and administrators, their teams' for leads, one's own for others.

It stands beside the app and not in it, since who sees what is the business of ``accounts``, above ``audit``.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from coi_web.accounts.access import events_for, get_event_for, require_user
from coi_web.audit.chain import chain_status
from coi_web.audit.presentation import data_text, related_to, row_of
from coi_web.audit.queries import AuditSearch
from coi_web.errors import InvalidInput
from coi_web.requests import actor_of

ROWS = 50


@dataclass(frozen=True, slots=True)
class Preset:
    label: str
    query: str


PRESETS = (
    Preset("Everything", ""),
    Preset("Refused", "outcome:refused"),
    Preset("Failed", "outcome:failed"),
    Preset("Sign-ins", "action:account.*"),
    Preset("Sessions", "action:session.*"),
    Preset("People", "action:user.*"),
    Preset("Today", "since:today"),
)


@require_safe
def audit_list(request: HttpRequest) -> HttpResponse:
    """Newest first; ``before`` is the sequence that the page before ended with."""
    actor = actor_of(request)
    user = require_user(actor)
    text, before = request.GET.get("q", "").strip(), request.GET.get("before", "")
    context: dict[str, object] = {"q": text, "before": before, "presets": PRESETS}
    status, found = 200, []
    try:
        rows = events_for(actor).filter(AuditSearch.parse(text).conditions)
        if before:
            rows = rows.filter(sequence__lt=_sequence(before))
        found = list(rows.order_by("-sequence")[: ROWS + 1])
    except InvalidInput as error:
        status = error.status
        context |= {"error": error, "request_id": getattr(request, "request_id", "")}
    context |= {
        "rows": [row_of(event) for event in found[:ROWS]],
        "next": found[ROWS - 1].sequence if len(found) > ROWS else None,
        "chain": chain_status() if user.sees_everything else None,
        "sees_everything": user.sees_everything,
    }
    return render(request, "audit/list.html", context, status=status)


@require_safe
def audit_detail(request: HttpRequest, sequence: int) -> HttpResponse:
    """A page of its own, or for htmx the fragment that the list shows in its drawer."""
    event = get_event_for(actor_of(request), sequence)
    context = {"row": row_of(event), "event": event, "data": data_text(event), "related": related_to(event)}
    template = "audit/event.html" if request.headers.get("HX-Request") else "audit/detail.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput("“before” is the number of an event. Begin again at the newest.")
    return int(text)


app_name = "audit"

urlpatterns = [
    path("", audit_list, name="list"),
    path("<int:sequence>/", audit_detail, name="detail"),
]
