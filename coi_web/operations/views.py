"""Operations as people see them: the badge, the drawer, the history, one operation."""

from __future__ import annotations

import uuid
from typing import Final

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from coi_web.accounts.access import require_user
from coi_web.errors import CoiError
from coi_web.operations.models import Operation
from coi_web.operations.queries import get_operation_for, operations_visible_to, running_operations_count
from coi_web.operations.services import request_cancel
from coi_web.requests import actor_of

PAGE_SIZE: Final = 50
#: Ended operations in the drawer; the history has them all.
RECENT: Final = 12

#: The chips above the history: key, word, and the states behind it.
FILTERS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("", "All", ()),
    ("active", "Under way", Operation.ACTIVE),
    ("failed", "Failed", (Operation.State.FAILED,)),
    ("done", "Done", (Operation.State.SUCCEEDED,)),
    ("cancelled", "Cancelled", (Operation.State.CANCELLED,)),
)


@require_safe
def badge(request: HttpRequest) -> HttpResponse:
    """The spinner with the count, fetched again on every hint."""
    count = running_operations_count(actor_of(request))
    return render(request, "operations/badge.html", {"running_operations_count": count})


@require_safe
def drawer(request: HttpRequest) -> HttpResponse:
    """What the person has under way and what ended last; the history without htmx."""
    mine = _mine(request)
    if not request.headers.get("HX-Request"):
        return redirect("operations:list")
    context = {
        "active": mine.filter(state__in=Operation.ACTIVE),
        "recent": mine.exclude(state__in=Operation.ACTIVE)[:RECENT],
    }
    return render(request, "operations/drawer.html", context)


@require_safe
def operation_list(request: HttpRequest) -> HttpResponse:
    """Everything the person may see, newest first, by state and by a part of a name."""
    rows = operations_visible_to(actor_of(request))
    chosen = request.GET.get("state", "")
    states = next((states for key, _, states in FILTERS if key == chosen), ())
    if states:
        rows = rows.filter(state__in=states)
    text = request.GET.get("q", "").strip()[:100]
    if text:
        rows = rows.filter(
            Q(target_name__icontains=text) | Q(kind__icontains=text) | Q(requester_name__icontains=text)
        )
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"page_obj": page, "filters": FILTERS, "chosen": chosen, "text": text}
    return render(request, "operations/list.html", context)


@require_safe
def detail(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    operation = get_operation_for(actor_of(request), public_id)
    template = "operations/_operation.html" if request.headers.get("HX-Request") else "operations/detail.html"
    response = render(request, template, {"operation": operation})
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_POST
def cancel(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Ask it to stop, and go back to where the button was."""
    actor = actor_of(request)
    operation = get_operation_for(actor, public_id)
    try:
        request_cancel(actor=actor, operation=operation)
    except CoiError as error:
        messages.error(request, error.message)
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        return redirect(back)
    return redirect("operations:detail", public_id=public_id)


def _mine(request: HttpRequest) -> QuerySet[Operation]:
    user = require_user(actor_of(request))
    return Operation.objects.filter(Q(requester=user) | Q(owner=user))
