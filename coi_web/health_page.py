"""The page *Health*: every check with what to do about it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from coi_web.accounts.access import require_overseer
from coi_web.health import all_checks
from coi_web.requests import actor_of


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    require_overseer(actor_of(request))
    return render(request, "health.html", {"checks": all_checks()})
